package partition_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// laid puts a segment that begins at an offset into a log's directory, of batches
// of one record each, of a leader epoch.
func laid(t *testing.T, fsys vfs.FS, base int64, epoch int32, count int) {
	t.Helper()
	var segment []byte
	for i := range count {
		raw := batchOf(fmt.Sprint(i))
		record.Stamp(raw, base+int64(i), epoch)
		segment = append(segment, raw...)
	}
	require.NoError(t, fsys.MkdirAll("orders-3"))
	require.NoError(t, vfs.WriteFile(fsys, filepath.Join("orders-3", fmt.Sprintf("%020d.log", base)), segment))
}

// Near the end of all offsets appends are refused one by one, what is there stays
// readable, and nothing wraps around.
func TestLastOffsets(t *testing.T) {
	fsys := vfs.NewMemory()
	const base = math.MaxInt64 - 5
	laid(t, fsys, base, 0, 2)
	p, _ := open(t, configOn(fsys))
	require.EqualValues(t, base+2, p.HighWatermark())
	_, err := appendAll(p, "too", "many", "of", "them")
	require.ErrorIs(t, err, fault.InvalidRecord)
	for {
		at, err := appendAll(p, "one more")
		if err != nil {
			require.ErrorIs(t, err, fault.InvalidRecord)
			require.ErrorContains(t, err, "no more offsets")
			break
		}
		require.Greater(t, at, int64(base))
	}
	end := p.HighWatermark()
	require.Greater(t, end, int64(base+2))
	require.NoError(t, p.Close())

	p, found := open(t, configOn(fsys))
	require.Empty(t, found.Damage)
	require.Zero(t, found.Cut)
	require.Equal(t, end, p.HighWatermark())
	for offset := int64(base); offset < end; offset++ {
		s, err := p.Read(offset, 1, nil)
		require.NoError(t, err)
		h, err := record.ParseHeader(s.Bytes)
		require.NoError(t, err)
		require.Equal(t, offset, h.BaseOffset)
	}
	for _, offset := range []int64{math.MinInt64, -1, 0} {
		_, err := p.Read(offset, 1, nil)
		require.ErrorIs(t, err, fault.OffsetOutOfRange, offset)
	}
	require.EqualValues(t, math.MaxInt64, end, "the offset that no record has")
	_, err = p.DeleteRecords(-1)
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

// After the last leader epoch there is none: an unclean open would need one.
func TestLastEpoch(t *testing.T) {
	fsys := vfs.NewMemory()
	laid(t, fsys, 0, math.MaxInt32-1, 2)
	p, _ := open(t, configOn(fsys))
	require.EqualValues(t, math.MaxInt32, p.LeaderEpoch())
	_, err := appendAll(p, "the last epoch")
	require.NoError(t, err)
	require.NoError(t, p.Close())
	p, _ = open(t, configOn(fsys))
	require.EqualValues(t, math.MaxInt32, p.LeaderEpoch(), "closed in order, it goes on")
	require.NoError(t, p.Close())

	laid(t, fsys, 3, math.MaxInt32, 1) // left by a process that did not close it
	_, _, err = partition.Open(configOn(fsys))
	require.ErrorIs(t, err, fault.UnsupportedFormat)
	require.ErrorContains(t, err, "2147483647")
}
