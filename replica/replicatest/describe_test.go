package replicatest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// described returns what a node says of the partition.
func described(t *testing.T, c *replicatest.Brokers, id int) topic.PartitionDescription {
	t.Helper()
	d, err := c.Broker(id).DescribeTopics(t.Context(), "orders")
	require.NoError(t, err)
	return d[0].Partitions[0]
}

// awaitDescribed waits until every node that runs says of the partition what is so.
func awaitDescribed(t *testing.T, c *replicatest.Brokers, what string, so func(topic.PartitionDescription) bool) {
	t.Helper()
	for _, id := range c.Running() {
		require.Eventually(t, func() bool {
			d, err := c.Broker(id).DescribeTopics(t.Context(), "orders") // a node that starts may not know the topic yet
			return err == nil && so(d[0].Partitions[0])
		}, time.Minute, 50*time.Millisecond,
			"node %d does not say: %s", id, what)
	}
}

// Whichever node is asked, it says what the leader knows: who is in sync, and what each
// follower lacks, while one is down, after it is back, and in a group that rests.
func TestEveryNodeDescribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 1)
		send(t, c.Broker(1), "a")
		whole := func(p topic.PartitionDescription) bool {
			return p.Leader == 1 && len(p.ISR) == 3 && len(p.Lag) == 2 && p.Lag[0] == topic.Lag{Node: 2} && p.Lag[1] == topic.Lag{Node: 3}
		}
		awaitDescribed(t, c, "all are in sync", whole)
		epoch := described(t, c, 1).LeaderEpoch
		require.Equal(t, epoch, described(t, c, 3).LeaderEpoch)

		time.Sleep(time.Minute) // the group rests
		awaitDescribed(t, c, "all are in sync, while they rest", whole)
		c.Crash(3)
		awaitDescribed(t, c, "node 3 is out of sync, although nothing is written", func(p topic.PartitionDescription) bool {
			return p.Leader == 1 && p.UnderReplicated() && len(p.ISR) == 2 && p.ISR[0] == 1 && p.ISR[1] == 2
		})
		for range 5 {
			send(t, c.Broker(2), "b")
		}
		awaitDescribed(t, c, "node 3 lacks five records", func(p topic.PartitionDescription) bool {
			return len(p.Lag) == 2 && p.Lag[0].Records == 0 && p.Lag[1].Records == 5
		})

		c.Restart(3)
		awaitDescribed(t, c, "all are in sync again", whole)
		require.Equal(t, epoch, described(t, c, 3).LeaderEpoch)
	})
}

// A node that was closed in order has its replicas again as soon as it starts, although
// nobody uses them there.
func TestAStoppedNodeComesBackIntoSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 1)
		send(t, c.Broker(1), "a")
		c.Stop(3)
		awaitDescribed(t, c, "node 3 is gone", func(p topic.PartitionDescription) bool { return len(p.ISR) == 2 })
		c.Restart(3)
		require.Eventually(t, func() bool { return len(described(t, c, 1).ISR) == 3 }, time.Minute, 50*time.Millisecond)
	})
}

// A follower that answers and whose disk is too slow for what is written is not in sync,
// as in Kafka.
func TestASlowFollowerIsNotInSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 1)
		awaitDescribed(t, c, "all are in sync", func(p topic.PartitionDescription) bool { return len(p.ISR) == 3 })
		end := c.SlowDisk(3, time.Minute)
		for range 20 {
			send(t, c.Broker(1), "a")
			time.Sleep(time.Second)
		}
		p := described(t, c, 2)
		require.Equal(t, []int32{1, 2}, p.ISR)
		require.Equal(t, int32(3), p.Lag[1].Node)
		require.Positive(t, p.Lag[1].Records)
		end()
		awaitDescribed(t, c, "it has caught up", func(p topic.PartitionDescription) bool { return len(p.ISR) == 3 && p.Lag[1].Records == 0 })
	})
}

// Every node knows the others, who is alive, and who changes topics.
func TestDescribeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.Crash(2)
		for _, id := range c.Running() {
			require.Eventually(t, func() bool {
				d, err := c.Broker(id).DescribeCluster(t.Context())
				require.NoError(t, err)
				require.Len(t, d.Nodes, 3)
				for i, n := range d.Nodes {
					require.EqualValues(t, i+1, n.ID)
					require.NotEmpty(t, n.Address)
				}
				return d.Nodes[0].Alive && !d.Nodes[1].Alive && d.Nodes[2].Alive && d.Controller > 0 && d.Controller != 2
			}, time.Minute, 50*time.Millisecond)
		}
	})
}
