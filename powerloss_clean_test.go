package runnel

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestPowerLossWhileCleaning takes the power away at every change of the disk while
// records are sent and the cleaner compacts one topic and shortens another. What is
// left opens, has the last acknowledged record of each key and nothing that was not
// sent, and can be cleaned.
func TestPowerLossWhileCleaning(t *testing.T) {
	const keys = 4
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	b, err := openFixture(fsys)
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(),
		topic.Spec{Name: "prices", Config: topic.Config{Cleanup: topic.Compact, SegmentBytes: 400, MinCleanableRatio: 0.01}},
		topic.Spec{Name: "visits", Config: topic.Config{SegmentBytes: 400, RetentionBytes: 900}}))

	type moment struct {
		disk  *vfs.Crashable
		acked int64 // so many records of each topic
		name  string
	}
	var mu sync.Mutex
	var moments []moment
	var acked atomic.Int64
	remove := fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		before := acked.Load() // first: what is acknowledged meanwhile may be lost here
		mu.Lock()
		defer mu.Unlock()
		for i := range 3 {
			loss := vfs.RandomLoss(uint64(len(moments)))
			if i == 0 {
				loss = vfs.Loss{Kept: vfs.KeepNone}
			}
			moments = append(moments, moment{disk.After(loss), before, fmt.Sprintf("change %d, %+v", len(moments)/3, loss)})
		}
	}})
	p, err := producer.New(b)
	require.NoError(t, err)
	for n := range int64(24) {
		for _, name := range []string{"prices", "visits"} {
			_, err := p.Send(t.Context(), record.Record{Topic: name, Key: []byte(strconv.FormatInt(n%keys, 10)), Value: fmt.Appendf(nil, "%d-%0100d", n, 0)})
			require.NoError(t, err)
		}
		acked.Store(n + 1)
	}
	require.NoError(t, p.Close())
	_, err = b.Cleanup(t.Context())
	require.NoError(t, err)
	remove()
	var last func(b *Broker, name string) (values map[int64]int64, first int64)
	last = func(b *Broker, name string) (values map[int64]int64, first int64) {
		part, err := b.host.Partition(record.TopicPartition{Topic: name})
		require.NoError(t, err)
		values, first = map[int64]int64{}, part.StartOffset()
		before := int64(-1)
		err = part.(*partition.Partition).Scan(func(_ *record.Batch, r *record.Record) error {
			require.Greater(t, r.Offset, before)
			before = r.Offset
			require.Equal(t, fmt.Sprintf("%d-%0100d", r.Offset, 0), string(r.Value))
			key, err := strconv.ParseInt(string(r.Key), 10, 64)
			require.NoError(t, err)
			require.Equal(t, r.Offset%keys, key)
			values[key] = r.Offset
			return nil
		})
		if errors.Is(err, fault.OffsetOutOfRange) { // the cleaner was faster
			return last(b, name)
		}
		require.NoError(t, err)
		return values, first
	}
	prices, _ := last(b, "prices")
	require.Len(t, prices, keys)
	_, start := last(b, "visits")
	require.Greater(t, start, int64(10))
	require.NoError(t, b.Close())

	for _, m := range moments {
		found, err := inspect(t.Context(), m.disk, "/srv/data", false, nil)
		require.NoError(t, err, m.name)
		require.NotEqual(t, log.Damage, found.Worst(), "%s: %v", m.name, found)
		b, err := openFixture(m.disk)
		require.NoError(t, err, m.name)
		for _, p := range b.Recovery().Partitions {
			require.NoError(t, p.Err, m.name)
			require.Empty(t, p.Damage, m.name)
		}
		for range 2 {
			prices, _ := last(b, "prices")
			visits, start := last(b, "visits")
			for n := max(0, m.acked-keys); n < m.acked; n++ {
				require.GreaterOrEqual(t, prices[n%keys], n, m.name)
			}
			if m.acked > start {
				require.GreaterOrEqual(t, visits[(m.acked-1)%keys], m.acked-1, m.name)
			}
			_, err = b.Cleanup(t.Context())
			require.NoError(t, err, m.name)
		}
		require.NoError(t, b.Verify(t.Context()), m.name)
		require.NoError(t, b.Close(), m.name)
	}
	t.Logf("%d power losses", len(moments))
}
