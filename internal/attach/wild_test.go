package attach_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A client need not use packages producer and consumer, which refuse invalid
// calls before they reach a session. No call of such a client harms the program
// that holds the directory.
func TestWildCalls(t *testing.T) {
	_, _, dir := serve(t, topic.Spec{Name: "orders", Partitions: 2})
	client := dial(t, dir)
	p := newProducer(t, client, producer.Partitioner(topic.ManualPartitioner))
	for range 10 {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("v")})
		require.NoError(t, err)
	}
	number := rapid.SampledFrom([]int64{0, 1, 2, 5, 10, 11, 1 << 31, 1 << 40, -1, -2, math.MaxInt64, math.MinInt64})
	small := rapid.SampledFrom([]int{0, 1, 2, 3, -1, math.MinInt, math.MaxInt, math.MaxInt32 + 1})
	name := rapid.SampledFrom([]string{"orders", "", "x", "__consumer_offsets", "__cluster_metadata", "..", strings.Repeat("n", 300), "a/b"})
	span := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(number.Draw(t, "span")) })
	at := rapid.Custom(func(t *rapid.T) record.TopicPartition {
		return record.TopicPartition{Topic: name.Draw(t, "topic"), Partition: int32(number.Draw(t, "partition"))}
	})
	spec := rapid.Custom(func(t *rapid.T) topic.OffsetSpec {
		switch n := number.Draw(t, "spec"); rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return topic.AtOffset(n)
		case 1:
			return topic.AtTime(time.Unix(n, n))
		case 2:
			return topic.Latest()
		}
		return topic.Earliest()
	})
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
		defer cancel()
		c, err := client.OpenConsumer(ctx, consumer.Config{
			Group: name.Draw(rt, "group"), Start: spec.Draw(rt, "start"), Assignor: rapid.SampledFrom([]string{"", "range", "no"}).Draw(rt, "assignor"),
			Topics:         rapid.SliceOfN(name, 0, 2).Draw(rt, "topics"),
			SessionTimeout: span.Draw(rt, "session"), RebalanceTimeout: span.Draw(rt, "rebalance"),
			MaxRecords: small.Draw(rt, "records"), MaxBytes: small.Draw(rt, "bytes"),
		})
		if err == nil {
			tps := rapid.SliceOfN(at, 0, 2).Draw(rt, "assigned")
			_ = c.Assign(ctx, tps)
			_ = c.Seek(ctx, at.Draw(rt, "sought"), spec.Draw(rt, "seek"))
			_, _ = c.Position(ctx, at.Draw(rt, "position"))
			_ = c.Pause(tps...)
			_ = c.Resume(tps...)
			_, _ = c.Fetch(ctx, min(span.Draw(rt, "wait"), time.Microsecond), nil)
			_ = c.Commit(ctx, map[record.TopicPartition]consumer.Offset{at.Draw(rt, "committed"): {Offset: number.Draw(rt, "offset")}})
			_, _ = c.Offsets(ctx, spec.Draw(rt, "listed"), tps...)
			_ = c.Close()
		}
		s, err := client.OpenProducer(ctx, producer.Config{
			Acks: producer.Acks(small.Draw(rt, "acks")), Linger: span.Draw(rt, "linger"),
			BatchBytes: small.Draw(rt, "batch"), BufferBytes: small.Draw(rt, "buffer"),
			Compression: record.Compression(rapid.IntRange(-1, 6).Draw(rt, "compression")), Level: small.Draw(rt, "level"),
			Idempotent: rapid.Bool().Draw(rt, "idempotent"),
		})
		if err == nil {
			if w, err := s.Topic(ctx, name.Draw(rt, "written")); err == nil {
				r := record.Record{Partition: int32(number.Draw(rt, "to")), Value: []byte("v"), Timestamp: time.UnixMilli(number.Draw(rt, "ms") >> 1)}
				w.SendAsync(ctx, r, nil)
				if b := wildBatch(rt, number.Draw(rt, "ms of a batch")); b != nil {
					w.Append(ctx, int32(number.Draw(rt, "whole")), b, nil)
				}
			}
			_ = s.Flush(ctx)
			_ = s.Close()
		}
		_ = client.CreateTopics(ctx, topic.Spec{Name: name.Draw(rt, "created"), Partitions: rapid.SampledFrom([]int{-1, 0, 1, math.MinInt, math.MaxInt}).Draw(rt, "many"), Replicas: small.Draw(rt, "replicas")})
		_ = client.AddPartitions(ctx, name.Draw(rt, "grown"), rapid.SampledFrom([]int{-1, 0, 3, math.MinInt, math.MaxInt}).Draw(rt, "total"))
		_ = client.ConfigureTopic(ctx, "orders", wildConfig(rt, number))
		_, _ = client.ListOffsets(ctx, spec.Draw(rt, "asked"), at.Draw(rt, "of"))
		_, _ = client.DeleteRecords(ctx, map[record.TopicPartition]int64{at.Draw(rt, "deleted"): number.Draw(rt, "before")})
		_ = client.SetGroupOffsets(ctx, name.Draw(rt, "set"), map[record.TopicPartition]consumer.Offset{at.Draw(rt, "set of"): {Offset: number.Draw(rt, "set to")}})
		_ = client.DeleteGroupOffsets(ctx, name.Draw(rt, "forgets"), at.Draw(rt, "forgotten"))
		_, err = client.Topics(ctx)
		require.NoError(t, err)
		require.NoError(t, ctx.Err())
	})
}

// wildBatch returns a batch whose header contradicts its records.
func wildBatch(t *rapid.T, ms int64) *record.Batch {
	b := record.NewBuilder(1 << 10)
	b.Add(ms, []byte("k"), []byte("v"), nil)
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		return nil
	}
	h := batch.BatchHeader
	h.Attributes = int16(rapid.IntRange(0, 127).Draw(t, "attributes"))
	h.LastOffsetDelta = int32(rapid.SampledFrom([]int{0, 1, math.MaxInt32}).Draw(t, "delta"))
	h.Count = int32(rapid.IntRange(0, 3).Draw(t, "count"))
	h.ProducerID = int64(rapid.IntRange(-2, 3).Draw(t, "producer"))
	batch = record.Seal(batch.Bytes, h)
	return &batch
}

func wildConfig(t *rapid.T, number *rapid.Generator[int64]) topic.Config {
	return topic.Config{
		Durability: topic.Durability(number.Draw(t, "durability")), Cleanup: topic.Cleanup(number.Draw(t, "cleanup")),
		Retention: time.Duration(number.Draw(t, "retention")), SegmentBytes: number.Draw(t, "segment"),
		Timestamps: topic.TimestampType(number.Draw(t, "timestamps")), MinCleanableRatio: float64(number.Draw(t, "ratio")),
	}
}
