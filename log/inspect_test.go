package log

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// readOnly lets nothing be changed.
type readOnly struct{ vfs.FS }

func (r readOnly) OpenFile(name string, flag int) (vfs.File, error) {
	if flag != os.O_RDONLY {
		panic("opened for writing: " + name)
	}
	f, err := r.FS.OpenFile(name, flag)
	return readOnlyFile{f}, err
}
func (readOnly) MkdirAll(name string) error     { panic("mkdir " + name) }
func (readOnly) Rename(oldname, _ string) error { panic("rename " + oldname) }
func (readOnly) Remove(name string) error       { panic("remove " + name) }
func (readOnly) RemoveAll(name string) error    { panic("remove " + name) }
func (readOnly) SyncDir(name string) error      { panic("sync " + name) }

type readOnlyFile struct{ vfs.File }

func (readOnlyFile) WriteAt([]byte, int64) (int, error) { panic("write") }
func (readOnlyFile) Truncate(int64) error               { panic("truncate") }
func (readOnlyFile) Sync() error                        { panic("sync") }

// inspected inspects a log on a file system that lets nothing be changed.
func inspected(t testing.TB, cfg Config) Inspection {
	t.Helper()
	cfg.FS = readOnly{cfg.FS}
	found, err := Inspect(t.Context(), cfg, InspectOptions{})
	require.NoError(t, err)
	return found
}

// readable opens a log and reads every record of it.
func readable(cfg Config) error {
	l, r, err := Open(cfg)
	if err != nil {
		return err
	}
	defer l.discard()
	if len(r.Damage) > 0 {
		return r.Damage[0]
	}
	for from := l.StartOffset(); from < l.EndOffset(); {
		s, err := l.Read(from, l.EndOffset(), 1, nil)
		if err != nil {
			return err
		}
		from = headerOf(s.Bytes).NextOffset()
	}
	return nil
}

// manySegments makes a log of several segments and leader epochs, whose last
// batches are behind the checkpoint. It is closed or not.
func manySegments(t testing.TB, closed bool) Config {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes = 400, 100, -1
	l, _ := open(t, cfg)
	for i := range int32(14) {
		require.NoError(t, l.Append(batchOf(l.EndOffset(), i/4, 2, 5), nil))
	}
	require.NoError(t, l.Sync())
	require.NoError(t, l.writeCheckpoint(false))
	require.NoError(t, l.Append(batchOf(l.EndOffset(), 4, 2, 5), nil))
	require.Greater(t, l.Segments(), 2)
	if closed {
		require.NoError(t, l.Close())
	}
	return copyDir(t, cfg, "left")
}

// TestInspectSound finds nothing in logs that are sound, and counts what they
// have.
func TestInspectSound(t *testing.T) {
	for _, closed := range []bool{true, false} {
		cfg := manySegments(t, closed)
		var progress, batches int64
		found, err := Inspect(t.Context(), cfg, InspectOptions{
			Progress: func(bytes int64) { progress += bytes },
			Batch:    func(record.Batch) error { batches++; return nil },
		})
		require.NoError(t, err)
		require.Empty(t, found.Findings)
		require.Equal(t, closed, found.Closed)
		require.EqualValues(t, 15, found.Batches)
		require.EqualValues(t, 15, batches)
		require.EqualValues(t, 30, found.Records)
		require.Zero(t, found.Start)
		require.EqualValues(t, 30, found.End)
		require.Equal(t, found.Bytes, progress)
		l, _ := open(t, cfg)
		require.Equal(t, l.Size(), found.Bytes)
		require.Equal(t, l.Segments(), found.Segments)
	}
}

