package replicatest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// createOn creates a topic of one partition with so many replicas, and returns a node
// that has none of them.
func createOn(t *testing.T, c *replicatest.Brokers, name string, replicas int) (without int) {
	t.Helper()
	require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: 1, Replicas: replicas}))
	d, err := c.Broker(1).DescribeTopics(t.Context(), name)
	require.NoError(t, err)
	keeps := map[int32]bool{}
	for _, id := range d[0].Partitions[0].Replicas {
		keeps[id] = true
	}
	require.Len(t, keeps, replicas)
	for _, id := range c.Running() {
		require.Eventually(t, func() bool {
			_, err := c.Broker(id).DescribeTopics(t.Context(), name)
			return err == nil
		}, time.Minute, 10*time.Millisecond)
		if !keeps[int32(id)] {
			without = id
		}
	}
	require.NotZero(t, without)
	return without
}

// sendAll sends records with an idempotent producer.
func sendAll(t *testing.T, b *runnel.Broker, values ...string) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	for _, v := range values {
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(v)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
}

// A node that keeps no replica of a topic does with it whatever the others do.
func TestNodeWithoutACopy(t *testing.T) {
	for _, size := range []struct{ nodes, replicas int }{{5, 3}, {3, 1}} {
		t.Run(fmt.Sprintf("%d replicas on %d nodes", size.replicas, size.nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := replicatest.Cluster(t, size.nodes)
				without := createOn(t, c, "orders", size.replicas)
				b := c.Broker(without)
				sendAll(t, b, "a", "b", "c")
				require.Equal(t, []string{"a", "b", "c"}, read(t, b, 3))

				leader := c.AwaitLeader(orders)
				d, err := b.DescribeTopics(t.Context(), "orders")
				require.NoError(t, err)
				p := d[0].Partitions[0]
				require.Equal(t, int32(leader), p.Leader)
				require.Equal(t, int64(4), p.HighWatermark)
				require.Equal(t, int64(-1), p.Size, "there is no log on this node")

				latest, err := b.ListOffsets(t.Context(), topic.Latest(), orders)
				require.NoError(t, err)
				require.Equal(t, int64(4), latest[orders].Offset)
				require.Equal(t, p.LeaderEpoch, latest[orders].LeaderEpoch)
				byTime, err := b.ListOffsets(t.Context(), topic.AtTime(time.Now().Add(-time.Hour)), orders)
				require.NoError(t, err)
				require.Equal(t, int64(1), byTime[orders].Offset)

				_, err = b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{orders: 100})
				require.ErrorIs(t, err, fault.OffsetOutOfRange)
				require.ErrorContains(t, err, "orders-0")
				_, err = b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{orders: 2})
				require.NoError(t, err)
				require.Equal(t, []string{"b", "c"}, read(t, b, 2))

				late, err := consumer.New(b, consumer.Assign(orders), consumer.FromOffset(1))
				require.NoError(t, err)
				_, err = late.Poll(t.Context())
				require.ErrorIs(t, err, fault.OffsetOutOfRange, "as on a node with a copy")
				require.NoError(t, late.Close())

				require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
			})
		})
	}
}

// A reader without a copy waits for what others write, also while leaders crash, move and
// are cut off, and gets every record once.
func TestReaderWithoutACopyFollowsLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 5)
		without := createOn(t, c, "orders", 3)
		reader, err := consumer.New(c.Broker(without), consumer.Assign(orders))
		require.NoError(t, err)
		next := func() string {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for {
				batch, err := reader.Poll(ctx)
				require.NoError(t, err)
				if len(batch) > 0 {
					require.Len(t, batch, 1)
					return string(batch[0].Value)
				}
			}
		}
		said := make(chan string)
		say := func(v string) {
			go func() { said <- next() }()
			synctest.Wait() // it waits for a record
			sendAll(t, c.Broker(without), v)
			began := time.Now()
			require.Equal(t, v, <-said)
			require.Less(t, time.Since(began), 10*time.Second)
		}
		say("at first")
		for round := range 2 {
			leader := c.AwaitLeader(orders)
			c.Crash(leader)
			say(fmt.Sprint("after a crash ", round))
			c.Restart(leader)
			say(fmt.Sprint("after its return ", round))
		}
		leader := c.AwaitLeader(orders)
		others := []int{}
		for _, id := range c.Running() {
			if id != leader {
				others = append(others, id)
			}
		}
		c.Partition([]int{leader}, others)
		say("while the leader is cut off")
		c.Heal()
		say("after it is back")
		c.Partition([]int{without})
		cut := make(chan struct{})
		go func() { said <- next() }()
		go func() {
			sendAll(t, c.Broker(without), "from a node that was cut off")
			close(cut)
		}()
		time.Sleep(20 * time.Second)
		c.Heal()
		<-cut
		require.Equal(t, "from a node that was cut off", <-said)
		require.NoError(t, reader.Close())
	})
}
