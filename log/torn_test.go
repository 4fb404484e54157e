package log

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

// TestShortWrites lets a write end at every byte, for want of space and for good.
// What was refused is not there, then or after any crash; what was accepted
// before and after it is.
func TestShortWrites(t *testing.T) {
	size := len(batchOf(10, 0, 5, 30))
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		for torn := range size + 1 {
			disk := vfs.NewCrashable()
			faulty := vfs.NewFaulty(disk)
			cfg := Config{FS: faulty, Dir: "orders-3", Topic: "orders", Partition: 3, TailBytes: -1}
			l, _ := open(t, cfg)
			appendN(t, l, 2, 5, 30)
			require.NoError(t, l.Sync())
			end := faulty.Add(vfs.Rule{On: vfs.OpWrite, Match: vfs.Named(logSuffix), Times: 1, Err: cause, Torn: torn})
			err := l.Append(batchOf(10, 0, 5, 30), nil)
			require.ErrorIs(t, err, cause)
			end()
			require.EqualValues(t, 10, l.EndOffset())
			readAll(t, l, 0)
			want := int64(10)
			if errors.Is(err, fault.DiskFull) {
				require.NoError(t, l.Append(batchOf(10, 0, 1, 10), nil), "shorter than what was cut off")
				require.NoError(t, l.Sync())
				want = 11
			}
			for i := range uint64(4) {
				after, r, err := Open(Config{FS: disk.After(vfs.RandomLoss(uint64(torn)*4 + i)), Dir: cfg.Dir, Topic: cfg.Topic, Partition: 3, TailBytes: -1})
				require.NoError(t, err)
				require.Empty(t, r.Damage)
				if cause == syscall.ENOSPC || torn < size {
					require.Equal(t, want, after.EndOffset(), "torn at %d", torn)
				} else { // all of it was written, so it cannot be told apart
					require.Contains(t, []int64{10, 15}, after.EndOffset())
				}
				readAll(t, after, 0)
				require.NoError(t, after.Close())
			}
			_ = l.Close()
		}
	}
}
