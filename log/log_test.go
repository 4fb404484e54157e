package log

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

func TestAppendReadReopen(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.SegmentBytes, cfg.TailBytes = 10_000, 2_000
		l, r := open(t, cfg)
		require.True(t, r.Clean)
		require.Zero(t, l.EndOffset())
		appendN(t, l, 100, 7, 50)
		require.EqualValues(t, 700, l.EndOffset())
		require.Greater(t, l.Segments(), 3)
		readAll(t, l, 0)
		readAll(t, l, 333)
		size := l.Size()
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		_, err := l.Read(0, 700, 100, nil)
		require.ErrorIs(t, err, fault.Closed)
		require.ErrorIs(t, l.Append(batchOf(700, 0, 1, 1), nil), fault.Closed)

		l, r = open(t, cfg)
		require.True(t, r.Clean, "%+v", r)
		require.Zero(t, r.Bytes)
		require.EqualValues(t, 700, l.EndOffset())
		require.Equal(t, size, l.Size())
		require.Equal(t, []EpochEntry{{0, 0}}, l.Epochs())
		for from := range int64(700) {
			s, err := l.Read(from, 700, 1, nil)
			require.NoError(t, err)
			require.Contains(t, offsetsOf(t, s.Bytes), from)
		}
		readAll(t, l, 0)
		appendN(t, l, 100, 3, 50)
		readAll(t, l, 0)
	})
}

func TestSegments(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentAge = 30 * time.Second
	l, _ := open(t, cfg)
	appendN(t, l, 10, 10, 10) // a record a second, so a segment has three batches and a bit
	require.Equal(t, 3, l.Segments())
	l.SetSegments(1, time.Hour)
	appendN(t, l, 4, 1, 10)
	require.Equal(t, 7, l.Segments())
	l.SetSegments(0, 0)
	appendN(t, l, 4, 1, 10)
	require.Equal(t, 7, l.Segments())
	readAll(t, l, 0)
}

// A batch that fits to the byte goes into the segment, one that is a byte longer
// begins the next.
func TestSegmentsAreFilledToTheByte(t *testing.T) {
	two := int64(len(batchOf(0, 0, 1, 10)) + len(batchOf(1, 0, 1, 10)))
	for bytes, segments := range map[int64]int{two: 2, two - 1: 4} {
		cfg := memoryConfig()
		cfg.SegmentBytes = bytes
		l, _ := open(t, cfg)
		appendN(t, l, 4, 1, 10)
		require.Equal(t, segments, l.Segments())
		require.NoError(t, l.Close())
	}
}

// What ends above the limit, which is the high watermark, is not there yet: in
// memory, where one append had several batches, and in the file.
func TestNothingIsReadBeyondTheLimit(t *testing.T) {
	for _, tail := range []int{1 << 20, -1} {
		cfg := memoryConfig()
		cfg.TailBytes = tail
		l, _ := open(t, cfg)
		three := slices.Concat(batchOf(0, 0, 2, 10), batchOf(2, 0, 2, 10), batchOf(4, 0, 2, 10))
		require.NoError(t, l.Append(three, nil))
		for limit, want := range [][]int64{nil, nil, {0, 1}, {0, 1}, {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3, 4, 5}} {
			for _, buf := range [][]byte{nil, make([]byte, 0, 1<<10)} {
				s, err := l.Read(0, int64(limit), 1<<20, buf)
				require.NoError(t, err)
				require.Equal(t, want, offsetsOf(t, s.Bytes), "to %d, %d bytes of memory", limit, tail)
				s.Release()
			}
		}
		require.NoError(t, l.Close())
	}
}

// What was truncated does not come back from memory in front of what was written in
// its place.
func TestTruncationIsForgottenInMemory(t *testing.T) {
	l, _ := open(t, memoryConfig())
	write := func(value string) {
		b := record.NewBuilder(1 << 10)
		b.Add(0, nil, []byte(value), nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		stamp(batch.Bytes, l.EndOffset())
		require.NoError(t, l.Append(batch.Bytes, nil))
	}
	for range 8 {
		write("old")
	}
	require.NoError(t, l.Truncate(1))
	for range 4 {
		write("new")
	}
	for offset := range l.EndOffset() {
		s, err := l.Read(offset, l.EndOffset(), 1, nil)
		require.NoError(t, err)
		batch, err := record.Parse(s.Bytes)
		require.NoError(t, err)
		it, err := batch.Records(nil)
		require.NoError(t, err)
		var r record.Record
		require.True(t, it.Next(&r))
		require.Equal(t, map[bool]string{true: "old", false: "new"}[offset == 0], string(r.Value), "at %d", offset)
	}
}

// TestManySegments drops most and then all of many segments: their files go, and
// offsets go on where they were.
func TestManySegments(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	l, _ := open(t, cfg)
	appendN(t, l, 500, 1, 10)
	require.Equal(t, 500, l.Segments())
	require.NoError(t, l.SetStart(499))
	require.Equal(t, 1, l.Segments())
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 3) // the log, the epochs, the checkpoint
	require.NoError(t, l.SetStart(500))
	require.Equal(t, 1, l.Segments())
	require.Zero(t, l.Size())
	require.EqualValues(t, 500, l.EndOffset())
	require.NoError(t, l.Close())
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	require.EqualValues(t, 500, l.StartOffset())
	appendN(t, l, 1, 1, 10)
	readAll(t, l, 500)
}
