package runnel_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/internal/kafkadump"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// TestKafkasToolReadsADirectory writes a directory of everything: groups and their offsets,
// transactions committed, aborted and open, with offsets, share groups, conditions, compaction. Nothing
// in it is damaged, and with a Kafka at hand its tool reads every file.
func TestKafkasToolReadsADirectory(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx,
		topic.Spec{Name: "orders", Partitions: 3, Config: topic.Config{SegmentBytes: 1 << 14}},
		topic.Spec{Name: "jobs", Partitions: 2},
		topic.Spec{Name: "accounts", Config: topic.Config{Cleanup: topic.Compact, KeyIndex: true, SegmentBytes: 1 << 14}}))
	p := transactional(t, b, "shop")
	for i := range 200 {
		err := producer.Transact(ctx, p, func(tx *producer.Tx) error {
			for n := range int32(3) {
				tx.SendAsync(ctx, at("orders", n, fmt.Sprint(i)), nil)
			}
			tx.SendAsync(ctx, record.Record{Topic: "accounts", Key: fmt.Append(nil, i%5), Value: fmt.Append(nil, i)}, nil)
			if i%3 == 1 {
				return errRefused
			}
			return nil
		})
		if i%3 == 1 {
			require.Equal(t, errRefused, err)
		} else {
			require.NoError(t, err)
		}
	}
	_, err := b.Cleanup(ctx)
	require.NoError(t, err)

	c, err := consumer.New(b, consumer.Group("readers"), consumer.Topics("orders"), consumer.InstanceID("static"), consumer.ManualCommit(), consumer.ReadCommitted())
	require.NoError(t, err)
	records, err := c.Poll(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, records)
	require.NoError(t, c.Commit(ctx))
	member, err := c.GroupMetadata(ctx)
	require.NoError(t, err)
	require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
		return tx.SendOffsets(ctx, member, map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 3}})
	}))
	open := transactional(t, b, "open")
	require.NoError(t, open.Begin(ctx))
	_, err = open.Send(ctx, at("orders", 1, "open"))
	require.NoError(t, err)
	require.NoError(t, open.SendOffsets(ctx, member, map[record.TopicPartition]consumer.Offset{{Topic: "orders", Partition: 1}: {Offset: 4}}))

	sendValues(t, b, "jobs", numbers(30)...)
	w, err := share.New(b, share.Group("workers"), share.Topics("jobs"), share.Prefetch(1))
	require.NoError(t, err)
	for _, settle := range []func(d *share.Delivery) error{
		func(d *share.Delivery) error { return d.Ack(ctx) },
		func(d *share.Delivery) error { return d.Release(ctx) },
		func(d *share.Delivery) error { return d.ReleaseAfter(ctx, time.Hour) },
		func(d *share.Delivery) error { return d.Reject(ctx, nil) },
		func(*share.Delivery) error { return nil },
	} {
		d, err := w.Receive(ctx)
		require.NoError(t, err)
		require.NoError(t, settle(d))
	}
	plain, err := producer.New(b)
	require.NoError(t, err)
	for i := range 2 {
		_, err = plain.SendIf(ctx, record.Record{Topic: "accounts", Key: []byte("alice"), Value: []byte("1")}, producer.IfAbsent())
		require.Equal(t, i > 0, err != nil, err)
	}
	require.NoError(t, plain.Close())
	require.NoError(t, b.Close())

	found, err := datadir.Inspect(ctx, dir, nil)
	require.NoError(t, err)
	for _, p := range found.Partitions {
		require.Empty(t, p.Findings)
	}
	kafkadump.Directory(t, dir)
}
