package runnel_test

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
	"github.com/runnel-go/runnel/topic"
)

// send sends a record to partition 0 of a topic.
func send(t *testing.T, b *runnel.Broker, name, key, value string) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	r := record.Record{Topic: name, Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	_, err = p.Send(t.Context(), r)
	require.NoError(t, err)
}

// stateOf returns partition 0 of a topic.
func stateOf(t *testing.T, b *runnel.Broker, name string) topic.PartitionDescription {
	t.Helper()
	all, err := b.DescribeTopics(t.Context(), name)
	require.NoError(t, err)
	return all[0].Partitions[0]
}

// content reads partition 0 of a topic as key=value@offset.
func content(t *testing.T, b *runnel.Broker, name string) (all []string) {
	t.Helper()
	end := stateOf(t, b, name)
	if end.StartOffset == end.HighWatermark {
		return nil
	}
	tp := record.TopicPartition{Topic: name}
	c, err := consumer.New(b, consumer.Assign(tp))
	require.NoError(t, err)
	defer c.Close()
	for at := end.StartOffset; at < end.HighWatermark; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		batch, err := c.Poll(ctx)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded) // nothing was left at the end
			return all
		}
		for _, r := range batch {
			all = append(all, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Offset))
		}
		at, err = c.Position(t.Context(), tp)
		require.NoError(t, err)
	}
	return all
}

// TestRetentionByTime: records are gone once they are older than retention.ms,
// though nothing is written any more.
func TestRetentionByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Retention: time.Hour}}))
		send(t, b, "orders", "k", "one")
		time.Sleep(30 * time.Minute)
		send(t, b, "orders", "k", "two")
		time.Sleep(40 * time.Minute)
		require.EqualValues(t, 0, stateOf(t, b, "orders").StartOffset, "the segment has a record that is young")
		time.Sleep(30 * time.Minute)
		d := stateOf(t, b, "orders")
		require.EqualValues(t, 2, d.StartOffset)
		require.EqualValues(t, 2, d.HighWatermark)
		require.Zero(t, d.Size)
		send(t, b, "orders", "k", "three")
		require.Equal(t, []string{"k=three@2"}, content(t, b, "orders"))
		time.Sleep(2 * time.Hour)
		require.EqualValues(t, 3, stateOf(t, b, "orders").StartOffset)
	})
}

// TestRetentionOfOldRecords: what is sent with an old time can be read for a while.
func TestRetentionOfOldRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Key: []byte("k"), Value: []byte("old"), Timestamp: time.UnixMilli(1)})
		require.NoError(t, err)
		time.Sleep(4 * time.Minute)
		require.Equal(t, []string{"k=old@0"}, content(t, b, "orders"))
		time.Sleep(2 * time.Minute)
		require.Empty(t, content(t, b, "orders"))
	})
}

// TestRetentionOfBusyTopics: segments that begin more often than every five
// minutes keep no old ones.
func TestRetentionOfBusyTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Retention: time.Hour, SegmentBytes: 100}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
		for n := range 300 {
			send(t, b, "orders", "k", fmt.Sprint(n))
			time.Sleep(time.Minute)
		}
		d := stateOf(t, b, "orders")
		require.InDelta(t, 66, d.HighWatermark-d.StartOffset, 10)
	})
}

// TestGraceOfBusyTopics: old records have their grace, and no more than two, where a
// segment begins every minute.
func TestGraceOfBusyTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Retention: time.Hour, SegmentBytes: 100}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		for n := range int64(60) {
			old := record.Record{Topic: "orders", Key: []byte("k"), Value: []byte("old"), Timestamp: time.UnixMilli(n)}
			_, err = p.Send(t.Context(), old)
			require.NoError(t, err)
			synctest.Wait()
			start := stateOf(t, b, "orders").StartOffset
			require.LessOrEqual(t, start, max(n-4, 0))
			require.GreaterOrEqual(t, start, n-11)
			time.Sleep(time.Minute)
		}
		time.Sleep(10 * time.Minute)
		require.EqualValues(t, 60, stateOf(t, b, "orders").StartOffset)
	})
}

// TestRetentionByBytes: the oldest segments go as others come.
func TestRetentionByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{RetentionBytes: 5_000, SegmentBytes: 1_000}}))
		for n := range 100 {
			send(t, b, "orders", fmt.Sprint(n), string(make([]byte, 200)))
			synctest.Wait()
			require.LessOrEqual(t, stateOf(t, b, "orders").Size, int64(6_000))
		}
		d := stateOf(t, b, "orders")
		require.Greater(t, d.Size, int64(4_000))
		require.Len(t, content(t, b, "orders"), int(d.HighWatermark-d.StartOffset))

		require.NoError(t, b.ConfigureTopic(t.Context(), "orders", topic.Config{RetentionBytes: 1, SegmentBytes: 1_000}))
		synctest.Wait()
		require.LessOrEqual(t, stateOf(t, b, "orders").Size, int64(1_000))
	})
}

