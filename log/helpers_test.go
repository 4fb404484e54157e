package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// eachFS runs a test on both file systems.
func eachFS(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Run("memory", func(t *testing.T) {
		test(t, Config{FS: vfs.NewMemory(), Dir: "orders-3", Topic: "orders", Partition: 3})
	})
	t.Run("disk", func(t *testing.T) {
		test(t, Config{FS: disk(t), Dir: filepath.Join(t.TempDir(), "orders-3"), Topic: "orders", Partition: 3})
	})
}

// disk returns the file system that has the test's directories.
func disk(t testing.TB) vfs.FS {
	d, err := vfs.OpenDisk(os.TempDir(), 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// unlessRaced returns all, or, under the race detector, some.
func unlessRaced(all, some int) int {
	if underRace {
		return some
	}
	return all
}

// tb is what helpers need of a test, which may be one of rapid's.
type tb interface {
	require.TestingT
	Helper()
}

func memoryConfig() Config {
	return Config{FS: vfs.NewMemory(), Dir: "orders-3", Topic: "orders", Partition: 3}
}

// batchOf encodes a batch of records at an offset, each with its offset as
// timestamp in seconds, and a value of the given size that names it.
func batchOf(base int64, epoch int32, count, size int) []byte {
	b := record.NewBuilder(1 << 30)
	for i := range count {
		b.Add((base+int64(i))*1000, nil, valueOf(base+int64(i), size), nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	raw := append([]byte(nil), batch.Bytes...)
	record.Stamp(raw, base, epoch)
	return raw
}

func valueOf(offset int64, size int) []byte {
	v := fmt.Appendf(nil, "%d:", offset)
	for len(v) < size {
		v = append(v, byte(offset)+byte(len(v)))
	}
	return v
}

func open(t testing.TB, cfg Config) (*Log, Recovery) {
	t.Helper()
	l, r, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l, r
}

// appendN appends batches of count records each, and returns where each begins
// in the run of their bytes.
func appendN(t tb, l *Log, batches, count, size int) {
	t.Helper()
	for range batches {
		require.NoError(t, l.Append(batchOf(l.EndOffset(), 0, count, size), nil))
	}
}

// offsets returns the offsets of the records in whole batches.
func offsetsOf(t tb, b []byte) []int64 {
	t.Helper()
	var all []int64
	for len(b) > 0 {
		batch, err := record.Parse(b)
		require.NoError(t, err)
		it, err := batch.Records(nil)
		require.NoError(t, err)
		var r record.Record
		for it.Next(&r) {
			all = append(all, r.Offset)
			require.Equal(t, valueOf(r.Offset, len(r.Value)), r.Value)
		}
		require.NoError(t, it.Err())
		b = b[batch.Size():]
	}
	return all
}

// readAll reads from an offset to the end and checks that every record is
// there once and in order.
func readAll(t tb, l *Log, from int64) {
	t.Helper()
	buf := make([]byte, 8<<10)
	for from < l.EndOffset() {
		s, err := l.Read(from, l.EndOffset(), len(buf), buf)
		require.NoError(t, err)
		got := offsetsOf(t, s.Bytes)
		require.NotEmpty(t, got)
		for got[0] < from { // the batch that holds from begins before
			got = got[1:]
		}
		for _, offset := range got {
			require.Equal(t, from, offset)
			from++
		}
		s.Release()
	}
	require.Equal(t, l.EndOffset(), from)
}

// copyDir copies a log's directory as it is, as a crash of the process would
// leave it.
func copyDir(t tb, from Config, to string) Config {
	t.Helper()
	entries, err := from.FS.ReadDir(from.Dir)
	require.NoError(t, err)
	require.NoError(t, from.FS.MkdirAll(to))
	for _, e := range entries {
		writeFile(t, from.FS, filepath.Join(to, e.Name), readFile(t, from.FS, filepath.Join(from.Dir, e.Name)))
	}
	from.Dir = to
	return from
}

func readFile(t tb, fsys vfs.FS, path string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, path, 1<<40)
	require.NoError(t, err)
	return b
}

func writeFile(t tb, fsys vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func headerOf(b []byte) record.BatchHeader {
	h, err := record.ParseHeader(b)
	if err != nil {
		panic(err)
	}
	return h
}

var errNotExist = fs.ErrNotExist

// resum makes the checksum of a checkpoint's slot right.
func resum(b []byte) {
	binary.BigEndian.PutUint32(b[slotLen-4:], crc32.Checksum(b[:slotLen-4], castagnoli))
}

// stamp gives a batch the offset at which it is to be appended.
func stamp(raw []byte, base int64) { record.Stamp(raw, base, 0) }

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
func c32(b []byte) uint32   { return binary.BigEndian.Uint32(b) }
func c64(b []byte) uint64   { return binary.BigEndian.Uint64(b) }

// torn returns how much of what stands behind the last whole batch is a torn
// tail: zeros at the end were written ahead.
func torn(b []byte) int64 { return int64(len(bytes.TrimRight(b, "\x00"))) }
