package replicatest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// A node whose copy lags answers as the leader does: which record is the first of a time,
// where the partition begins, and that an offset lies behind its end.
func TestAnswersOfACopyThatLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		orders := record.TopicPartition{Topic: "orders"}
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		leader := c.AwaitLeader(orders)
		p, err := producer.New(c.Broker(leader))
		require.NoError(t, err)
		defer p.Close()
		send := func(value string) record.Position {
			at, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(value)})
			require.NoError(t, err)
			return at
		}
		send("a")
		time.Sleep(time.Second)

		lags := leader%3 + 1
		b := c.Broker(lags)
		end := c.SlowDisk(lags, 20*time.Second)
		defer end()
		time.Sleep(time.Second)
		since := time.Now()
		second := send("b")
		at, err := b.ListOffsets(t.Context(), topic.AtTime(since), orders)
		require.NoError(t, err)
		require.Equal(t, second.Offset, at[orders].Offset)
		_, err = c.Broker(leader).DeleteRecords(t.Context(), map[record.TopicPartition]int64{orders: second.Offset})
		require.NoError(t, err)
		at, err = b.ListOffsets(t.Context(), topic.Earliest(), orders)
		require.NoError(t, err)
		require.Equal(t, second.Offset, at[orders].Offset)

		behind, err := consumer.New(b, consumer.Assign(orders), consumer.FromCommitted())
		require.NoError(t, err)
		defer behind.Close()
		require.NoError(t, behind.Seek(t.Context(), orders, second.Offset+100))
		_, err = behind.Poll(t.Context())
		require.ErrorIs(t, err, fault.OffsetOutOfRange)
	})
}

// The node on which records are deleted has deleted them when that returns, and so a reader
// there finds them gone. It waits for its disk, and not for long.
func TestDeletedRecordsAreGoneWhereTheyWereDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		orders := record.TopicPartition{Topic: "orders"}
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		leader := c.AwaitLeader(orders)
		b := c.Broker(leader%3 + 1)
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		for _, slow := range []time.Duration{0, 200 * time.Millisecond, 20 * time.Second} {
			end := c.SlowDisk(leader%3+1, slow)
			at, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("a")})
			require.NoError(t, err)
			began := time.Now()
			starts, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{orders: at.Offset})
			require.NoError(t, err)
			require.Equal(t, at.Offset, starts[orders])
			require.Less(t, time.Since(began), 5*time.Second)
			described, err := b.DescribeTopics(t.Context(), "orders")
			require.NoError(t, err)
			require.Equal(t, slow < time.Second, described[0].Partitions[0].StartOffset == at.Offset, "%v", slow)
			end()
			time.Sleep(time.Minute)
		}
	})
}