// TestCompaction: of each key the last record stays, at its offset, and tombstones
// for their time.
func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Cleanup: topic.Compact, SegmentBytes: 200, DeleteRetention: time.Hour, MinCleanableRatio: 0.01}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
		for n := range 12 {
			value := fmt.Sprint(n)
			if n == 4 {
				value = ""
			}
			send(t, b, "orders", fmt.Sprintf("k%d", n%4), value)
		}
		send(t, b, "orders", "k9", "9")
		send(t, b, "orders", "k9", "")
		send(t, b, "orders", "last", string(make([]byte, 200))) // seals
		synctest.Wait()
		require.Equal(t, []string{"k0=8@8", "k1=9@9", "k2=10@10", "k3=11@11", "k9=@13"}, content(t, b, "orders")[:5])
		time.Sleep(2 * time.Hour)
		require.Equal(t, []string{"k0=8@8", "k1=9@9", "k2=10@10", "k3=11@11"}, content(t, b, "orders")[:4])
		require.Len(t, content(t, b, "orders"), 5)
		d := stateOf(t, b, "orders")
		require.EqualValues(t, 0, d.StartOffset)
		require.EqualValues(t, 15, d.HighWatermark)
	})
}

// TestCompactionLag: nothing is compacted before min.compaction.lag.ms, and the
// active segment too after max.compaction.lag.ms.
func TestCompactionLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Cleanup: topic.Compact, MinCompactionLag: time.Hour, MaxCompactionLag: 3 * time.Hour, SegmentBytes: 100}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
		for range 4 {
			send(t, b, "orders", "k", "v")
		}
		time.Sleep(59 * time.Minute)
		require.Len(t, content(t, b, "orders"), 4)
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"k=v@2", "k=v@3"}, content(t, b, "orders"))
		time.Sleep(2 * time.Hour)
		require.Equal(t, []string{"k=v@3"}, content(t, b, "orders"))
	})
}

// TestCompactDelete: both policies at once.
func TestCompactDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Cleanup: topic.CompactDelete, Retention: 24 * time.Hour, SegmentBytes: 100, MinCleanableRatio: 0.01}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
		for range 3 {
			send(t, b, "orders", "k", "v")
		}
		synctest.Wait()
		require.Equal(t, []string{"k=v@1", "k=v@2"}, content(t, b, "orders"))
		time.Sleep(25 * time.Hour)
		require.Empty(t, content(t, b, "orders"))
		require.EqualValues(t, 3, stateOf(t, b, "orders").StartOffset)
	})
}

// TestRetentionOfTimesAhead: a time that is not yet does not keep its segment, and
// all behind it, until then.
func TestRetentionOfTimesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Retention: time.Hour, SegmentBytes: 100}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		ahead := record.Record{Topic: "orders", Key: []byte("k"), Value: []byte("ahead"), Timestamp: time.Now().Add(1000 * time.Hour)}
		_, err = p.Send(t.Context(), ahead)
		require.NoError(t, err)
		time.Sleep(50 * time.Minute)
		require.Equal(t, []string{"k=ahead@0"}, content(t, b, "orders"))
		send(t, b, "orders", "k", "now")
		time.Sleep(50 * time.Minute)
		require.Len(t, content(t, b, "orders"), 2, "it is as old as what was written next")
		time.Sleep(20 * time.Minute)
		require.Empty(t, content(t, b, "orders"))

		_, err = p.Send(t.Context(), ahead)
		require.NoError(t, err)
		time.Sleep(50 * time.Minute)
		require.Len(t, content(t, b, "orders"), 1)
		time.Sleep(20 * time.Minute)
		require.Empty(t, content(t, b, "orders"), "it is as old as it has been there")
	})
}

// appendWhole appends an encoded batch to partition 0 of a topic.
func appendWhole(t *testing.T, b *runnel.Broker, name string, batch record.Batch) error {
	t.Helper()
	s, err := b.OpenProducer(t.Context(), producer.Config{BatchBytes: 1 << 16, BufferBytes: 1 << 20})
	require.NoError(t, err)
	defer s.Close()
	w, err := s.Topic(t.Context(), name)
	require.NoError(t, err)
	done := make(chan error, 1)
	w.Append(t.Context(), 0, &batch, func(_ record.Position, err error) { done <- err })
	return <-done
}

// TestCompactedTopicsNeedKeys: a record without a key can't be compacted.
func TestCompactedTopicsNeedKeys(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Cleanup: topic.Compact}}))
	for _, c := range []record.Compression{record.None, record.Zstd} {
		p, err := producer.New(b, producer.Compression(c))
		require.NoError(t, err)
		defer p.Close()
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("v")})
		require.ErrorIs(t, err, fault.InvalidRecord)
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Key: []byte{}, Value: []byte("v")})
		require.NoError(t, err)

		batch := record.NewBuilder(1 << 20)
		batch.Add(1, []byte("k"), nil, nil)
		batch.Add(1, nil, []byte("v"), nil)
		whole, err := batch.Batch(record.NewCodec(0), c, 0)
		require.NoError(t, err)
		err = appendWhole(t, b, "orders", whole)
		require.ErrorIs(t, err, fault.InvalidRecord)
		require.ErrorContains(t, err, "record 1 of 2 has no key")
	}
}

// TestBatchesOfBrokers: what marks a batch as one that a broker has written is not
// a producer's to set.
func TestBatchesOfBrokers(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	for _, attribute := range []int16{record.AttrControl, record.AttrTransactional, record.AttrDeleteHorizon} {
		builder := record.NewBuilder(1 << 20)
		builder.Add(1, []byte("k"), nil, nil)
		batch, err := builder.Batch(nil, record.None, 0)
		require.NoError(t, err)
		h := batch.BatchHeader
		h.Attributes |= attribute
		err = appendWhole(t, b, "orders", record.Seal(batch.Bytes, h))
		require.ErrorIs(t, err, fault.InvalidRecord)
	}
}
