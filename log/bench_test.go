package log

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// benchBytes is how large a file of a benchmark grows before it starts over.
const benchBytes = 512 << 20

// pool hands buffers out again, as a producer's session does.
type pool chan []byte

func (p pool) Recycle(b []byte) {
	select {
	case p <- b:
	default:
	}
}

func (p pool) get(n int) []byte {
	select {
	case b := <-p:
		return b[:n]
	default:
		return make([]byte, n)
	}
}

// BenchmarkAppend appends batches of 100-byte records, and for comparison writes
// the same bytes to a file.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{256 << 10, 16 << 10, 200} {
		batch := batchOf(0, 0, max(1, size/110), 100)
		b.Run(fmt.Sprintf("%d/log", len(batch)), func(b *testing.B) {
			benchAppend(b, disk(b), filepath.Join(b.TempDir(), "log"), batch)
		})
		b.Run(fmt.Sprintf("%d/raw", len(batch)), func(b *testing.B) { benchWrite(b, batch) })
		b.Run(fmt.Sprintf("%d/memory", len(batch)), func(b *testing.B) { benchAppend(b, vfs.NewMemory(), "log", batch) })
	}
}

func benchAppend(b *testing.B, fsys vfs.FS, dir string, batch []byte) {
	cfg := Config{FS: fsys, Dir: dir}
	l, _, err := Open(cfg)
	require.NoError(b, err)
	buffers := make(pool, 64)
	h := headerOf(batch)
	records := h.NextOffset()
	written := 0
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if written += len(batch); written > benchBytes {
			b.StopTimer()
			require.NoError(b, l.Remove())
			l, _, err = Open(cfg)
			require.NoError(b, err)
			written = len(batch)
			b.StartTimer()
		}
		raw := buffers.get(len(batch))
		copy(raw, batch)
		record.Stamp(raw, l.EndOffset(), 0)
		if err := l.Append(raw, buffers); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(int64(b.N)*records)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	require.NoError(b, l.Remove())
}

func benchWrite(b *testing.B, batch []byte) {
	path := filepath.Join(b.TempDir(), "raw")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(b, err)
	h := headerOf(batch)
	records := h.NextOffset()
	raw := make([]byte, len(batch))
	var pos int64
	b.SetBytes(int64(len(batch)))
	b.ResetTimer()
	for range b.N {
		if pos+int64(len(raw)) > benchBytes {
			b.StopTimer()
			require.NoError(b, f.Close())
			require.NoError(b, os.Remove(path))
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
			require.NoError(b, err)
			pos = 0
			b.StartTimer()
		}
		copy(raw, batch)
		if _, err := f.WriteAt(raw, pos); err != nil {
			b.Fatal(err)
		}
		pos += int64(len(raw))
	}
	b.StopTimer()
	b.ReportMetric(float64(int64(b.N)*records)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	require.NoError(b, f.Close())
}

// BenchmarkRead reads a log through in calls of 1 MiB, and for comparison reads
// and checksums the same bytes.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{256 << 10, 16 << 10, 200} {
		cfg := Config{FS: disk(b), Dir: filepath.Join(b.TempDir(), "log"), SegmentBytes: 64 << 20, TailBytes: -1}
		l, _, err := Open(cfg)
		require.NoError(b, err)
		var run []byte
		for l.Size() < 256<<20 {
			run = run[:0]
			for next := l.EndOffset(); len(run) < 256<<10; {
				batch := batchOf(next, 0, max(1, size/110), 100)
				run = append(run, batch...)
				h := headerOf(batch)
				next = h.NextOffset()
			}
			require.NoError(b, l.Append(run, nil))
		}
		b.Run(fmt.Sprintf("%d/log", size), func(b *testing.B) {
			buf := make([]byte, 1<<20)
			benchRead(b, l, func(n int) []byte { return buf })
		})
		b.Run(fmt.Sprintf("%d/fresh", size), func(b *testing.B) { benchRead(b, l, func(int) []byte { return nil }) })
		b.Run(fmt.Sprintf("%d/raw", size), func(b *testing.B) { benchScan(b, l) })
		require.NoError(b, l.Close())
	}
}

