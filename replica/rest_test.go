package replica_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// counting is a Transport that counts the frames in which replicas say something.
type counting struct {
	replica.Transport
	spoken *atomic.Int64
}

func (c counting) Send(to replica.NodeID, lane replica.Lane, f *replica.Frame) bool {
	if len(f.Header) > 3 {
		c.spoken.Add(1)
	}
	return c.Transport.Send(to, lane, f)
}

// An idle group says nothing, and is there at once when something is appended.
func TestIdleGroupsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.leader()
		require.NoError(t, c.send(leader, "a"))
		time.Sleep(5 * time.Second)
		before := c.spoken.Load()
		time.Sleep(time.Minute)
		require.Equal(t, before, c.spoken.Load(), "frames of an idle group in a minute")

		began := time.Now()
		require.NoError(t, c.replica((leader+1)%3).AppendAwait(one(t, "b")))
		require.Less(t, time.Since(began), 50*time.Millisecond)
		require.Equal(t, leader, c.leader())
	})
}

// The leader of a group that rests is missed as soon as any other.
func TestLeaderOfARestingGroupDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		require.NoError(t, c.send(first, "a"))
		time.Sleep(time.Minute)
		c.crash(first)
		died := time.Now()
		require.NoError(t, c.send(c.leader(), "b"))
		require.Less(t, time.Since(died), 3*time.Second)
	})
}

// A member that was cut off while its group rested, and its leader with it, comes back
// into the same group.
func TestRestingGroupInTwoParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		require.NoError(t, c.send(first, "a"))
		time.Sleep(time.Minute)
		c.network.Partition([]replica.NodeID{replica.NodeID(first + 1)}, []replica.NodeID{replica.NodeID((first+1)%3 + 1), replica.NodeID((first+2)%3 + 1)})
		time.Sleep(10 * time.Second)
		require.NoError(t, c.replica((first+1)%3).AppendAwait(one(t, "b")))
		c.network.Heal()
		time.Sleep(time.Minute)
		for i := range c.nodes {
			require.Equal(t, []string{"a", "b"}, values(t, c.replica(i).Copy()), "node %d", i+1)
		}
	})
}
