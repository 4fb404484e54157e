package replicatest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica/replicatest"
)

// A preferred leader that comes back leads again when it has been back for five minutes,
// and not before.
func TestPreferredLeaderLeadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.AwaitLeader(orders)
		preferred := int(described(t, c, 1).Replicas[0])
		c.MoveLeader(orders, preferred)
		c.Crash(preferred)
		other := c.AwaitLeader(orders)
		send(t, c.Broker(other), "a")
		time.Sleep(10 * time.Minute) // its absence does not count
		c.Restart(preferred)
		time.Sleep(4 * time.Minute)
		require.Equal(t, other, c.Leader(orders))
		time.Sleep(2 * time.Minute)
		require.Equal(t, preferred, c.Leader(orders))
		c.MoveLeader(orders, other)
		time.Sleep(4 * time.Minute) // it has been there for long, and the other leads since now
		require.Equal(t, other, c.Leader(orders))
		time.Sleep(2 * time.Minute)
		require.Equal(t, preferred, c.Leader(orders))
		require.Equal(t, []string{"a"}, read(t, c.Broker(preferred), 1))
	})
}

// A preferred leader whose node comes and goes is given nothing.
func TestPreferredLeaderThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.AwaitLeader(orders)
		preferred := int(described(t, c, 1).Replicas[0])
		others := []int{preferred%3 + 1, (preferred+1)%3 + 1}
		c.MoveLeader(orders, others[0])
		epoch := described(t, c, others[0]).LeaderEpoch
		for range 10 {
			time.Sleep(4 * time.Minute)
			c.Partition([]int{preferred}, others)
			time.Sleep(5 * time.Second)
			c.Heal()
		}
		require.Equal(t, epoch, described(t, c, others[0]).LeaderEpoch)
		time.Sleep(6 * time.Minute)
		require.Equal(t, preferred, c.Leader(orders))
	})
}
