package replica_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// A leader whose connections break, and are not made again, is replaced before an election timeout is over, in a group that
// rests, too.
func TestALeaderThatIsGoneIsReplacedSoon(t *testing.T) {
	for name, rest := range map[string]time.Duration{"busy": 0, "at rest": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newThree(t)
				first := c.leader()
				require.NoError(t, c.replica(first).AppendAwait(one(t, "before")))
				time.Sleep(rest)
				began := time.Now()
				require.NoError(t, c.transports[first].Close()) // as when its process is killed
				require.NoError(t, c.replica((first+1)%3).AppendAwait(sequenced(t, "after", 7, 0)))
				require.Less(t, time.Since(began), 10*50*time.Millisecond, "the shortest election timeout")
				c.crash(first)
			})
		})
	}
}

// A follower that alone lost its connection to the leader takes it for gone, and disturbs no one: the leader stays, in its epoch,
// and is followed again.
func TestOneFollowerAloneDisturbsNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		other := (first + 1) % 3
		require.NoError(t, c.replica(first).AppendAwait(one(t, "before")))
		epoch := c.replica(first).Status().Epoch
		for range 20 {
			c.replica(other).Do((*replica.Core).LeaderGone)
			time.Sleep(170 * time.Millisecond)
			require.NoError(t, c.replica(first).AppendAwait(one(t, "and on")))
		}
		time.Sleep(time.Second)
		status := c.replica(other).Status()
		require.Equal(t, epoch, status.Epoch)
		require.Equal(t, replica.NodeID(first+1), status.Leader.Node())
	})
}
