package log

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// timed appends a batch with these timestamps.
func timed(t *testing.T, l *Log, codec *record.Codec, c record.Compression, timestamps ...int64) {
	t.Helper()
	b := record.NewBuilder(1 << 20)
	for _, ms := range timestamps {
		b.Add(ms, nil, []byte("value"), nil)
	}
	batch, err := b.Batch(codec, c, 0)
	require.NoError(t, err)
	stamp(batch.Bytes, l.EndOffset())
	require.NoError(t, l.Append(batch.Bytes, nil))
}

func TestOffsetForTime(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.IndexInterval, cfg.SegmentBytes = 1, 300
		cfg.Codec = record.NewCodec(0)
		l, _ := open(t, cfg)
		_, _, ok, err := l.OffsetForTime(0)
		require.NoError(t, err)
		require.False(t, ok)
		timed(t, l, nil, record.None, 50, 10, 70)         // 0 to 2
		timed(t, l, cfg.Codec, record.Zstd, 20, 90, 30)   // 3 to 5
		timed(t, l, nil, record.None, record.NoTimestamp) // 6
		timed(t, l, cfg.Codec, record.Gzip, 40)           // 7
		timed(t, l, nil, record.None, 80, 100)            // 8, 9
		timed(t, l, nil, record.None, 60)                 // 10
		require.Greater(t, l.Segments(), 1)
		find := func(ms int64) [2]int64 {
			offset, timestamp, ok, err := l.OffsetForTime(ms)
			require.NoError(t, err)
			if !ok {
				return [2]int64{-1, -1}
			}
			return [2]int64{offset, timestamp}
		}
		check := func() {
			require.Equal(t, [2]int64{0, 50}, find(-5))
			require.Equal(t, [2]int64{0, 50}, find(50))
			require.Equal(t, [2]int64{2, 70}, find(51))
			require.Equal(t, [2]int64{4, 90}, find(71))
			require.Equal(t, [2]int64{9, 100}, find(91))
			require.Equal(t, [2]int64{9, 100}, find(100))
			require.Equal(t, [2]int64{-1, -1}, find(101))
		}
		check()
		require.NoError(t, l.Close())
		l, _ = open(t, cfg)
		check()
		require.NoError(t, l.SetStart(5))
		require.Equal(t, [2]int64{8, 80}, find(50))
		require.Equal(t, [2]int64{5, 30}, find(20))
		require.Equal(t, [2]int64{7, 40}, find(31))
	})
}

// Between the entries of a time index lie many batches, and what is looked for may
// be any of them: in the active segment and in a sealed one.
func TestOffsetForTimeBetweenIndexEntries(t *testing.T) {
	cfg := memoryConfig()
	cfg.IndexInterval = 400
	l, _ := open(t, cfg)
	appendN(t, l, 40, 1, 10) // a record a second
	for _, sealed := range []bool{false, true} {
		if sealed {
			require.NoError(t, l.Roll())
		}
		for want := range int64(40) {
			offset, timestamp, ok, err := l.OffsetForTime(want*1000 - 500)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, []int64{want, want * 1000}, []int64{offset, timestamp})
		}
	}
}

func TestOffsetForTimeWithoutCodec(t *testing.T) {
	l, _ := open(t, memoryConfig())
	timed(t, l, record.NewCodec(0), record.Snappy, 10, 20)
	_, _, _, err := l.OffsetForTime(15)
	require.ErrorIs(t, err, fault.UnsupportedCompression)
}

func TestAppendTimeCountsForTheWholeBatch(t *testing.T) {
	l, _ := open(t, memoryConfig())
	b := batchOf(0, 0, 3, 10)
	record.StampAppendTime(b, 500)
	require.NoError(t, l.Append(b, nil))
	offset, timestamp, ok, err := l.OffsetForTime(400)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []int64{0, 500}, []int64{offset, timestamp})
}

// The times of control records are not those of records: a transaction that ends late, or
// a leader that is elected, does not bring a search to older records.
func TestOffsetForTimePassesControlRecords(t *testing.T) {
	l, _ := open(t, memoryConfig())
	marker := func(ms int64) {
		b := record.NewBuilder(1 << 10)
		b.Add(ms, []byte{0, 0, 0, 1}, []byte("marker"), nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		h := batch.BatchHeader
		h.Attributes |= record.AttrControl
		batch = record.Seal(batch.Bytes, h)
		stamp(batch.Bytes, l.EndOffset())
		require.NoError(t, l.Append(batch.Bytes, nil))
	}
	marker(1000)                          // 0
	timed(t, l, nil, record.None, 10, 20) // 1, 2
	marker(1000)                          // 3
	timed(t, l, nil, record.None, 30)     // 4
	for _, c := range []struct{ ask, offset int64 }{{0, 1}, {20, 2}, {21, 4}} {
		offset, _, ok, err := l.OffsetForTime(c.ask)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, c.offset, offset, "at %d", c.ask)
	}
	_, _, ok, err := l.OffsetForTime(31)
	require.NoError(t, err)
	require.False(t, ok)
}
