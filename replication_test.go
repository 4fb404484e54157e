package runnel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestReplicatedBroker has a broker whose partitions are replicas: what the group has
// not committed is neither acknowledged nor read, and a follower takes nothing.
func TestReplicatedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		b, err := runnel.OpenMemory(runnel.Replicated(r))
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.CloseNow()
		c, err := consumer.New(b, consumer.Group("printer"), consumer.Topics("orders"))
		require.NoError(t, err)
		defer c.Close()

		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("first")})
		require.NoError(t, err)
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)

		release := r.Group("orders-0").Hold()
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = p.Send(soon, record.Record{Topic: "orders", Value: []byte("second")})
		require.ErrorIs(t, err, fault.UnknownOutcome, "no majority has it yet")
		d := ordersNow(t, b)
		require.EqualValues(t, 1, d.HighWatermark)
		require.EqualValues(t, 2, d.EndOffset)
		require.EqualValues(t, 7, d.Leader)
		require.Equal(t, []int32{7}, d.Replicas)
		require.Equal(t, []int32{7}, d.ISR)
		release()
		batch, err = c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)
		require.Equal(t, "second", string(batch[0].Value))

		r.Group("orders-0").Depose()
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("third")})
		require.ErrorIs(t, err, fault.NotLeader)
		require.True(t, fault.Retriable(err))
		require.EqualValues(t, -1, ordersNow(t, b).Leader)
		r.Group("orders-0").Elect()
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("third")})
		require.NoError(t, err)
		require.EqualValues(t, 3, ordersNow(t, b).HighWatermark)
	})
}

func ordersNow(t *testing.T, b *runnel.Broker) topic.PartitionDescription {
	d, err := b.DescribeTopics(t.Context(), "orders")
	require.NoError(t, err)
	return d[0].Partitions[0]
}

func TestANodesNumberIsPositive(t *testing.T) {
	_, err := runnel.OpenMemory(runnel.Replicated(unnumbered{hosttest.NewReplication()}))
	require.ErrorIs(t, err, fault.InvalidConfig)
}

type unnumbered struct{ *hosttest.Replication }

func (unnumbered) Node() int32 { return 0 }

// TestANodeFollowsTheCatalogue has two nodes. What one commits to the catalogue, the
// other one does to its topics; its own commands are run there, and it reaches the
// partitions of which it has no copy.
func TestANodeFollowsTheCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		leader, err := runnel.OpenMemory(runnel.Replicated(r))
		require.NoError(t, err)
		defer leader.Close()
		require.NoError(t, leader.CreateTopics(t.Context(), topic.Spec{Name: "before"}))
		follower, err := runnel.OpenMemory(runnel.Replicated(r.Beside()))
		require.NoError(t, err)
		defer follower.Close()
		same := func() {
			t.Helper()
			synctest.Wait()
			want, err := leader.DescribeTopics(t.Context())
			require.NoError(t, err)
			got, err := follower.DescribeTopics(t.Context())
			require.NoError(t, err)
			require.Equal(t, len(want), len(got))
			for i := range want {
				require.Equal(t, want[i].ID, got[i].ID)
				require.Equal(t, want[i].Config, got[i].Config)
				require.Len(t, got[i].Partitions, len(want[i].Partitions))
				require.EqualValues(t, 7, got[i].Partitions[0].Leader)
				require.EqualValues(t, -1, got[i].Partitions[0].Size, "it has no copy")
			}
		}
		same()
		require.NoError(t, leader.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}, topic.Spec{Name: "visits"}))
		same()
		require.NoError(t, leader.AddPartitions(t.Context(), "orders", 5))
		require.NoError(t, leader.ConfigureTopic(t.Context(), "orders", topic.Config{Retention: time.Hour}))
		same()
		require.NoError(t, leader.DeleteTopics(t.Context(), "visits", "before"))
		require.NoError(t, leader.CreateTopics(t.Context(), topic.Spec{Name: "visits", Partitions: 3}))
		same()

		// A command on the other node is run by the leader, and done here when it returns.
		require.NoError(t, follower.CreateTopics(t.Context(), topic.Spec{Name: "mine", Partitions: 2, Config: topic.Config{Retention: time.Hour}}))
		d, err := follower.DescribeTopics(t.Context(), "mine")
		require.NoError(t, err)
		require.Len(t, d[0].Partitions, 2)
		require.Equal(t, topic.Config{Retention: time.Hour}, d[0].Config)
		require.ErrorIs(t, follower.CreateTopics(t.Context(), topic.Spec{Name: "mine"}), fault.TopicExists)
		require.NoError(t, follower.AddPartitions(t.Context(), "mine", 3))
		require.NoError(t, follower.ConfigureTopic(t.Context(), "mine", topic.Config{}))
		same()
		require.NoError(t, follower.DeleteTopics(t.Context(), "mine"))
		_, err = follower.DescribeTopics(t.Context(), "mine")
		require.ErrorIs(t, err, fault.UnknownTopic)
		same()

		c, err := consumer.New(follower, consumer.Assign(record.TopicPartition{Topic: "visits", Partition: 0}))
		require.NoError(t, err)
		defer c.Close()
		p, err := producer.New(follower, producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		defer p.CloseNow()
		_, err = p.Send(t.Context(), record.Record{Topic: "visits", Value: []byte("seen from afar")})
		require.NoError(t, err)
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)
		require.NoError(t, follower.Verify(t.Context()), "of the copies it has")
		_, err = follower.Cleanup(t.Context())
		require.NoError(t, err)
	})
}