func benchRead(b *testing.B, l *Log, buf func(int) []byte) {
	b.ReportAllocs()
	var bytes, offset int64
	for range b.N {
		if offset == l.EndOffset() {
			offset = 0
		}
		s, err := l.Read(offset, l.EndOffset(), 1<<20, buf(1<<20))
		if err != nil {
			b.Fatal(err)
		}
		bytes += int64(len(s.Bytes))
		offset = nextOf(s.Bytes)
	}
	b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
}

func benchScan(b *testing.B, l *Log) {
	table := crc32.MakeTable(crc32.Castagnoli)
	buf := make([]byte, 1<<20)
	var bytes, pos int64
	var sum uint32
	segments := l.list()
	i := 0
	h, err := segments[0].open()
	require.NoError(b, err)
	b.ResetTimer()
	for range b.N {
		n, _ := h.ReadAt(buf, pos)
		sum = crc32.Update(sum, table, buf[:n])
		bytes, pos = bytes+int64(n), pos+int64(n)
		if n < len(buf) {
			h.release()
			i = (i + 1) % len(segments)
			h, err = segments[i].open()
			require.NoError(b, err)
			pos = 0
		}
	}
	b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
	h.release()
}

// nextOf returns the offset after whole batches.
func nextOf(b []byte) int64 {
	for {
		h := headerOf(b)
		if b = b[h.Size():]; len(b) == 0 {
			return h.NextOffset()
		}
	}
}

// BenchmarkSync appends a batch of one record and syncs it, and for comparison
// writes and syncs the same bytes.
func BenchmarkSync(b *testing.B) {
	batch := batchOf(0, 0, 1, 100)
	b.Run("log", func(b *testing.B) {
		l, _, err := Open(Config{FS: disk(b), Dir: filepath.Join(b.TempDir(), "log")})
		require.NoError(b, err)
		for range b.N {
			raw := append([]byte(nil), batch...)
			record.Stamp(raw, l.EndOffset(), 0)
			if err := l.Append(raw, nil); err != nil {
				b.Fatal(err)
			}
			if err := l.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		require.NoError(b, l.Close())
	})
	b.Run("raw", func(b *testing.B) {
		f, err := disk(b).OpenFile(filepath.Join(b.TempDir(), "raw"), os.O_RDWR|os.O_CREATE)
		require.NoError(b, err)
		for i := range b.N {
			if _, err := f.WriteAt(batch, int64(i*len(batch))); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		require.NoError(b, f.Close())
	})
}

// BenchmarkOpen opens a log of five million 100-byte records, after a clean
// close and after a crash.
func BenchmarkOpen(b *testing.B) {
	cfg := Config{FS: disk(b), Dir: filepath.Join(b.TempDir(), "log")}
	l, _, err := Open(cfg)
	require.NoError(b, err)
	batch := batchOf(0, 0, 2_000, 100)
	for l.EndOffset() < 5_000_000 {
		raw := append([]byte(nil), batch...)
		record.Stamp(raw, l.EndOffset(), 0)
		require.NoError(b, l.Append(raw, nil))
	}
	sum := func(b *testing.B) {
		size := l.Size()
		for range b.N {
			h, err := l.list()[0].open()
			require.NoError(b, err)
			buf := make([]byte, 1<<20)
			var crc uint32
			for pos := int64(0); pos < size; pos += int64(len(buf)) {
				n, _ := h.ReadAt(buf, pos)
				crc = crc32.Update(crc, castagnoli, buf[:n])
			}
			h.release()
		}
	}
	b.Run("scan", sum)
	b.Run("crash", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			require.NoError(b, os.Remove(filepath.Join(cfg.Dir, checkpointName)))
			b.StartTimer()
			again, r, err := Open(cfg)
			require.NoError(b, err)
			require.EqualValues(b, 2_500, r.Batches)
			again.discard() // as a crash would
		}
	})
	require.NoError(b, l.Sync())
	require.NoError(b, l.Close())
	l, _, err = Open(cfg)
	require.NoError(b, err)
	require.NoError(b, l.Close())
	b.Run("clean", func(b *testing.B) {
		for range b.N {
			again, r, err := Open(cfg)
			require.NoError(b, err)
			require.True(b, r.Clean)
			require.NoError(b, again.Close())
		}
	})
}