// TestInspectFlippedBits inverts every bit of every file of a log. Damage is
// found exactly where opening the log or reading all of it meets some; whatever
// else is wrong is fixed by opening or repairing.
func TestInspectFlippedBits(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%v", closed), func(t *testing.T) {
			original := manySegments(t, closed)
			entries, err := original.FS.ReadDir(original.Dir)
			require.NoError(t, err)
			unnoticed := map[string]int{}
			for _, e := range entries {
				path := filepath.Join(original.Dir, e.Name)
				whole := readFile(t, original.FS, path)
				for bit := 0; bit < 8*len(whole); bit++ {
					if e.Name == checkpointName && bit/8%slotStride >= slotLen {
						continue // between the slots
					}
					if filepath.Ext(e.Name) != logSuffix && bit%3 > 0 {
						continue // they take long enough
					}
					flipped := append([]byte(nil), whole...)
					flipped[bit/8] ^= 1 << (bit % 8)
					writeFile(t, original.FS, path, flipped)
					found, err := Inspect(t.Context(), original, InspectOptions{})
					if fault.CodeOf(err) == fault.UnsupportedFormat {
						_, _, opened := Open(original)
						require.ErrorIs(t, opened, fault.UnsupportedFormat)
						continue
					}
					require.NoError(t, err)
					opened := copyDir(t, original, "opened")
					broken := readable(opened)
					if (found.Worst() == Damage) != (broken != nil) {
						t.Fatalf("bit %d of %s: found %v, and opening says %v", bit, e.Name, found.Findings, broken)
					}
					if len(found.Findings) == 0 {
						unnoticed[filepath.Ext(e.Name)]++
					}
					require.NoError(t, original.FS.RemoveAll(opened.Dir))
				}
				writeFile(t, original.FS, path, whole)
			}
			t.Log("unnoticed:", unnoticed)
			require.LessOrEqual(t, unnoticed[".log"], 32, "the last batch's leader epoch")
			require.Zero(t, unnoticed[".timeindex"])
		})
	}
}

// TestInspectCutFiles cuts each file at each byte.
func TestInspectCutFiles(t *testing.T) {
	original := manySegments(t, false)
	entries, err := original.FS.ReadDir(original.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		path := filepath.Join(original.Dir, e.Name)
		whole := readFile(t, original.FS, path)
		for cut := range min(len(whole), 1500) {
			writeFile(t, original.FS, path, whole[:cut])
			found := inspected(t, original)
			opened := copyDir(t, original, "opened")
			if broken := readable(opened); (found.Worst() == Damage) != (broken != nil) {
				t.Fatalf("%s cut at %d: found %v, and opening says %v", e.Name, cut, found.Findings, broken)
			}
			require.NoError(t, original.FS.RemoveAll(opened.Dir))
		}
		writeFile(t, original.FS, path, whole)
	}
}

// TestInspectEnds ends with its context, and says which file cannot be read.
func TestInspectEnds(t *testing.T) {
	cfg := manySegments(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Inspect(ctx, cfg, InspectOptions{})
	require.ErrorIs(t, err, context.Canceled)

	cause := fmt.Errorf("input/output error")
	cfg.FS = &failing{FS: cfg.FS, fail: failOn("read", logSuffix, cause)}
	_, err = Inspect(t.Context(), cfg, InspectOptions{})
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, fault.Storage)
	require.Zero(t, cfg.FS.(*failing).open.Load(), "every file is closed")
}

// A truncation may take the log's start back, into what was deleted: the batches that stay
// before it have leader epochs of which the epochs' file says nothing.
func TestInspectBehindATruncatedStart(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	for i, epoch := range []int32{0, 1, 1} {
		require.NoError(t, l.Append(batchOf(int64(5*i), epoch, 5, 10), nil))
	}
	require.NoError(t, l.SetStart(12))
	require.NoError(t, l.Truncate(12))
	require.EqualValues(t, 10, l.StartOffset())
	killed := copyDir(t, cfg, "killed")
	require.Less(t, inspected(t, killed).Worst(), Damage)
	l, _ = open(t, killed)
	require.NoError(t, l.Append(batchOf(10, 1, 5, 10), nil))
	require.NoError(t, l.Sync())
	require.Less(t, inspected(t, copyDir(t, killed, "again")).Worst(), Damage)
	require.NoError(t, l.Close())
	require.Less(t, inspected(t, killed).Worst(), Damage)
}

// TestInspectFindsALogWithAbortedTransactionsSound: its checkpoint has longer slots.
func TestInspectFindsALogWithAbortedTransactionsSound(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	for range 3 { // both slots have it
		inTxn(t, l, 7, 0, 0, "a")
		endTxn(t, l, 7, 0, Marker{})
		require.NoError(t, l.Sync())
		require.NoError(t, l.writeCheckpoint(false))
	}
	require.NoError(t, l.Close())
	require.Empty(t, inspected(t, cfg).Findings)
}