// TestOnlyTheCataloguesLeaderJudges has a node that follows the catalogue late: its commands
// are judged by what the leader knows.
func TestOnlyTheCataloguesLeaderJudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		leader, err := runnel.OpenMemory(runnel.Replicated(r))
		require.NoError(t, err)
		defer leader.Close()
		require.NoError(t, leader.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		late := r.Beside()
		follower, err := runnel.OpenMemory(runnel.Replicated(late))
		require.NoError(t, err)
		defer follower.Close()
		hears := r.Group("__cluster_metadata-0").Delay()
		require.NoError(t, leader.DeleteTopics(t.Context(), "orders"))
		_, err = follower.DescribeTopics(t.Context(), "orders")
		require.NoError(t, err, "it has not heard of it")
		time.AfterFunc(time.Second, hears)
		require.NoError(t, follower.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	})
}

// TestANewLeaderOfTheCatalogueGoesOn has a node lose and regain the catalogue's lead: it
// takes commands again once it has everything that was committed before.
func TestANewLeaderOfTheCatalogueGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		b, err := runnel.OpenMemory(runnel.Replicated(r))
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		r.Group("__cluster_metadata-0").Depose()
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = b.CreateTopics(soon, topic.Spec{Name: "visits"})
		require.ErrorIs(t, err, fault.NotLeader)
		require.Error(t, soon.Err(), "it was tried again until then")
		began := time.Now()
		require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}), fault.NotLeader)
		require.InDelta(t, 60, time.Since(began).Seconds(), 1)
		time.AfterFunc(5*time.Second, r.Group("__cluster_metadata-0").Elect)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}))
		topics, err := b.Topics(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"orders", "visits"}, topics)
	})
}

// TestAConsumerOutlivesItsCoordinator has the partitions of __consumer_offsets without a
// leader for a while: a member reads on, its commit waits, and it keeps what it owns.
func TestAConsumerOutlivesItsCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		b, err := runnel.OpenMemory(runnel.Replicated(r))
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.CloseNow()
		lost := false
		c, err := consumer.New(b, consumer.Group("printer"), consumer.Topics("orders"), consumer.ManualCommit(),
			consumer.OnRevoked(func([]record.TopicPartition) { lost = true }), consumer.OnLost(func([]record.TopicPartition) { lost = true }))
		require.NoError(t, err)
		defer c.Close()
		read := func(value string) {
			t.Helper()
			_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(value)})
			require.NoError(t, err)
			batch, err := c.Poll(t.Context())
			require.NoError(t, err)
			require.Len(t, batch, 1)
			require.Equal(t, value, string(batch[0].Value))
		}
		read("first")
		require.NoError(t, c.Commit(t.Context()))

		offsets := func(do func(*hosttest.Group)) {
			for _, name := range []string{"__consumer_offsets-0", "__consumer_offsets-1", "__consumer_offsets-2", "__consumer_offsets-3"} {
				do(r.Group(name))
			}
		}
		offsets((*hosttest.Group).Depose)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "visits"})) // news for the member
		read("second")
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Commit(soon), fault.NotCoordinator)
		require.Error(t, soon.Err(), "it was tried again until then")
		told := make(chan error, 1)
		go func() { told <- c.Commit(t.Context()) }()
		time.Sleep(10 * time.Second)
		require.Empty(t, told)
		offsets((*hosttest.Group).Elect)
		require.NoError(t, <-told)
		read("third")
		require.False(t, lost)
		committed, err := b.GroupOffsets(t.Context(), "printer")
		require.NoError(t, err)
		require.EqualValues(t, 2, committed[record.TopicPartition{Topic: "orders"}].Offset)
	})
}
