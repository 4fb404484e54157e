package runnel_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// threeDir makes a directory, closed, with a record in each of three partitions.
func threeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 3}))
	for n, v := range []string{"a", "b", "c"} {
		write(t, b, record.TopicPartition{Topic: "orders", Partition: int32(n)}, v)
	}
	require.NoError(t, b.Close())
	return dir
}

// shorten cuts some bytes off a file.
func shorten(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()-37))
}

// isDamage requires err to be about damage of a partition.
func isDamage(t *testing.T, err error, tp record.TopicPartition) {
	t.Helper()
	var damage *fault.Corruption
	require.ErrorAs(t, err, &damage)
	require.Equal(t, tp, record.TopicPartition{Topic: damage.Topic, Partition: damage.Partition})
	require.False(t, fault.Retriable(err))
}

// A partition that does not open does not keep clients from the others of its topic.
func TestDamagedPartitionLeavesTheOthers(t *testing.T) {
	broken := record.TopicPartition{Topic: "orders", Partition: 0}
	for name, plant := range map[string]func(t *testing.T, dir string){
		"a log that is cut short": func(t *testing.T, dir string) { shorten(t, filepath.Join(dir, "orders-0", firstLog)) },
		"the topic's ID": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "orders-0", "partition.metadata"), []byte("garbage"), 0o644))
		},
		"no directory": func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-0"))) },
		"after a crash": func(t *testing.T, dir string) {
			shorten(t, filepath.Join(dir, "orders-0", firstLog))
			require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := threeDir(t)
			plant(t, dir)
			b, ctx := openDir(t, dir), t.Context()

			p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
			require.NoError(t, err)
			told := make(chan error, 3)
			for n, v := range []string{"d", "e", "f"} {
				p.SendAsync(ctx, record.Record{Topic: "orders", Partition: int32(n), Value: []byte(v)}, func(_ record.Position, err error) { told <- err })
			}
			require.NoError(t, p.Flush(ctx))
			isDamage(t, errors.Join(<-told, <-told, <-told), broken)
			_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte("x")})
			isDamage(t, err, broken)
			_, err = p.Send(ctx, record.Record{Topic: "orders", Partition: 1, Value: []byte("g")})
			require.NoError(t, err)
			require.NoError(t, p.Close())

			for name, opts := range map[string][]consumer.Option{
				"assigned": {consumer.Assign(broken, record.TopicPartition{Topic: "orders", Partition: 1}, record.TopicPartition{Topic: "orders", Partition: 2})},
				"group":    {consumer.Group("g"), consumer.Topics("orders")},
			} {
				c, err := consumer.New(b, append(opts, consumer.FromStart())...)
				require.NoError(t, err)
				var got []string
				var failed []error
				for len(got) < 5 || len(failed) == 0 {
					batch, err := c.Poll(ctx)
					if err != nil {
						failed = append(failed, err)
					}
					for _, r := range batch {
						got = append(got, string(r.Value))
					}
				}
				slices.Sort(got)
				require.Equal(t, []string{"b", "c", "e", "f", "g"}, got, name)
				require.Len(t, failed, 1, name)
				isDamage(t, failed[0], broken)
				over, cancel := context.WithCancel(ctx)
				cancel()
				_, err = c.Poll(over)
				require.ErrorIs(t, err, context.Canceled, "it is reported once")
				require.NoError(t, c.Close(), name)
			}

			app, err := streams.New(b, "app", func(top *streams.Topology) {
				streams.Stream(top, serde.For("orders", serde.String, serde.String)).ForEach(func(_, _ string) {})
			})
			require.NoError(t, err)
			isDamage(t, app.Run(ctx), broken)

			ps := describe(t, b, "orders").Partitions
			require.Equal(t, topic.PartitionDescription{
				Number: 0, Leader: -1, LeaderEpoch: -1, Replicas: ps[1].Replicas, StartOffset: -1, HighWatermark: -1, EndOffset: -1, DurableOffset: -1, Size: -1,
			}, ps[0])
			require.EqualValues(t, 3, ps[1].EndOffset)
			for _, spec := range []topic.OffsetSpec{topic.Earliest(), topic.Latest(), topic.AtTime(time.Now())} {
				_, err = b.ListOffsets(ctx, spec, broken)
				isDamage(t, err, broken)
			}
			starts, err := b.DeleteRecords(ctx, map[record.TopicPartition]int64{broken: 1, {Topic: "orders", Partition: 2}: 1})
			isDamage(t, err, broken)
			require.Equal(t, map[record.TopicPartition]int64{{Topic: "orders", Partition: 2}: 1}, starts)
			_, err = b.Cleanup(ctx)
			isDamage(t, err, broken)
			isDamage(t, b.Verify(ctx), broken)
			isDamage(t, b.Backup(ctx, io.Discard), broken)

			require.NoError(t, b.ConfigureTopic(ctx, "orders", topic.Config{Retention: time.Hour}))
			require.NoError(t, b.AddPartitions(ctx, "orders", 4))
			write(t, b, record.TopicPartition{Topic: "orders", Partition: 3}, "h")
			i := slices.IndexFunc(b.Recovery().Partitions, func(r runnel.PartitionRecovery) bool { return r.TopicPartition == broken })
			isDamage(t, b.Recovery().Partitions[i].Err, broken)
			require.Len(t, b.Recovery().Partitions, 4, "the catalogue's, and those of the topic that were there before")
			require.NoError(t, b.Close())

			_, err = datadir.Repair(ctx, dir, datadir.RepairOptions{AcceptLoss: true})
			require.NoError(t, err)
			b = openDir(t, dir)
			write(t, b, broken, "i")
			require.Contains(t, valuesOf(t, b, record.TopicPartition{Topic: "orders", Partition: 1}), "g")
			require.NoError(t, b.Verify(ctx))
		})
	}
}

