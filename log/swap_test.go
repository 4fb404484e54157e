package log

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// keyedLog returns a log of small segments, all but the last of which may be
// compacted, and what is in it.
func keyedLog(t *testing.T, seed uint64) (l *Log, fsys *failing, cfg Config, all []keyed, c Compaction) {
	t.Helper()
	cfg = memoryConfig()
	cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes, cfg.Codec = 900, 100, -1, testCodec
	fsys = &failing{FS: cfg.FS, fail: nothingFails}
	cfg.FS = fsys
	l, _ = open(t, cfg)
	all = fillKeyed(t, l, rand.New(rand.NewPCG(seed, 3)), 40)
	require.NoError(t, l.Sync())
	return l, fsys, cfg, all, Compaction{Now: 1, Limit: l.EndOffset(), DeleteRetention: time.Hour, SegmentBytes: 2_000}
}

// noLeftovers checks that nothing is left of swaps.
func noLeftovers(t tb, cfg Config) {
	t.Helper()
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NotEqual(t, cleanedSuffix, filepath.Ext(e.Name))
		require.NotEqual(t, swapName, e.Name)
	}
}

// TestFailuresInCompaction lets every operation of a compaction fail, one after
// the other. What failed before the manifest was durable has changed nothing and
// may be tried again; afterwards the log accepts nothing until it is opened again.
// Readers read on either way.
func TestFailuresInCompaction(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n, done := 0, false; !done; n++ {
			l, fsys, cfg, all, c := keyedLog(t, 1)
			d, err := l.DirtyRange(c)
			require.NoError(t, err)
			left := withoutHorizons(compacted(all, d.To, c.Now, 1))
			op := 0
			what := ""
			fsys.fail = func(name, path string) error {
				if op++; op == n+1 {
					what = name + " " + filepath.Base(path)
					return cause
				}
				return nil
			}
			_, err = l.Compact(context.Background(), c, l.Swap)
			fsys.fail = nothingFails
			if done = op <= n; done {
				require.NoError(t, err)
				require.Greater(t, n, 100)
			}
			subset(t, readKeyed(t, l), withoutHorizons(all), left)
			if err != nil && l.failed == nil {
				require.ErrorIs(t, err, cause, what)
				require.NoError(t, l.Append(batchOf(l.EndOffset(), 0, 1, 1), nil), what)
				require.NoError(t, l.Truncate(l.EndOffset()-1))
				compactAll(t, l, c)
				require.Equal(t, left, readKeyed(t, l), what)
			}
			if l.failed != nil {
				require.ErrorIs(t, l.failed, cause, what)
				_, err := l.Compact(context.Background(), c, l.Swap)
				require.ErrorIs(t, err, fault.Storage, what)
			}
			require.NoError(t, l.Close())
			found := inspected(t, cfg)
			require.NotEqual(t, Damage, found.Worst(), "%s: %v", what, found.Findings)
			l, r := open(t, cfg)
			require.Empty(t, r.Damage, what)
			subset(t, readKeyed(t, l), withoutHorizons(all), left)
			compactAll(t, l, c)
			require.Equal(t, left, readKeyed(t, l), what)
			require.NoError(t, l.Close())
			require.Zero(t, fsys.open.Load(), what)
		}
	}
}

// TestDiskFullInCompaction fills the disk at each kind of write of a compaction:
// what was not swapped in is as it was, and appends go on.
func TestDiskFullInCompaction(t *testing.T) {
	for _, suffix := range []string{".log.cleaned", ".index.cleaned", ".timeindex.cleaned", swapName + ".tmp"} {
		l, fsys, cfg, all, c := keyedLog(t, 2)
		left := withoutHorizons(compacted(all, l.list()[l.Segments()-1].base, c.Now, 1))
		fsys.fail = failOn("write", suffix, syscall.ENOSPC)
		_, err := l.Compact(context.Background(), c, l.Swap)
		require.ErrorIs(t, err, fault.DiskFull, suffix)
		noLeftovers(t, cfg)
		subset(t, readKeyed(t, l), all, left)
		fsys.fail = nothingFails
		require.NoError(t, l.Append(batchOf(l.EndOffset(), 0, 1, 1), nil))
		require.NoError(t, l.Close())
	}
}

