package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// shop is a producer of transactions on a fake cluster, with the topic orders.
func shop(t *testing.T) (*kfake.Cluster, *kafka.Cluster, *producer.Producer) {
	t.Helper()
	fakes, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	require.NoError(t, err)
	t.Cleanup(fakes.Close)
	cluster := connect(t, fakes.ListenAddrs()[0])
	p, err := producer.New(cluster, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.CloseNow() })
	return fakes, cluster, p
}

func order(partition int32, value string) record.Record {
	return record.Record{Topic: "orders", Partition: partition, Value: []byte(value)}
}

// committedOf reads what is committed of a partition, up to its end.
func committedOf(t *testing.T, cluster *kafka.Cluster, partition int32) (values []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tp := record.TopicPartition{Topic: "orders", Partition: partition}
	c, err := consumer.New(cluster, consumer.Assign(tp), consumer.ReadCommitted())
	require.NoError(t, err)
	defer c.Close()
	end, err := cluster.ListOffsets(ctx, topic.Latest(), tp)
	require.NoError(t, err)
	for {
		at, err := c.Position(ctx, tp)
		require.NoError(t, err)
		if at >= end[tp].Offset {
			return values
		}
		records, err := c.Poll(ctx)
		require.NoError(t, err)
		for _, r := range records {
			values = append(values, string(r.Value))
		}
	}
}

// A commit goes on when its context ends, and may be called again: the client itself could
// not say any more what has become of it.
func TestCommitGoesOnWithoutItsContext(t *testing.T) {
	fakes, cluster, p := shop(t)
	began, may := make(chan struct{}), make(chan struct{})
	fakes.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(began)
		fakes.SleepControl(func() { <-may })
		return nil, nil, false
	})
	require.NoError(t, p.Begin(t.Context()))
	_, err := p.Send(t.Context(), order(0, "a"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	require.ErrorIs(t, p.Commit(ctx), fault.UnknownOutcome)
	_, err = p.Send(t.Context(), order(0, "behind"))
	require.ErrorIs(t, err, fault.InvalidTxnState)
	require.ErrorIs(t, p.Abort(t.Context()), fault.InvalidTxnState, "it may be committed")
	close(may)
	require.NoError(t, p.Commit(t.Context()))
	require.NoError(t, p.Begin(t.Context()))
	require.NoError(t, p.Abort(t.Context()))
	require.Equal(t, []string{"a"}, committedOf(t, cluster, 0))
}

// A commit that the cluster does not answer stays unclear until the transaction is aborted,
// and then the next one begins.
func TestCommitThatIsNotAnswered(t *testing.T) {
	fakes, cluster, p := shop(t)
	fakes.ControlKey(int16(kmsg.EndTxn), func(q kmsg.Request) (kmsg.Response, error, bool) {
		answer := q.ResponseKind().(*kmsg.EndTxnResponse)
		answer.ErrorCode = kerr.UnknownServerError.Code
		return answer, nil, true
	})
	require.NoError(t, p.Begin(t.Context()))
	_, err := p.Send(t.Context(), order(0, "a"))
	require.NoError(t, err)
	require.ErrorIs(t, p.Commit(t.Context()), fault.UnknownOutcome)
	require.ErrorIs(t, p.Commit(t.Context()), fault.UnknownOutcome)
	require.NoError(t, p.Begin(t.Context()), "which aborts it")
	_, err = p.Send(t.Context(), order(0, "b"))
	require.NoError(t, err)
	require.NoError(t, p.Commit(t.Context()))
	require.Equal(t, []string{"b"}, committedOf(t, cluster, 0))
}

// A topic that grows within a transaction takes nothing from it, and the next one writes to
// the new partition.
func TestTopicGrowsWithinATransaction(t *testing.T) {
	_, cluster, _ := shop(t)
	ctx := t.Context()
	s, err := cluster.OpenProducer(ctx, producer.Config{
		BatchBytes: 1 << 20, BufferBytes: 1 << 20, Idempotent: true, TransactionalID: "shop", TransactionTimeout: time.Minute,
	})
	require.NoError(t, err)
	defer s.Close()
	tx := s.(producer.Transactor)
	w, err := s.Topic(ctx, "orders")
	require.NoError(t, err)
	require.NoError(t, tx.BeginTransaction(ctx))
	_, err = w.Send(ctx, order(0, "a"))
	require.NoError(t, err)
	require.NoError(t, cluster.AddPartitions(ctx, "orders", 2))
	_, err = s.Topic(ctx, "orders") // which asks for the topic
	require.NoError(t, err)
	require.NoError(t, tx.EndTransaction(ctx, true))
	require.Equal(t, []string{"a"}, committedOf(t, cluster, 0))
	require.NoError(t, tx.BeginTransaction(ctx))
	_, err = w.Send(ctx, order(1, "next"))
	require.NoError(t, err)
	require.NoError(t, tx.EndTransaction(ctx, true))
	require.Contains(t, committedOf(t, cluster, 1), "next")
}