// A topic with a partition that does not open is deleted with all that there is.
func TestDeleteDamagedTopic(t *testing.T) {
	dir := threeDir(t)
	shorten(t, filepath.Join(dir, "orders-0", firstLog))
	b := openDir(t, dir)
	describe(t, b, "orders")
	require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
	require.Empty(t, ls(t, dir))
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	write(t, b, record.TopicPartition{Topic: "orders"}, "a")
}

// The hint says how to go on.
func TestDamagedPartitionNamesRepair(t *testing.T) {
	dir := threeDir(t)
	shorten(t, filepath.Join(dir, "orders-0", firstLog))
	_, err := openDir(t, dir).ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "orders"})
	require.ErrorContains(t, err, "runnel repair")
	require.ErrorContains(t, err, filepath.Join(dir, "orders-0", firstLog))
}

// A directory that is gone after a clean close is lost: no new log begins there
// until that is asked for, and it may come back.
func TestLostDirectory(t *testing.T) {
	tp := record.TopicPartition{Topic: "orders", Partition: 1}
	dir, elsewhere := threeDir(t), filepath.Join(t.TempDir(), "orders-1")
	lost := filepath.Join(dir, "orders-1")
	require.NoError(t, os.Rename(lost, elsewhere))
	for range 2 {
		b := openDir(t, dir)
		require.Equal(t, []record.TopicPartition{tp}, b.Recovery().Missing)
		_, err := b.ListOffsets(t.Context(), topic.Latest(), tp)
		isDamage(t, err, tp)
		require.ErrorContains(t, err, lost)
		require.ErrorContains(t, err, "runnel repair --accept-loss")
		write(t, b, record.TopicPartition{Topic: "orders"}, "the others go on")
		require.NoError(t, b.Close())
		require.NoDirExists(t, lost)
	}
	b := openDir(t, dir)
	describe(t, b, "orders")
	require.NoError(t, os.Rename(elsewhere, lost))
	require.Equal(t, []string{"b"}, valuesOf(t, b, tp), "it is there again")
	write(t, b, tp, "c")
	require.NoError(t, b.Close())

	require.NoError(t, os.RemoveAll(lost))
	steps, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{})
	require.NoError(t, err)
	require.True(t, steps[0].Refused)
	_, err = datadir.Repair(t.Context(), dir, datadir.RepairOptions{AcceptLoss: true})
	require.NoError(t, err)
	b = openDir(t, dir)
	require.Empty(t, b.Recovery().Missing)
	write(t, b, tp, "d")
	require.Equal(t, []string{"d"}, valuesOf(t, b, tp))
}

// What is lost is no part of a topic that takes the name.
func TestLostDirectoryOfADeletedTopic(t *testing.T) {
	dir := threeDir(t)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-1")))
	b := openDir(t, dir)
	require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	write(t, b, record.TopicPartition{Topic: "orders", Partition: 1}, "a")
}

// Groups whose partition of __consumer_offsets is damaged get the error; others go on.
func TestDamagedGroups(t *testing.T) {
	dir := someDir(t) // group g is in partition 3
	shorten(t, filepath.Join(dir, "__consumer_offsets-3", firstLog))
	b, ctx := openDir(t, dir), t.Context()
	damaged := record.TopicPartition{Topic: topic.ConsumerOffsets, Partition: 3}
	_, err := b.GroupOffsets(ctx, "g")
	isDamage(t, err, damaged)
	tp := record.TopicPartition{Topic: "orders", Partition: 1}
	isDamage(t, b.SetGroupOffsets(ctx, "g", map[record.TopicPartition]consumer.Offset{tp: {Offset: 1}}), damaged)
	c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
	require.NoError(t, err)
	_, err = c.Poll(ctx)
	isDamage(t, err, damaged)
	require.NoError(t, c.Close())

	for _, name := range strings.Fields("a b c d e f") { // in the other partitions, too
		err := b.SetGroupOffsets(ctx, name, map[record.TopicPartition]consumer.Offset{tp: {Offset: 1}})
		if err != nil {
			isDamage(t, err, damaged)
			continue
		}
		offsets, err := b.GroupOffsets(ctx, name)
		require.NoError(t, err)
		require.EqualValues(t, 1, offsets[tp].Offset)
	}
	require.NoError(t, b.SetGroupOffsets(ctx, "h", map[record.TopicPartition]consumer.Offset{tp: {Offset: 1}}))
}
