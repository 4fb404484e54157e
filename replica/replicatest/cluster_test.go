package replicatest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

var orders = record.TopicPartition{Topic: "orders"}

// create creates a topic of one partition by the node that leads the catalogue.
func create(t *testing.T, c *replicatest.Brokers, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, id := range c.Running() {
			err := c.Broker(id).CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: 1})
			if err == nil {
				return true
			}
			require.True(t, fault.Retriable(err), "%v", err)
		}
		return false
	}, time.Minute, 50*time.Millisecond)
	for _, id := range c.Running() { // the others learn of it soon
		require.Eventually(t, func() bool {
			_, err := c.Broker(id).DescribeTopics(t.Context(), name)
			return err == nil
		}, time.Minute, 10*time.Millisecond)
	}
}

func send(t *testing.T, b *runnel.Broker, value string) {
	t.Helper()
	p, err := producer.New(b, producer.Idempotence(false))
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(value)})
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

// read reads n records on a broker.
func read(t *testing.T, b *runnel.Broker, n int) (all []string) {
	t.Helper()
	c, err := consumer.New(b, consumer.Assign(orders))
	require.NoError(t, err)
	for len(all) < n {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			all = append(all, string(r.Value))
		}
	}
	require.NoError(t, c.Close())
	return all
}

// The leader loses its power; what was acknowledged is there on the others, which go on,
// and on itself when it comes back.
func TestCrashOfTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		leader := c.AwaitLeader(orders)
		send(t, c.Broker(leader), "a")
		c.Crash(leader)
		next := c.AwaitLeader(orders)
		require.NotEqual(t, leader, next)
		send(t, c.Broker(next), "b")
		c.Restart(leader)
		for _, id := range c.Running() {
			require.Equal(t, []string{"a", "b"}, read(t, c.Broker(id), 2), "node %d", id)
		}
	})
}

// All nodes lose their power. Not one of them knows what of the catalogue was committed when
// they start, so each has its copy of a topic before it learns again that there is one.
func TestCrashOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		send(t, c.Broker(1), "a")
		for range 5 {
			for _, crash := range []func(int){c.Crash, c.Restart} {
				for id := 1; id <= 3; id++ {
					crash(id)
				}
			}
			for _, id := range c.Running() {
				require.Eventually(t, func() bool {
					d, err := c.Broker(id).DescribeTopics(t.Context(), "orders")
					return err == nil && d[0].Partitions[0].HighWatermark >= 2
				}, time.Minute, 10*time.Millisecond, "node %d", id)
			}
		}
		for _, id := range c.Running() {
			require.Equal(t, []string{"a"}, read(t, c.Broker(id), 1), "node %d", id)
		}
	})
}

// A leader moves to where it is asked to, and every node can write.
func TestMoveLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		for _, id := range []int{2, 3, 1} {
			c.MoveLeader(orders, id)
			require.Equal(t, id, c.AwaitLeader(orders))
			send(t, c.Broker(id%3+1), fmt.Sprint(id))
		}
		require.Equal(t, []string{"2", "3", "1"}, read(t, c.Broker(1), 3))
	})
}

// A node that is cut off neither leads nor acknowledges, and learns what it missed.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 1)
		send(t, c.Broker(1), "a")
		c.Partition([]int{1}, []int{2, 3})
		require.Eventually(t, func() bool { return c.Leader(orders) > 1 }, time.Minute, 10*time.Millisecond)
		send(t, c.Broker(2), "b")
		c.Heal()
		require.Equal(t, []string{"a", "b"}, read(t, c.Broker(1), 2))
	})
}

// A slow disk delays nothing but itself: a majority of disks acknowledges.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 1)
		end := c.SlowDisk(3, 5*time.Second)
		defer end()
		began := time.Now()
		send(t, c.Broker(1), "a")
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, 1, c.Leader(orders))
	})
}

// A node that is stopped hands over, and the cluster goes on at once.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 2)
		c.Stop(2)
		began := time.Now()
		next := c.AwaitLeader(orders)
		send(t, c.Broker(next), "a")
		require.Less(t, time.Since(began), 300*time.Millisecond)
		require.Equal(t, []int{1, 3}, c.Running())
	})
}

// A leader that stands still is replaced. When it goes on it leads no more, acknowledges
// nothing of its own, and learns what it missed.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		c.MoveLeader(orders, 1)
		send(t, c.Broker(1), "a")
		resume := c.Pause(1)
		require.Equal(t, []int{2, 3}, c.Running())
		p, err := producer.New(c.Broker(1), producer.Idempotence(false))
		require.NoError(t, err)
		sent := make(chan error, 1)
		go func() {
			_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
			sent <- err
		}()
		next := c.AwaitLeader(orders)
		require.NotEqual(t, 1, next)
		send(t, c.Broker(next), "b")
		time.Sleep(time.Minute)
		require.Empty(t, sent)
		resume()
		if err := <-sent; err == nil {
			require.Equal(t, []string{"a", "b", "x"}, read(t, c.Broker(1), 3))
		} else {
			require.ErrorIs(t, err, fault.UnknownOutcome)
			require.Equal(t, []string{"a", "b"}, read(t, c.Broker(1), 2))
		}
		require.NoError(t, p.CloseNow())
	})
}
