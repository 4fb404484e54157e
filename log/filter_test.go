package log

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// TestKeyMap fills a small table: it remembers the last offset of each key that it
// took, and takes no more than it has room for.
func TestKeyMap(t *testing.T) {
	for _, m := range []*keyMap{newKeyMap(1, 1000), newKeyMap(100*keySlotLen, 1000), newKeyMap(1<<20, 5), newKeyMap(1<<20, 1<<40)} {
		require.LessOrEqual(t, len(m.slots)*keySlotLen, max(1<<20, 8*keySlotLen))
		taken := 0
		for i := range int64(m.max) + 10 {
			key := fmt.Append(nil, "key-", i)
			require.EqualValues(t, -1, m.last(key))
			if m.put(key, i) {
				taken++
			}
		}
		require.Equal(t, m.max, taken)
		for i := range int64(m.max) {
			key := fmt.Append(nil, "key-", i)
			require.Equal(t, i, m.last(key))
			require.True(t, m.put(key, i+1000), "a key that is there needs no room")
			require.Equal(t, i+1000, m.last(key))
		}
	}
}

// TestDeleteHorizon holds what compaction makes of batches against what Kafka
// does (KIP-534).
func TestDeleteHorizon(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1 // a segment for each batch
	l, _ := open(t, cfg)
	add := func(records ...keyed) {
		next := l.EndOffset()
		for i := range records {
			records[i].offset, records[i].value = next+int64(i), "v"
		}
		require.NoError(t, l.Append(encodeKeyed(records, 0, record.None), nil))
	}
	add(keyed{ms: 100, key: "a"}, keyed{ms: 110, key: "b"}, keyed{ms: 90, key: "c"})
	add(keyed{ms: 120, key: "b", tombstone: true})
	add(keyed{ms: 130, key: "c"}, keyed{ms: 140, key: "d"})
	add(keyed{ms: 150, key: "last"})
	headers := func() (all []record.BatchHeader) {
		for next := int64(0); next < l.EndOffset(); {
			s, err := l.Read(next, l.EndOffset(), 1, nil)
			require.NoError(t, err)
			h := headerOf(s.Bytes)
			all, next = append(all, h), h.NextOffset()
		}
		return all
	}
	before := headers()
	c := Compaction{Now: 1_000, Limit: l.EndOffset(), DeleteRetention: 500 * time.Millisecond, SegmentBytes: 1}
	done, err := l.Compact(context.Background(), c, l.Swap)
	require.NoError(t, err)
	require.EqualValues(t, 2, done.Records)
	after := headers()
	require.EqualValues(t, 1, after[0].Count)
	require.EqualValues(t, 2, after[0].LastOffsetDelta)
	require.EqualValues(t, 100, after[0].BaseTimestamp)
	require.EqualValues(t, 100, after[0].MaxTimestamp, "of what stays")
	_, ok := after[0].DeleteHorizon()
	require.False(t, ok)
	horizon, ok := after[1].DeleteHorizon()
	require.True(t, ok)
	require.EqualValues(t, 1_500, horizon)
	require.EqualValues(t, 120, after[1].MaxTimestamp)
	require.Equal(t, before[2:], after[2:], "nothing to change")
	require.Equal(t, []keyed{
		{offset: 0, ms: 100, key: "a", value: "v"},
		{offset: 3, ms: 120, key: "b", tombstone: true, value: "v"},
		{offset: 4, ms: 130, key: "c", value: "v"},
		{offset: 5, ms: 140, key: "d", value: "v"},
		{offset: 6, ms: 150, key: "last", value: "v"},
	}, readKeyed(t, l))

	for _, now := range []int64{1_499, 1_500} {
		c.Now = now
		done, err = l.Compact(context.Background(), c, l.Swap)
		require.NoError(t, err)
		require.Equal(t, now-1_499, done.Records)
	}
	require.Zero(t, headers()[1].Count)
	d, err := l.DirtyRange(c)
	require.NoError(t, err)
	require.Greater(t, d.Horizon, int64(1)<<60)

	c.DeleteRetention = -1
	add(keyed{ms: 200, key: "d", tombstone: true})
	add(keyed{ms: 210, key: "last"})
	c.Limit = l.EndOffset()
	_, err = l.Compact(context.Background(), c, l.Swap)
	require.NoError(t, err)
	for _, h := range headers() {
		_, ok := h.DeleteHorizon()
		require.False(t, ok, "tombstones stay for ever")
	}
}

