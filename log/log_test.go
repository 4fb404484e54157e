package log

import (
	"testing"

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
