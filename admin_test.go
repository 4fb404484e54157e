package runnel_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// onBoth runs a test on a broker in memory and on one in a directory.
func onBoth(t *testing.T, test func(t *testing.T, b *runnel.Broker)) {
	t.Run("memory", func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		test(t, b)
	})
	t.Run("disk", func(t *testing.T) {
		b := openDir(t, t.TempDir())
		test(t, b)
	})
}

// openDir opens a broker in dir and closes it when the test ends.
func openDir(t *testing.T, dir string, opts ...runnel.Option) *runnel.Broker {
	t.Helper()
	b, err := runnel.Open(dir, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// write sends values to a partition, a second of record time apart, and returns
// the time of the first.
func write(t *testing.T, b *runnel.Broker, tp record.TopicPartition, values ...string) time.Time {
	t.Helper()
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	defer p.Close()
	start := time.UnixMilli(1_700_000_000_000)
	for i, v := range values {
		_, err := p.Send(t.Context(), record.Record{
			Topic: tp.Topic, Partition: tp.Partition,
			Timestamp: start.Add(time.Duration(i) * time.Second), Key: []byte(v), Value: []byte(v),
		})
		require.NoError(t, err)
	}
	return start
}

func describe(t *testing.T, b *runnel.Broker, name string) topic.Description {
	t.Helper()
	ds, err := b.DescribeTopics(t.Context(), name)
	require.NoError(t, err)
	require.Len(t, ds, 1)
	return ds[0]
}

func TestCreateDescribeListDelete(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx := t.Context()
		cfg := topic.Config{Retention: time.Hour}
		require.NoError(t, b.CreateTopics(ctx,
			topic.Spec{Name: "visits"}, topic.Spec{Name: "orders", Partitions: 3, Replicas: 1, Config: cfg}))
		names, err := b.Topics(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"orders", "visits"}, names)

		d := describe(t, b, "orders")
		require.Equal(t, cfg, d.Config)
		require.NotZero(t, d.ID)
		require.False(t, d.Internal)
		require.Equal(t, []record.TopicPartition{{Topic: "orders", Partition: 0}, {Topic: "orders", Partition: 1}, {Topic: "orders", Partition: 2}}, d.TopicPartitions())
		p := d.Partitions[2]
		require.Equal(t, int32(2), p.Number)
		require.Equal(t, int32(1), p.Leader)
		require.Equal(t, []int32{1}, p.Replicas)
		require.Equal(t, []int32{1}, p.ISR)
		require.Zero(t, p.EndOffset)

		all, err := b.DescribeTopics(ctx)
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Len(t, all[1].Partitions, 1, "one partition is the default")

		require.NoError(t, b.DeleteTopics(ctx, "orders"))
		names, err = b.Topics(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"visits"}, names)
		_, err = b.DescribeTopics(ctx, "orders")
		require.ErrorIs(t, err, fault.UnknownTopic)

		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders"}))
		require.NotEqual(t, d.ID, describe(t, b, "orders").ID, "another topic of the same name")
	})
}

func TestCommandsOfNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		require.NoError(t, b.CreateTopics(t.Context()))
		require.NoError(t, b.DeleteTopics(t.Context()))
		starts, err := b.DeleteRecords(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, starts)
		offsets, err := b.ListOffsets(t.Context(), topic.Earliest())
		require.NoError(t, err)
		require.Empty(t, offsets)
	})
}

func TestAdminRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2}, topic.Spec{Name: "a.b"}))
		nowhere := record.TopicPartition{Topic: "orders", Partition: 2}
		internal := record.TopicPartition{Topic: topic.ConsumerOffsets}
		tests := []struct {
			name string
			do   func() error
			want fault.Code
			says string
		}{
			{"create what exists", func() error { return b.CreateTopics(ctx, topic.Spec{Name: "orders"}) }, fault.TopicExists, "orders"},
			{"create what collides", func() error { return b.CreateTopics(ctx, topic.Spec{Name: "a_b"}) }, fault.InvalidTopic, "a.b"},
			{"create a path", func() error { return b.CreateTopics(ctx, topic.Spec{Name: "../etc"}) }, fault.InvalidTopic, "../etc"},
			{"create an internal topic", func() error { return b.CreateTopics(ctx, topic.Spec{Name: topic.ConsumerOffsets}) }, fault.InvalidTopic, "own state"},
			{"create copies", func() error { return b.CreateTopics(ctx, topic.Spec{Name: "new", Replicas: 3}) }, fault.InvalidReplication, "3"},
			{"create all or none", func() error {
				return b.CreateTopics(ctx, topic.Spec{Name: "new"}, topic.Spec{Name: "newer", Config: topic.Config{SegmentBytes: 1}})
			}, fault.InvalidConfig, "segment.bytes"},
			{"delete what is not there", func() error { return b.DeleteTopics(ctx, "orders", "visits") }, fault.UnknownTopic, "visits"},
			{"describe what is not there", func() error { _, err := b.DescribeTopics(ctx, "order"); return err }, fault.UnknownTopic, "did you mean orders?"},
			{"describe and be taught", func() error { _, err := b.DescribeTopics(ctx, "visits"); return err }, fault.UnknownTopic, `CreateTopics(ctx, topic.Spec{Name: "visits"})`},
			{"fewer partitions", func() error { return b.AddPartitions(ctx, "orders", 1) }, fault.InvalidPartitions, "2 already"},
			{"partitions of nothing", func() error { return b.AddPartitions(ctx, "visits", 1) }, fault.UnknownTopic, "visits"},
			{"configure nothing", func() error { return b.ConfigureTopic(ctx, "visits", topic.Config{}) }, fault.UnknownTopic, "visits"},
			{"configure badly", func() error { return b.ConfigureTopic(ctx, "orders", topic.Config{MinReplicas: -1}) }, fault.InvalidConfig, "orders"},
			{"delete records of no partition", func() error {
				_, err := b.DeleteRecords(ctx, map[record.TopicPartition]int64{nowhere: 0})
				return err
			}, fault.UnknownTopic, "orders-2"},
			{"delete records beyond the end", func() error {
				_, err := b.DeleteRecords(ctx, map[record.TopicPartition]int64{{Topic: "orders"}: 1})
				return err
			}, fault.OffsetOutOfRange, "orders-0"},
			{"delete internal records", func() error {
				_, err := b.DeleteRecords(ctx, map[record.TopicPartition]int64{internal: 0})
				return err
			}, fault.InvalidTopic, "own state"},
			{"offsets of no partition", func() error { _, err := b.ListOffsets(ctx, topic.Latest(), nowhere); return err }, fault.UnknownTopic, "orders-2"},
			{"offsets of a negative partition", func() error {
				_, err := b.ListOffsets(ctx, topic.Latest(), record.TopicPartition{Topic: "orders", Partition: -1})
				return err
			}, fault.UnknownTopic, "orders"},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				err := test.do()
				require.ErrorIs(t, err, test.want)
				require.ErrorContains(t, err, test.says)
			})
		}
		names, err := b.Topics(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"a.b", "orders"}, names, "nothing that was refused has happened")
	})
}

func TestAddPartitions(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		write(t, b, record.TopicPartition{Topic: "orders"}, "a")
		require.NoError(t, b.AddPartitions(t.Context(), "orders", 4))
		d := describe(t, b, "orders")
		require.Len(t, d.Partitions, 4)
		require.EqualValues(t, 1, d.Partitions[0].EndOffset)
		write(t, b, record.TopicPartition{Topic: "orders", Partition: 3}, "b")
	})
}

func TestConfigureTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Config: topic.Config{Retention: time.Hour}}))
		to := topic.Config{MaxMessageBytes: 200, Timestamps: topic.LogAppendTime}
		require.NoError(t, b.ConfigureTopic(ctx, "orders", to))
		require.Equal(t, to, describe(t, b, "orders").Config)

		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte(strings.Repeat("x", 300))})
		require.ErrorIs(t, err, fault.RecordTooLarge, "it holds for partitions that are open")
	})
}