// TestAppendTimeSurvives: records that bear the time of their append keep it.
func TestAppendTimeSurvives(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	l, _ := open(t, cfg)
	raw := encodeKeyed([]keyed{{offset: 0, ms: 1, key: "a", value: "v"}, {offset: 1, ms: 2, key: "a", value: "w"}}, 0, record.None)
	record.StampAppendTime(raw, 777)
	require.NoError(t, l.Append(raw, nil))
	require.NoError(t, l.Append(encodeKeyed([]keyed{{offset: 2, ms: 3, key: "b", value: "v"}}, 0, record.None), nil))
	_, err := l.Compact(context.Background(), Compaction{Limit: 3}, l.Swap)
	require.NoError(t, err)
	require.Equal(t, keyed{offset: 1, ms: 777, key: "a", value: "w"}, readKeyed(t, l)[0])
}

// TestExpired: which segments are too old or too many.
func TestExpired(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	l, _ := open(t, cfg)
	for _, ms := range []int64{1_000, 5_000, record.NoTimestamp, 3_000, 90_000, 6_000} { // offsets 0 to 5
		require.NoError(t, l.Append(encodeKeyed([]keyed{{offset: l.EndOffset(), ms: ms, key: "k", value: "v"}}, 0, record.None), nil))
	}
	size := l.Size() / 6
	for _, x := range []struct {
		now, age, bytes, limit int64
		start, next            int64
	}{
		{2_000, 1_000, -1, 6, 0, 2_001},
		{2_001, 1_000, -1, 6, 1, 4_001}, // with the ones before it, whose time is not yet
		{6_001, 1_000, -1, 6, 4, 7_001}, // with the one that has no time
		{7_001, 1_000, -1, 6, 6, 1<<63 - 1},
		{7_001, 1_000, -1, 3, 2, 1<<63 - 1},
		{7_001, -1, -1, 6, 0, 1<<63 - 1},
		{2_001, 1_000, 3 * size, 6, 3, 4_001},
		{0, -1, 3*size + 1, 6, 2, 1<<63 - 1},
		{0, -1, 0, 6, 6, 1<<63 - 1},
		{0, -1, 0, 2, 2, 1<<63 - 1},
	} {
		start, next := l.Expired(Retention{Now: x.now, Age: time.Duration(x.age) * time.Millisecond, Bytes: x.bytes, Limit: x.limit})
		require.Equal(t, x.start, start, "%+v", x)
		require.Equal(t, x.next, next, "%+v", x)
	}
	latest, ok, err := Peek(cfg)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1_000, latest)
	require.NoError(t, l.SetStart(5))
	require.NoError(t, l.Close())
	latest, ok, err = Peek(cfg)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 6_000, latest)
}

// TestExpiredAfterAllTimes: sums of times that no number says are later than any.
func TestExpiredAfterAllTimes(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	l, _ := open(t, cfg)
	for _, ms := range []int64{math.MaxInt64 - 1, 1_000} {
		require.NoError(t, l.Append(encodeKeyed([]keyed{{offset: l.EndOffset(), ms: ms, key: "k", value: "v"}}, 0, record.None), nil))
	}
	start, next := l.Expired(Retention{Now: 1_500, Limit: 2, Age: time.Second, Bytes: -1})
	require.Zero(t, start)
	require.EqualValues(t, 2_001, next)
	d, err := l.DirtyRange(Compaction{Now: 1_500, Limit: 2, MinLag: time.Second})
	require.NoError(t, err)
	require.Zero(t, d.Dirty)
	require.EqualValues(t, 2_000, d.Held, "as old as what was written next")
	d, err = l.DirtyRange(Compaction{Now: 500, Limit: 2, MinLag: time.Second})
	require.NoError(t, err)
	require.Zero(t, d.Dirty)
	require.EqualValues(t, math.MaxInt64, d.Held)
}