// TestSwapIsLate deletes, truncates and closes while a compaction has something to
// swap in: it notices, and leaves nothing behind.
func TestSwapIsLate(t *testing.T) {
	for name, meanwhile := range map[string]func(l *Log) error{
		"deleted":    func(l *Log) error { return l.SetStart(l.list()[2].base) },
		"all gone":   func(l *Log) error { return l.SetStart(l.EndOffset()) },
		"truncated":  func(l *Log) error { return l.Truncate(l.list()[1].base) },
		"cut within": func(l *Log) error { return l.Truncate(3) },
	} {
		t.Run(name, func(t *testing.T) {
			l, _, cfg, _, c := keyedLog(t, 3)
			require.Greater(t, l.Segments(), 4)
			swaps := 0
			_, err := l.Compact(context.Background(), c, func(r *Replacement) error {
				swaps++
				require.NoError(t, meanwhile(l))
				return l.Swap(r)
			})
			require.NoError(t, err)
			require.Equal(t, 1, swaps)
			noLeftovers(t, cfg)
			readKeyed(t, l)
		})
	}
	l, _, cfg, all, c := keyedLog(t, 3)
	_, err := l.Compact(context.Background(), c, func(r *Replacement) error {
		require.NoError(t, l.Close())
		return l.Swap(r)
	})
	require.ErrorIs(t, err, fault.Closed)
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	require.Equal(t, all, readKeyed(t, l))
}

// TestCompactionIsCancelled ends a compaction at any batch.
func TestCompactionIsCancelled(t *testing.T) {
	l, fsys, cfg, all, c := keyedLog(t, 4)
	ctx, cancel := context.WithCancel(context.Background())
	reads := 0
	fsys.fail = func(op, path string) error {
		if reads++; reads == 40 {
			cancel()
		}
		return nil
	}
	_, err := l.Compact(ctx, c, l.Swap)
	require.ErrorIs(t, err, context.Canceled)
	fsys.fail = nothingFails
	subset(t, readKeyed(t, l), all, nil)
	noLeftovers(t, cfg)
}

// TestDamageStopsCompaction: what can't be read is not thrown away.
func TestDamageStopsCompaction(t *testing.T) {
	l, _, cfg, _, c := keyedLog(t, 5)
	path := l.list()[1].logPath()
	b := readFile(t, cfg.FS, path)
	b[len(b)/2] ^= 1
	writeFile(t, cfg.FS, path, b)
	before := logsIn(t, cfg)
	_, err := l.Compact(context.Background(), c, l.Swap)
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.Equal(t, before, logsIn(t, cfg))
}

// TestReadersBesideCompaction lets readers follow, seek and look for times while
// the log is appended to and compacted: no reader finds a gap, damage, or a record
// that never was.
func TestReadersBesideCompaction(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes, cfg.Codec = 2_000, 100, 1_000, testCodec
		cfg.FS = unsynced{cfg.FS}
		l, _ := open(t, cfg)
		rng := rand.New(rand.NewPCG(1, 4))
		fillKeyed(t, l, rng, 50)
		var done atomic.Bool
		var readers sync.WaitGroup
		for i := range 3 {
			rng := rand.New(rand.NewPCG(uint64(i), 5))
			readers.Go(func() {
				for !done.Load() {
					followKeyed(t, l, rng)
				}
			})
		}
		for i := range 10 {
			fillKeyed(t, l, rng, 20)
			c := Compaction{Now: int64(i), Limit: l.EndOffset(), DeleteRetention: time.Millisecond, SegmentBytes: 4_000}
			if _, err := l.Compact(context.Background(), c, l.Swap); err != nil {
				t.Error(err)
			}
		}
		done.Store(true)
		readers.Wait()
		readKeyed(t, l)
	})
}