// Settings of segments hold for partitions that are open, from the next append
// on.
func TestConfigureSegments(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	tp := record.TopicPartition{Topic: "orders"}
	logs := func() int {
		files, err := filepath.Glob(filepath.Join(dir, "orders-0", "*.log"))
		require.NoError(t, err)
		return len(files)
	}
	write(t, b, tp, "a", "b", "c")
	require.Equal(t, 1, logs())
	require.NoError(t, b.ConfigureTopic(t.Context(), "orders", topic.Config{SegmentBytes: 100}))
	write(t, b, tp, "d", "e", "f")
	require.Equal(t, 4, logs(), "each batch has a segment to itself")
}

func TestListOffsetsAndDeleteRecords(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2}))
		tp, other := record.TopicPartition{Topic: "orders", Partition: 1}, record.TopicPartition{Topic: "orders"}
		start := write(t, b, tp, "a", "b", "c", "d")
		list := func(spec topic.OffsetSpec) topic.ListedOffset {
			offsets, err := b.ListOffsets(ctx, spec, tp, other)
			require.NoError(t, err)
			require.Len(t, offsets, 2)
			return offsets[tp]
		}
		require.EqualValues(t, 0, list(topic.Earliest()).Offset)
		require.EqualValues(t, 4, list(topic.Latest()).Offset)
		require.EqualValues(t, 17, list(topic.AtOffset(17)).Offset)
		found := list(topic.AtTime(start.Add(1500 * time.Millisecond)))
		require.EqualValues(t, 2, found.Offset)
		require.True(t, found.Timestamp.Equal(start.Add(2*time.Second)))
		require.EqualValues(t, 0, found.LeaderEpoch)
		require.EqualValues(t, 4, list(topic.AtTime(start.Add(time.Hour))).Offset, "no record is so late")

		starts, err := b.DeleteRecords(ctx, map[record.TopicPartition]int64{tp: 3})
		require.NoError(t, err)
		require.Equal(t, map[record.TopicPartition]int64{tp: 3}, starts)
		require.EqualValues(t, 3, list(topic.Earliest()).Offset)
		starts, err = b.DeleteRecords(ctx, map[record.TopicPartition]int64{tp: -1, other: -1})
		require.NoError(t, err)
		require.Equal(t, map[record.TopicPartition]int64{tp: 4, other: 0}, starts)

		d := describe(t, b, "orders").Partitions[1]
		require.EqualValues(t, 4, d.StartOffset)
		require.EqualValues(t, 4, d.HighWatermark)
		require.EqualValues(t, 4, d.EndOffset)
	})
}

func TestDescribeShowsWhatIsDurable(t *testing.T) {
	mem, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer mem.Close()
	require.NoError(t, mem.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	write(t, mem, record.TopicPartition{Topic: "orders"}, "a")
	require.EqualValues(t, -1, describe(t, mem, "orders").Partitions[0].DurableOffset)

	disk := openDir(t, t.TempDir())
	require.NoError(t, disk.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	write(t, disk, record.TopicPartition{Topic: "orders"}, "a", "b")
	p := describe(t, disk, "orders").Partitions[0]
	require.EqualValues(t, 2, p.DurableOffset, "what is acknowledged is on disk")
	require.Positive(t, p.Size)
}

func TestContextEndsWaiting(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, b.CreateTopics(ctx, topic.Spec{Name: "orders"}), context.Canceled)
		names, err := b.Topics(t.Context())
		require.NoError(t, err)
		require.Empty(t, names)
	})
}

func TestManyCommandsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		done := make(chan error)
		const n = 20
		for i := range n {
			go func() {
				name := fmt.Sprintf("topic-%d", i)
				err := b.CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: 2})
				if err == nil && i%2 == 0 {
					err = b.AddPartitions(t.Context(), name, 3)
				}
				if err == nil && i%3 == 0 {
					err = b.DeleteTopics(t.Context(), name)
				}
				if err == nil {
					_, err = b.DescribeTopics(t.Context())
				}
				done <- err
			}()
		}
		for range n {
			require.NoError(t, <-done)
		}
		names, err := b.Topics(t.Context())
		require.NoError(t, err)
		require.Len(t, names, 13)
	})
}
