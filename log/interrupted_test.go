package log

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

// unopened are logs as crashes have left them, on a disk, with what opening each of
// them has to change.
func unopened(t *testing.T) map[string]Config {
	onDisk := func(cfg Config, change func(cfg Config)) Config {
		disk := vfs.NewCrashable()
		left := cfg
		left.FS, left.Dir = disk, "left"
		require.NoError(t, disk.MkdirAll(left.Dir))
		entries, err := cfg.FS.ReadDir(cfg.Dir)
		require.NoError(t, err)
		for _, e := range entries {
			writeFile(t, disk, filepath.Join(left.Dir, e.Name), readFile(t, cfg.FS, filepath.Join(cfg.Dir, e.Name)))
		}
		change(left)
		if entries, err = disk.ReadDir(left.Dir); err == nil {
			for _, e := range entries {
				f, err := disk.OpenFile(filepath.Join(left.Dir, e.Name), os.O_RDWR)
				require.NoError(t, err)
				require.NoError(t, f.Sync())
				require.NoError(t, f.Close())
			}
		}
		require.NoError(t, disk.SyncDir(left.Dir))
		require.NoError(t, disk.SyncDir("."))
		return left
	}
	last := func(cfg Config, change func(b []byte) []byte) {
		writeFile(t, cfg.FS, logFile(cfg, 24), change(readFile(t, cfg.FS, logFile(cfg, 24))))
	}
	crashed := manySegments(t, false)
	return map[string]Config{
		"nothing is wrong": onDisk(crashed, func(Config) {}),
		"a torn tail": onDisk(crashed, func(cfg Config) {
			last(cfg, func(b []byte) []byte { return append(slices.Clip(b[:3*86]), b[:50]...) })
		}),
		"zeros behind": onDisk(crashed, func(cfg Config) {
			last(cfg, func(b []byte) []byte { return append(slices.Clip(b[:3*86]), make([]byte, 5000)...) })
		}),
		"a header that is restored": onDisk(crashed, func(cfg Config) {
			last(cfg, func(b []byte) []byte {
				more := append(slices.Clip(b[:3*86]), batchOf(30, 4, 2, 5)...)
				binary.BigEndian.PutUint64(more[2*86:], 1<<40) // the batch behind the checkpoint
				return more
			})
		}),
		"no indexes": onDisk(crashed, func(cfg Config) {
			for _, base := range []string{"00000000000000000000", "00000000000000000008", "00000000000000000024"} {
				_ = cfg.FS.Remove(filepath.Join(cfg.Dir, base+indexSuffix))
				_ = cfg.FS.Remove(filepath.Join(cfg.Dir, base+timeIndexSuffix))
			}
		}),
		"no epochs": onDisk(crashed, func(cfg Config) {
			require.NoError(t, cfg.FS.Remove(filepath.Join(cfg.Dir, epochName)))
		}),
		"no checkpoint": onDisk(crashed, func(cfg Config) {
			require.NoError(t, cfg.FS.Remove(filepath.Join(cfg.Dir, checkpointName)))
		}),
		"segments that were to be deleted": onDisk(crashed, func(cfg Config) {
			c, err := readCheckpoint(cfg.FS, cfg.Dir)
			require.NoError(t, err)
			c.start = 17
			c.sequence++
			require.NoError(t, c.write(cfg.FS, cfg.Dir))
		}),
	}
}

// TestInterruptedOpening ends opening at every change of the disk, the process or
// the power, and opens again, which is ended, too: in the end the log is what one
// opening makes of it.
func TestInterruptedOpening(t *testing.T) {
	for name, left := range unopened(t) {
		t.Run(name, func(t *testing.T) {
			whole := left
			whole.FS = left.FS.(*vfs.Crashable).After(vfs.Loss{Kept: vfs.KeepAll})
			want := stateAfterOpening(t, whole)
			interrupted := 0
			// open opens the log on a disk. Each of its changes may be the last one.
			var open func(disk *vfs.Crashable, depth int)
			open = func(disk *vfs.Crashable, depth int) {
				cfg := left
				watched := vfs.NewFaulty(disk)
				watched.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
					losses := []vfs.Loss{{Kept: vfs.KeepAll}, {Kept: vfs.KeepNone}, vfs.RandomLoss(rand.Uint64()), vfs.RandomLoss(rand.Uint64())}
					if depth > 0 || underRace { // some, or there would be too many
						losses = losses[rand.IntN(4):][:1]
					}
					for _, loss := range losses {
						interrupted++
						again := disk.After(loss)
						if depth == 0 && rand.IntN(8) == 0 {
							open(again.After(vfs.Loss{Kept: vfs.KeepAll}), depth+1)
						}
						final := left
						final.FS = again
						require.Equal(t, want, stateAfterOpening(t, final), "%+v", loss)
					}
				}})
				cfg.FS = watched
				l, r, err := Open(cfg)
				require.NoError(t, err)
				if depth == 0 {
					require.Equal(t, name == "a header that is restored", len(r.Restored) > 0)
					require.Equal(t, name == "a torn tail", r.Cut > 0)
				}
				l.discard()
			}
			open(left.FS.(*vfs.Crashable), 0)
			require.Positive(t, interrupted)
		})
	}
}

// stateAfterOpening opens a log and returns what it has, and that again after it was
// closed and opened.
func stateAfterOpening(t *testing.T, cfg Config) string {
	t.Helper()
	l, r, err := Open(cfg)
	require.NoError(t, err)
	require.Empty(t, r.Damage)
	state := func() string {
		return fmt.Sprint(l.StartOffset(), l.EndOffset(), l.Segments(), l.Size(), l.Epochs())
	}
	s := state()
	require.NoError(t, l.Close())
	all := everything(t, cfg)
	l, r, err = Open(cfg)
	require.NoError(t, err)
	require.True(t, r.Clean)
	require.Equal(t, s, state(), "as it was closed")
	require.NoError(t, l.Append(batchOf(l.EndOffset(), 9, 1, 3), nil), "it takes more")
	require.NoError(t, l.Close())
	for _, offset := range slices.Sorted(maps.Keys(all)) {
		s += fmt.Sprint(" ", offset, "=", all[offset])
	}
	return s
}