func followKeyed(t *testing.T, l *Log, rng *rand.Rand) {
	next := rng.Int64N(l.EndOffset())
	buf := make([]byte, 1<<10)
	for end := l.EndOffset(); next < end; {
		s, err := l.Read(next, end, len(buf), buf)
		if err != nil || len(s.Bytes) == 0 {
			t.Error(next, len(s.Bytes), err)
			return
		}
		for b := s.Bytes; len(b) > 0; {
			batch, err := record.Parse(b)
			if err != nil || batch.BaseOffset > next {
				t.Error(next, batch.BaseOffset, err)
				return
			}
			next = batch.NextOffset()
			b = b[batch.Size():]
		}
		s.Release()
	}
	if _, _, _, err := l.OffsetForTime(rng.Int64N(next * 10)); err != nil {
		t.Error(err)
	}
}

// TestManifest holds a manifest and what it becomes against docs/format.md.
func TestManifest(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	b := encodeManifest([]*segment{l.newSegment(7, 300), l.newSegment(9, 100)}, l.newSegment(7, 250))
	require.Equal(t, "524e4c5357415000"+"00000001"+"00000002"+
		"0000000000000007"+"00000000000000fa"+
		"0000000000000007"+"000000000000012c"+
		"0000000000000009"+"0000000000000064", hex.EncodeToString(b[:len(b)-4]))
	require.Equal(t, crcOf(b[:len(b)-4]), c32(b[len(b)-4:]))
	m, ok, err := decodeManifest(b)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, manifest{extent{7, 250}, []extent{{7, 300}, {9, 100}}}, m)

	for i := range b {
		torn := append([]byte(nil), b...)
		torn[i] ^= 4
		_, ok, _ := decodeManifest(torn)
		require.False(t, ok)
		_, ok, _ = decodeManifest(b[:i])
		require.False(t, ok)
	}
}

// TestWrongManifest: a manifest that is damaged stops Open, which changes nothing.
func TestWrongManifest(t *testing.T) {
	l, _, cfg, all, _ := keyedLog(t, 6)
	require.NoError(t, l.Close())
	path := filepath.Join(cfg.Dir, swapName)
	writeFile(t, cfg.FS, path, []byte("no manifest at all, but a file of its name"))
	before := logsIn(t, cfg)
	_, _, err := Open(cfg)
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.ErrorContains(t, err, swapName)
	require.Equal(t, before, logsIn(t, cfg))
	require.NoError(t, cfg.FS.Remove(path))
	l, _ = open(t, cfg)
	require.Equal(t, all, readKeyed(t, l))
}

// FuzzManifest decodes anything, and opens a log beside it.
func FuzzManifest(f *testing.F) {
	seed := Log{cfg: memoryConfig()}
	f.Add(encodeManifest([]*segment{seed.newSegment(0, 700), seed.newSegment(30, 100)}, seed.newSegment(0, 250)), []byte("x"))
	f.Add(encodeManifest([]*segment{seed.newSegment(0, 700)}, seed.newSegment(0, 1)), []byte("x"))
	f.Add([]byte(swapMagic), []byte(nil))
	f.Fuzz(func(t *testing.T, manifest, cleaned []byte) {
		if n := len(manifest) - 4; n >= 0 { // past the checksum
			manifest = binary.BigEndian.AppendUint32(manifest[:n:n], crcOf(manifest[:n]))
		}
		cfg, _ := segmented(t)
		writeFile(t, cfg.FS, filepath.Join(cfg.Dir, swapName), manifest)
		writeFile(t, cfg.FS, filepath.Join(cfg.Dir, "00000000000000000000.log"+cleanedSuffix), cleaned)
		l, _, err := Open(cfg)
		if err != nil {
			return
		}
		require.NoError(t, l.Close())
		_, err = cfg.FS.Stat(filepath.Join(cfg.Dir, swapName))
		require.ErrorIs(t, err, errNotExist)
	})
}
