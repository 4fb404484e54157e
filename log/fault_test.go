package log

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// failing is a file system of which a test makes operations fail: fail is asked
// before each, by name and path.
type failing struct {
	vfs.FS
	fail func(op, path string) error
	open atomic.Int64 // handles that are not closed
}

func (f *failing) OpenFile(name string, flag int) (vfs.File, error) {
	if err := f.fail("open", name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	return &failingFile{file, f, name}, nil
}

func (f *failing) SyncDir(dir string) error {
	if err := f.fail("syncdir", dir); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

func (f *failing) Rename(oldname, newname string) error {
	if err := f.fail("rename", newname); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

func (f *failing) Remove(name string) error {
	if err := f.fail("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

type failingFile struct {
	vfs.File
	fs   *failing
	name string
}

func (f *failingFile) Close() error {
	f.fs.open.Add(-1)
	return f.File.Close()
}

func (f *failingFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.fail("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// WriteAt writes the first half before it fails.
func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.fail("write", f.name); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *failingFile) Sync() error {
	if err := f.fs.fail("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *failingFile) Truncate(size int64) error {
	if err := f.fs.fail("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// failOn makes one operation fail on paths that end with suffix.
func failOn(op, suffix string, err error) func(string, string) error {
	return func(o, path string) error {
		if o == op && strings.HasSuffix(path, suffix) {
			return err
		}
		return nil
	}
}

func nothingFails(string, string) error { return nil }

func failingLog(t *testing.T) (*Log, *failing, Config) {
	t.Helper()
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1_500, -1
	fsys := &failing{FS: cfg.FS, fail: nothingFails}
	cfg.FS = fsys
	l, _ := open(t, cfg)
	appendN(t, l, 3, 5, 40)
	require.NoError(t, l.Sync())
	return l, fsys, cfg
}

func TestFailedSyncIsFinal(t *testing.T) {
	l, fsys, cfg := failingLog(t)
	appendN(t, l, 1, 5, 40)
	fsys.fail = failOn("sync", ".log", syscall.EIO)
	err := l.Sync()
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorIs(t, err, syscall.EIO)
	fsys.fail = nothingFails
	require.Equal(t, err, l.Sync(), "trying again proves nothing")
	require.Equal(t, err, l.Append(batchOf(20, 0, 5, 40), nil))
	require.Equal(t, err, l.Truncate(0))
	require.Equal(t, err, l.SetStart(1))
	require.EqualValues(t, 15, l.SyncedOffset())
	readAll(t, l, 0)
	require.NoError(t, l.Close())

	l, r := open(t, cfg)
	require.False(t, r.Clean)
	require.GreaterOrEqual(t, l.EndOffset(), int64(15))
}

// TestDiskFull fills the disk at each step of an append that rolls, and makes
// room again: what was refused was not done, and what comes next is whole.
func TestDiskFull(t *testing.T) {
	for _, where := range []struct{ op, suffix string }{
		{"write", ".log"},
		{"open", ".log"},
		{"write", ".index"},
		{"write", ".timeindex"},
		{"open", ".index"},
		{"write", checkpointName},
		{"write", epochName + ".tmp"},
	} {
		t.Run(where.op+" "+where.suffix, func(t *testing.T) {
			l, fsys, cfg := failingLog(t)
			require.NoError(t, l.Append(batchOf(15, 1, 5, 40), nil))
			full := batchOf(20, 1, 10, 40)
			fsys.fail = failOn(where.op, where.suffix, syscall.ENOSPC)
			for range 3 {
				if err := l.Append(full, nil); err != nil {
					require.ErrorIs(t, err, fault.DiskFull)
					require.True(t, fault.Retriable(err))
				}
				if l.EndOffset() > 20 {
					break // one step was left out and the next append did without
				}
			}
			readAll(t, l, 0)
			fsys.fail = nothingFails
			if l.EndOffset() == 20 {
				require.NoError(t, l.Append(batchOf(20, 1, 5, 40), nil)) // not what was refused
			}
			end := l.EndOffset()
			readAll(t, l, 0)
			killed := copyDir(t, cfg, "killed")
			require.NoError(t, l.Close())
			l, r := open(t, killed)
			require.Empty(t, r.Damage)
			require.Equal(t, end, l.EndOffset())
			readAll(t, l, 0)
		})
	}
}

// TestRefusedBytesStayAway fills the disk in the middle of two batches, of which
// the first was written as a whole, and writes something shorter instead.
func TestRefusedBytesStayAway(t *testing.T) {
	l, fsys, cfg := failingLog(t)
	two := append(batchOf(15, 0, 5, 40), batchOf(20, 0, 5, 40)...)
	fsys.fail = failOn("write", ".log", syscall.ENOSPC)
	require.ErrorIs(t, l.Append(two, nil), fault.DiskFull)
	fsys.fail = nothingFails
	require.NoError(t, l.Append(batchOf(15, 0, 1, 4), nil))
	l, r := open(t, copyDir(t, cfg, "killed"))
	require.Zero(t, r.Cut)
	require.EqualValues(t, 16, l.EndOffset())

	l, fsys, _ = failingLog(t)
	fsys.fail = func(op, path string) error { // nor can it be cut off
		if op == "write" || op == "truncate" {
			return syscall.ENOSPC
		}
		return nil
	}
	err := l.Append(two, nil)
	require.ErrorIs(t, err, fault.Storage)
	fsys.fail = nothingFails
	require.Equal(t, err, l.Append(two, nil))
	readAll(t, l, 0)
}

func TestFailedWriteIsFinal(t *testing.T) {
	l, fsys, _ := failingLog(t)
	fsys.fail = failOn("write", ".log", syscall.EIO)
	err := l.Append(batchOf(15, 0, 5, 40), nil)
	require.ErrorIs(t, err, syscall.EIO)
	fsys.fail = nothingFails
	require.Equal(t, err, l.Append(batchOf(15, 0, 5, 40), nil))
}

func TestFailedRead(t *testing.T) {
	l, fsys, cfg := failingLog(t)
	fsys.fail = failOn("read", ".log", syscall.EIO)
	_, err := l.Read(0, 15, 100, nil)
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, err, fault.Storage)
	_, _, _, err = l.OffsetForTime(3)
	require.ErrorIs(t, err, syscall.EIO)
	fsys.fail = nothingFails
	readAll(t, l, 0)
	killed := copyDir(t, cfg, "killed")
	require.NoError(t, l.Close())

	for _, op := range []string{"open", "read", "sync", "syncdir", "write"} {
		fsys.fail = failOn(op, "", errors.New("no"))
		_, _, err := Open(killed)
		require.ErrorIs(t, err, fault.Storage, op)
	}
	fsys.fail = nothingFails
	l, _ = open(t, killed)
	readAll(t, l, 0)
}

func TestMisuse(t *testing.T) {
	l, _, _ := failingLog(t)
	batch := batchOf(15, 0, 5, 40)
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"too low":         batchOf(14, 0, 5, 40),
		"too high":        batchOf(16, 0, 5, 40),
		"cut short":       batch[:len(batch)-1],
		"half a header":   batch[:40],
		"more than whole": append(batch[:len(batch):len(batch)], 0),
		"a gap":           append(batch[:len(batch):len(batch)], batchOf(21, 0, 1, 1)...),
		"no batch":        make([]byte, 100),
	} {
		require.Error(t, l.Append(b, nil), name)
	}
	require.NoError(t, l.Append(batchOf(15, 3, 5, 40), nil))
	require.ErrorIs(t, l.Append(batchOf(20, 2, 5, 40), nil), fault.InvalidRecord)
	require.ErrorIs(t, l.SetStart(21), fault.OffsetOutOfRange)
	require.NoError(t, l.SetStart(7))
	require.NoError(t, l.SetStart(3))
	require.EqualValues(t, 7, l.StartOffset())
	require.ErrorIs(t, l.Truncate(6), fault.OffsetOutOfRange)
	require.NoError(t, l.Truncate(20))
	readAll(t, l, 7)
}

// TestOpenFiles reads many segments, forwards and backwards: few files stay
// open, and none after Close.
func TestOpenFiles(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	fsys := &failing{FS: cfg.FS, fail: nothingFails}
	cfg.FS = fsys
	l, _ := open(t, cfg)
	appendN(t, l, 100, 1, 10)
	limit := int64(len(l.files.recent)) + 1
	require.LessOrEqual(t, fsys.open.Load(), limit)
	readAll(t, l, 0)
	for offset := int64(99); offset >= 0; offset-- {
		s, err := l.Read(offset, 100, 1, nil)
		require.NoError(t, err)
		require.Equal(t, []int64{offset}, offsetsOf(t, s.Bytes))
		require.LessOrEqual(t, fsys.open.Load(), limit)
	}
	require.NoError(t, l.SetStart(50))
	require.NoError(t, l.Truncate(60))
	readAll(t, l, 50)
	require.LessOrEqual(t, fsys.open.Load(), limit)
	require.NoError(t, l.Close())
	require.Zero(t, fsys.open.Load())
}

// TestSetStartOnFullDisk: a disk that is full keeps nothing from being deleted, and
// a refusal is not the log's end.
func TestSetStartOnFullDisk(t *testing.T) {
	for _, all := range []bool{false, true} {
		testSetStartOnFullDisk(t, false, all)
		testSetStartOnFullDisk(t, true, all)
	}
}

func testSetStartOnFullDisk(t *testing.T, slotFails, all bool) {
	t.Helper()
	cfg := memoryConfig()
	full, failing := vfs.NewFaulty(cfg.FS), &failing{fail: nothingFails}
	failing.FS = full
	cfg.FS, cfg.SegmentBytes, cfg.IndexInterval = failing, 20_000, 100
	l, _ := open(t, cfg)
	add := func() error {
		b := batchOf(l.EndOffset(), 0, 5, 40)
		record.StampProducer(b, l.EndOffset(), 0, 0)
		if err := l.Append(b, nil); err != nil {
			return err
		}
		return l.Sync()
	}
	for range 200 {
		require.NoError(t, add())
	}
	full.SetFree(1000)
	err := add()
	for ; err == nil; err = add() {
	}
	require.ErrorIs(t, err, fault.DiskFull)

	start := int64(500)
	if all {
		start = l.EndOffset()
	}
	if slotFails {
		failing.fail = failOn("write", checkpointName, syscall.ENOSPC)
		require.ErrorIs(t, l.SetStart(start), fault.DiskFull)
		failing.fail = nothingFails
		full.SetFree(-1)
		reopened, _ := open(t, copyDir(t, cfg, "refused"))
		full.SetFree(0)
		require.Zero(t, reopened.StartOffset())
		require.Equal(t, l.EndOffset(), reopened.EndOffset())
	}
	require.NoError(t, l.SetStart(start))
	require.NoError(t, add(), "there is room")
	readAll(t, l, start)
	full.SetFree(-1)
	names := 0
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name, logSuffix) {
			names++
		}
	}
	require.Equal(t, l.Segments(), names)

	reopened, r := open(t, copyDir(t, cfg, "killed"))
	require.Empty(t, r.Damage)
	require.Equal(t, start, reopened.StartOffset())
	require.Equal(t, l.EndOffset(), reopened.EndOffset())
	require.Equal(t, l.Producers(), reopened.Producers())
	readAll(t, reopened, start)
}
