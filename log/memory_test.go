package log

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// unsynced is the disk without its syncs, which cost time and no memory.
type unsynced struct{ vfs.FS }

func (u unsynced) OpenFile(name string, flag int) (vfs.File, error) {
	f, err := u.FS.OpenFile(name, flag)
	return unsyncedFile{f}, err
}

func (unsynced) SyncDir(string) error { return nil }

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Sync() error { return nil }

// heap returns how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFlatMemory opens, retains and compacts a log of thousands of segments, which
// stands for one of any size: what a segment costs is a few hundred bytes, and what
// compaction takes is the table of keys and buffers.
func TestFlatMemory(t *testing.T) {
	const (
		segments = 3_000
		keyBytes = 64 << 10
		buffers  = 4 << 20 // what is read and written at once, with room
	)
	cfg := Config{FS: unsynced{disk(t)}, Dir: filepath.Join(t.TempDir(), "orders-3"), SegmentBytes: 600, TailBytes: -1}
	l, _ := open(t, cfg)
	for l.Segments() < segments {
		var batch []keyed
		for n := l.EndOffset(); len(batch) < 8; n++ {
			key := fmt.Sprintf("twice-%d", n/16*8+n%8) // two batches in a row have the same
			if n%2 == 0 {
				key = fmt.Sprintf("once-%d", n)
			}
			batch = append(batch, keyed{offset: n, ms: n, key: key, value: "some value or other"})
		}
		require.NoError(t, l.Append(encodeKeyed(batch, 0, record.None), nil))
	}
	records := l.EndOffset()
	require.Greater(t, records*int64(keySlotLen), int64(4*keyBytes), "the keys must not fit at once")
	require.NoError(t, l.Close())

	before := heap()
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	require.Less(t, heap()-before, int64(segments*700))

	start, _ := l.Expired(Retention{Now: math.MaxInt64 / 2, Limit: records, Age: 0, Bytes: -1})
	require.Equal(t, records, start, "it looked at every segment")
	start, _ = l.Expired(Retention{Now: records / 4, Limit: records, Age: 0, Bytes: -1})
	require.InDelta(t, records/4, start, 20)
	require.NoError(t, l.SetStart(start))
	require.Less(t, heap()-before, int64(segments*700))

	before = heap()
	c := Compaction{Limit: records, KeyBytes: keyBytes, SegmentBytes: 600}
	removed, passes := int64(0), 0
	for more := true; more; passes++ {
		swaps := 0
		done, err := l.Compact(context.Background(), c, func(r *Replacement) error {
			if swaps++; swaps%300 == 1 {
				require.Less(t, heap()-before, int64(keyBytes+buffers))
			}
			return l.Swap(r)
		})
		require.NoError(t, err)
		removed += done.Records
		more = done.More
	}
	require.Greater(t, passes, 3)
	require.InDelta(t, (records-start)/4, removed, 20)
	require.Less(t, heap()-before, int64(segments*300))
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(files), 3*l.Segments()+2, "nothing is left of what went")
}
