package log

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

func lengthOf(t tb, cfg Config, base int64) int64 {
	t.Helper()
	e, err := cfg.FS.Stat(logFile(cfg, base))
	require.NoError(t, err)
	return e.Size
}

// TestZerosAhead syncs append by append. The file is longer than its batches, by
// no more than they are long, and as long as they are once it is sealed or
// closed.
func TestZerosAhead(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.SegmentBytes, cfg.TailBytes = 2<<20, -1
		l, _ := open(t, cfg)
		ahead := 0
		for l.Segments() < 2 {
			appendN(t, l, 1, 10, 700)
			size, segments := l.Size(), l.Segments()
			require.NoError(t, l.Sync())
			require.Equal(t, size, l.Size())
			if segments == 1 {
				length := lengthOf(t, cfg, 0)
				require.LessOrEqual(t, length, min(2*size+fillBlock, size+fillBytes+fillBlock, cfg.SegmentBytes))
				if length > size {
					ahead++
				}
			}
		}
		require.Greater(t, ahead, 200, "of some 300 appends")
		second := l.list()[1].base
		require.Equal(t, l.list()[0].size.Load(), lengthOf(t, cfg, 0), "sealed")
		appendN(t, l, 1, 10, 700)
		require.NoError(t, l.Sync())
		require.Greater(t, lengthOf(t, cfg, second), l.list()[1].size.Load())
		readAll(t, l, 0)
		size, end := l.list()[1].size.Load(), l.EndOffset()
		require.NoError(t, l.Close())
		require.Equal(t, size, lengthOf(t, cfg, second), "closed")

		l, r := open(t, cfg)
		require.True(t, r.Clean)
		require.Equal(t, end, l.EndOffset())
	})
}

// TestNoZeros lists the logs that get none.
func TestNoZeros(t *testing.T) {
	t.Run("not synced", func(t *testing.T) {
		cfg := memoryConfig()
		l, _ := open(t, cfg)
		appendN(t, l, 10, 10, 100)
		require.Equal(t, l.Size(), lengthOf(t, cfg, 0))
	})
	t.Run("much at once", func(t *testing.T) {
		cfg := memoryConfig()
		l, _ := open(t, cfg)
		for range 3 {
			appendN(t, l, 1, 1, fillBelow)
			require.NoError(t, l.Sync())
			require.Equal(t, l.Size(), lengthOf(t, cfg, 0))
		}
	})
	t.Run("segment full", func(t *testing.T) {
		cfg := memoryConfig()
		cfg.SegmentBytes = 100
		l, _ := open(t, cfg)
		appendN(t, l, 1, 10, 100)
		require.NoError(t, l.Sync())
		require.Equal(t, l.Size(), lengthOf(t, cfg, 0))
	})
}

// TestZerosAfterKill opens logs that were killed behind each of many syncs: zeros
// are no torn tail, and go.
func TestZerosAfterKill(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	for i := range 40 {
		appendN(t, l, 1, 3, 300)
		require.NoError(t, l.Sync())
		killed := copyDir(t, cfg, fmt.Sprint("killed-", i))
		require.Greater(t, lengthOf(t, killed, 0), l.Size())
		left, r := open(t, killed)
		require.Zero(t, r.Cut)
		require.Empty(t, r.Reason)
		require.Empty(t, r.Damage)
		require.Equal(t, l.EndOffset(), left.EndOffset())
		require.Equal(t, l.Size(), lengthOf(t, killed, 0))
		appendN(t, left, 1, 3, 300)
		require.NoError(t, left.Sync())
		readAll(t, left, 0)
		require.NoError(t, left.Close())
	}
}

// TestNoRoomForZeros has a disk with room for batches and none for zeros: nothing
// is refused, and the room stays free. The next segment tries again.
func TestNoRoomForZeros(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes = 64 << 10
	fsys := &failing{FS: cfg.FS, fail: nothingFails}
	cfg.FS = fsys
	l, _ := open(t, cfg)
	var zeros int
	sync := func() {
		fsys.fail = func(op, path string) error {
			if op == "write" && path == l.active.logPath() {
				zeros++
				return syscall.ENOSPC
			}
			return nil
		}
		require.NoError(t, l.Sync())
		fsys.fail = nothingFails
	}
	for range 10 {
		appendN(t, l, 1, 3, 300)
		sync()
		require.Equal(t, l.Size(), lengthOf(t, cfg, 0))
	}
	require.Equal(t, 1, zeros)
	for l.Segments() < 2 {
		appendN(t, l, 1, 3, 300)
	}
	require.NoError(t, l.Sync())
	require.Greater(t, lengthOf(t, cfg, l.active.base), l.active.size.Load())
	readAll(t, l, 0)
}

// TestZerosThatStay can neither write zeros as a whole nor cut them off again.
func TestZerosThatStay(t *testing.T) {
	cfg := memoryConfig()
	fsys := &failing{FS: cfg.FS, fail: nothingFails}
	cfg.FS = fsys
	l, _ := open(t, cfg)
	appendN(t, l, 10, 3, 300)
	fsys.fail = func(op, path string) error {
		if (op == "write" || op == "truncate") && path == l.active.logPath() {
			return syscall.ENOSPC
		}
		return nil
	}
	require.NoError(t, l.Sync())
	require.Greater(t, lengthOf(t, cfg, 0), l.Size())
	fsys.fail = nothingFails
	appendN(t, l, 1, 3, 300)
	readAll(t, l, 0)
	require.NoError(t, l.Close())
	require.Equal(t, l.Size(), lengthOf(t, cfg, 0))
}

// TestCutAmongZeros cuts where zeros stand: what a failed append wrote over
// them, and what a truncation drops, does not come back when the power is lost.
func TestCutAmongZeros(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, l *Log, fsys *failing){
		"failed append": func(t *testing.T, l *Log, fsys *failing) {
			two := append(batchOf(30, 0, 3, 40), batchOf(33, 0, 3, 40)...)
			fsys.fail = failOn("write", ".log", syscall.ENOSPC)
			require.Error(t, l.Append(two, nil))
			fsys.fail = nothingFails
		},
		"truncation": func(t *testing.T, l *Log, _ *failing) {
			appendN(t, l, 2, 3, 40)
			require.NoError(t, l.Sync())
			require.NoError(t, l.Truncate(30))
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewCrashable()
			fsys := &failing{FS: disk, fail: nothingFails}
			cfg := Config{FS: fsys, Dir: "orders-3", Topic: "orders", Partition: 3}
			l, _ := open(t, cfg)
			for range 10 {
				appendN(t, l, 1, 3, 300)
				require.NoError(t, l.Sync())
			}
			require.Greater(t, lengthOf(t, cfg, 0), l.Size()+1000)
			cut(t, l, fsys)
			require.EqualValues(t, 30, l.EndOffset())
			require.Equal(t, l.Size(), l.filled)
			require.Equal(t, l.Size(), lengthOf(t, cfg, 0))
			appendN(t, l, 1, 1, 4)
			require.NoError(t, l.Sync())
			require.EqualValues(t, 31, l.EndOffset())
			for _, kept := range []vfs.Kept{vfs.KeepNone, vfs.KeepAll} {
				left := cfg
				left.FS = disk.After(vfs.Loss{Kept: kept})
				l, r := open(t, left)
				require.Zero(t, r.Cut)
				require.EqualValues(t, 31, l.EndOffset())
				readAll(t, l, 0)
			}
		})
	}
}
