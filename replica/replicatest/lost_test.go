package replicatest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/topic"
)

const vote, records = "/data/orders-0/runnel-vote", "/data/orders-0/00000000000000000000.log"

// written returns a cluster whose topic has records, on all disks.
func written(t *testing.T) (*Brokers, replica.GroupID) {
	t.Helper()
	c := Cluster(t, 3)
	require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1}))
	p, err := producer.New(c.Broker(1))
	require.NoError(t, err)
	for range 10 {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	time.Sleep(5 * time.Second)
	d, err := c.Broker(1).DescribeTopics(t.Context(), "orders")
	require.NoError(t, err)
	require.Len(t, d[0].Partitions[0].ISR, 3)
	return c, replica.GroupID{Topic: d[0].ID}
}

func size(t *testing.T, d *node, name string) int64 {
	t.Helper()
	e, err := d.disk.Stat(name)
	require.NoError(t, err)
	return e.Size
}

// A replica that does not know any more what it voted is replaced by another one on its
// node, which has everything that the others have. Its Open says what was wrong.
func TestAReplicaThatLostItsVoteIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := written(t)
		before, _ := c.of(3).node.Replica(g)
		c.Crash(3)
		require.NoError(t, c.of(3).disk.Remove(vote))
		c.Restart(3)
		time.Sleep(10 * time.Second)
		after, ok := c.of(3).node.Replica(g)
		require.True(t, ok)
		require.NotEqual(t, before.ID(), after.ID())
		require.EqualValues(t, 3, after.ID().Node())
		for id := 1; id <= 3; id++ {
			r, _ := c.of(id).node.Replica(g)
			require.Contains(t, r.Status().Members.Voters, after.ID())
			require.NotContains(t, r.Status().Members.Voters, before.ID())
			require.Len(t, r.Status().Members.Voters, 3)
			require.Empty(t, r.Status().Members.Learners)
		}
		one, _ := c.of(1).node.Replica(g)
		require.Equal(t, one.HighWatermark(), after.HighWatermark())

		c.Stop(3) // it comes back under the ID that it took
		c.Restart(3)
		again, _ := c.of(3).node.Replica(g)
		require.Equal(t, after.ID(), again.ID())
	})
}

// Where all replicas may have lost something, no group takes any of them in: none begins
// anew, and what is on the disks stays for whoever has to decide.
func TestNothingIsThrownAwayWithoutAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := written(t)
		for id := 1; id <= 3; id++ {
			c.Crash(id)
			require.NoError(t, c.of(id).disk.Remove(vote))
		}
		sizes := map[int]int64{}
		for id := 1; id <= 3; id++ {
			sizes[id] = size(t, c.of(id), records)
			require.Positive(t, sizes[id])
			c.Restart(id)
		}
		time.Sleep(time.Minute)
		for id := 1; id <= 3; id++ {
			r, ok := c.of(id).node.Replica(g)
			require.True(t, ok)
			require.Zero(t, r.Status().Leader)
			require.Zero(t, r.HighWatermark())
			require.Equal(t, sizes[id], size(t, c.of(id), records))
		}
	})
}

// A node that lost its disk and can reach no majority waits. It does not make a new group
// with another node that has nothing, either, as long as one says that the group has begun.
func TestANewcomerWaitsForAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := written(t)
		c.LoseDisk(2)
		c.LoseDisk(3)
		c.Restart(2)
		c.Restart(3)
		time.Sleep(time.Minute)
		for id := 2; id <= 3; id++ {
			r, ok := c.of(id).node.Replica(replica.GroupID{Topic: topic.ID{15: 1}})
			require.True(t, ok)
			require.Zero(t, r.Status().Epoch, "node %d", id)
		}
		r, ok := c.of(1).node.Replica(g) // which may believe that it leads, as long as nobody writes
		require.True(t, ok)
		require.Positive(t, r.HighWatermark())
	})
}
