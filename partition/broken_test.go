package partition_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
)

// TestBroken asks everything of a partition that could not be opened.
func TestBroken(t *testing.T) {
	fs := vfs.NewMemory()
	require.NoError(t, fs.MkdirAll("orders-3"))
	cause := fault.At(fault.Storage, "orders", 3, -1)
	for _, fsync := range []bool{false, true} {
		cfg := configOn(fs)
		cfg.Fsync = fsync
		p := partition.Broken(cfg, cause)
		require.Equal(t, cause, p.Err())
		for _, offset := range []int64{p.StartOffset(), p.HighWatermark(), p.EndOffset(), p.DurableOffset(), int64(p.LeaderEpoch())} {
			require.EqualValues(t, -1, offset)
		}
		require.Zero(t, p.Size())
		for _, offset := range []int64{-2, -1, 0, 7} {
			require.EqualValues(t, -1, p.EpochAt(offset))
			_, err := p.Read(offset, 1<<20, nil)
			require.Equal(t, cause, err)
			require.False(t, p.Wait(offset, nil))
			_, err = p.DeleteRecords(offset)
			require.Equal(t, cause, err)
		}
		_, _, ok, err := p.OffsetForTime(0)
		require.False(t, ok)
		require.Equal(t, cause, err)
		for range 2 {
			o := newOutcome()
			p.Append(batchOf("a"), nil, o)
			<-o.told
			require.Equal(t, cause, o.err)
			require.EqualValues(t, -1, o.base)
		}
		_, _, err = p.Clean(t.Context(), time.Now(), partition.CleanPolicy{Delete: true, Compact: true})
		require.Equal(t, cause, err)
		p.Configure(partition.Settings{})
		p.SetSegments(1<<20, time.Hour)
		p.EndProducer(7)
		_, release := p.Hold()
		release()
		require.NoError(t, p.Close())
		require.NoError(t, p.Delete())
		_, err = fs.Stat("orders-3")
		require.Error(t, err)
	}
}
