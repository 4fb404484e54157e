package runnel

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestPowerLossWithinTransform loses power at every change that reading, handling and writing
// in transactions make on the disk: in each partition, the group is exactly as far as the
// output, and no less than what was committed.
func TestPowerLossWithinTransform(t *testing.T) {
	const partitions, each = 2, 6
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	b, err := openFixture(fsys)
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "in", Partitions: partitions}, topic.Spec{Name: "out", Partitions: partitions}))
	in, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	for i := range each {
		for n := range int32(partitions) {
			_, err := in.Send(ctx, record.Record{Topic: "in", Partition: n, Value: fmt.Append(nil, i)})
			require.NoError(t, err)
		}
	}
	require.NoError(t, in.Close())

	var mu sync.Mutex
	committed := map[int32]int64{} // how far each partition is, at least
	var begun map[int32]int64      // and with the transaction that is running
	type moment struct {
		name string
		disk *vfs.Crashable
		done map[int32]int64
	}
	var moments []moment
	changes := 0
	remove := fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		mu.Lock()
		defer mu.Unlock()
		done := map[int32]int64{}
		for n, at := range committed {
			done[n] = at
		}
		changes++
		for _, loss := range []vfs.Loss{{Kept: vfs.KeepNone}, {Kept: vfs.KeepAll}, vfs.RandomLoss(uint64(2 * changes)), vfs.RandomLoss(uint64(2*changes + 1))} {
			moments = append(moments, moment{fmt.Sprintf("change %d, %+v", changes, loss), disk.After(loss), done})
		}
	}})
	p, err := producer.New(b, producer.TransactionalID("stage"), producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("in"), consumer.ReadCommitted(), consumer.ManualCommit(), consumer.MaxRecords(2))
	require.NoError(t, err)
	left := partitions * each
	require.NoError(t, producer.Transform(ctx, p, c, func(tx *producer.Tx, records []record.Record) error {
		mu.Lock()
		for n, at := range begun { // the transaction before this one was committed
			committed[n] = at
		}
		last := records[len(records)-1]
		begun = map[int32]int64{last.Partition: last.Offset + 1}
		mu.Unlock()
		for _, r := range records {
			tx.SendAsync(ctx, record.Record{Topic: "out", Partition: r.Partition, Value: r.Value}, nil)
		}
		if left -= len(records); left == 0 {
			whenDone(t, b, "g", partitions*each, stop)
		}
		return nil
	}))
	remove()
	require.Zero(t, left)
	require.NoError(t, c.Close())
	require.NoError(t, p.Close())
	require.NoError(t, b.Close())
	require.Greater(t, changes, 50)

	for _, m := range moments {
		b, err := openFixture(m.disk)
		require.NoError(t, err, m.name)
		p, err := producer.New(b, producer.TransactionalID("stage")) // after it, nothing is undecided
		require.NoError(t, err, m.name)
		c, err := consumer.New(b, consumer.Group("g"), consumer.ReadCommitted(), consumer.ManualCommit())
		require.NoError(t, err, m.name)
		for n := range int32(partitions) {
			tp := record.TopicPartition{Topic: "in", Partition: n}
			offsets, err := c.Committed(t.Context(), tp)
			require.NoError(t, err, m.name)
			values := committedOf(t, b, record.TopicPartition{Topic: "out", Partition: n})
			require.EqualValues(t, offsets[tp].Offset, len(values), "%s: of partition %d, there is %v", m.name, n, values)
			require.GreaterOrEqual(t, offsets[tp].Offset, m.done[n], m.name)
			for i, value := range values {
				require.Equal(t, fmt.Sprint(i), value, m.name)
			}
		}
		require.NoError(t, c.Close(), m.name)
		require.NoError(t, p.Close(), m.name)
		require.NoError(t, b.Close(), m.name)
	}
}

// whenDone calls fn once a group has committed so many records in sum.
func whenDone(t *testing.T, b *Broker, group string, records int64, fn func()) {
	offsets, err := b.GroupOffsets(t.Context(), group)
	assert.NoError(t, err)
	left := records
	for _, o := range offsets {
		left -= o.Offset
	}
	if left > 0 && err == nil {
		time.AfterFunc(time.Millisecond, func() { whenDone(t, b, group, records, fn) })
		return
	}
	fn()
}
