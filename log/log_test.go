package log

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
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
