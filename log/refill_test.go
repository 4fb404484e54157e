package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// refillable returns a log of several segments and epochs that was not closed, what its
// Refill needs, and all its batches.
func refillable(t *testing.T) (disk *vfs.Crashable, cfg Config, how RefillOptions, batches []byte) {
	disk = vfs.NewCrashable()
	cfg = Config{FS: disk, Dir: "orders-3", Topic: "orders", Partition: 3, SegmentBytes: 600}
	l, _, err := Open(cfg)
	require.NoError(t, err)
	for n := range 24 {
		b := batchOf(l.EndOffset(), int32(1+n/5), 1+n%3, 20+n)
		require.NoError(t, l.Append(b, nil))
		require.NoError(t, l.Sync())
		batches = append(batches, b...)
	}
	require.Greater(t, l.Segments(), 3)
	how = RefillOptions{To: l.EndOffset(), Epoch: latestEpoch(l.Epochs())}
	how.Fetch = fetchFrom(batches)
	cfg.Durable = how.To
	return disk, cfg, how, batches
}

// fetchFrom is a Fetch from a sound copy.
func fetchFrom(batches []byte) func(from, to int64, write func([]byte) error) error {
	return func(from, to int64, write func([]byte) error) error {
		for rest := batches; len(rest) > 0; {
			b, err := record.Parse(rest)
			if err != nil {
				return err
			}
			rest = rest[b.Size():]
			if b.BaseOffset < from || b.BaseOffset >= to {
				continue
			}
			if err := write(b.Bytes[:b.Size():b.Size()]); err != nil {
				return err
			}
		}
		return nil
	}
}

// content returns all batches of a log, as its files have them.
func content(t *testing.T, cfg Config) (all []byte) {
	t.Helper()
	l, found, err := Open(cfg)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
	defer l.discard()
	for from := l.StartOffset(); from < l.EndOffset(); {
		s, err := l.ReadStored(from, l.EndOffset(), 1<<20, nil)
		require.NoError(t, err, "at %d", from)
		all = append(all, s.Bytes...)
		for rest := s.Bytes; len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			require.NoError(t, err)
			from, rest = h.NextOffset(), rest[h.Size():]
		}
	}
	return all
}

// logFiles returns the names of a log's segments.
func logFiles(t *testing.T, cfg Config) (names []string) {
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		if _, ok := parseName(e.Name, logSuffix); ok {
			names = append(names, cfg.Dir+"/"+e.Name)
		}
	}
	return names
}

// Whatever happens to a log's segments, afterwards it has every batch again, byte for byte.
func TestRefill(t *testing.T) {
	disk, cfg, how, want := refillable(t)
	check := func(what string, harm func(fs vfs.FS, names []string)) {
		t.Helper()
		cfg.FS = disk.After(vfs.Loss{Kept: vfs.KeepAll})
		harm(cfg.FS, logFiles(t, cfg))
		_, err := Refill(t.Context(), cfg, how)
		require.NoError(t, err, what)
		require.True(t, bytes.Equal(want, content(t, cfg)), what)
	}
	change := func(fs vfs.FS, name string, with func(b []byte) []byte) {
		b, err := vfs.ReadFile(fs, name, 1<<20)
		require.NoError(t, err)
		require.NoError(t, vfs.WriteFile(fs, name, with(b)))
	}
	names := logFiles(t, cfg)
	for i := range names {
		size := 0
		change(cfg.FS, names[i], func(b []byte) []byte { size = len(b); return b })
		for at := range size {
			check(fmt.Sprint("a flipped bit of byte ", at, " of file ", i), func(fs vfs.FS, names []string) {
				change(fs, names[i], func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b })
			})
			if at%7 == 0 {
				check(fmt.Sprint("file ", i, " cut at ", at), func(fs vfs.FS, names []string) {
					change(fs, names[i], func(b []byte) []byte { return b[:at] })
				})
			}
		}
		check(fmt.Sprint("no file ", i), func(fs vfs.FS, names []string) { require.NoError(t, fs.Remove(names[i])) })
		for k := range names {
			check(fmt.Sprint("file ", i, " is file ", k), func(fs vfs.FS, names []string) {
				b, err := vfs.ReadFile(fs, names[k], 1<<20)
				require.NoError(t, err)
				change(fs, names[i], func([]byte) []byte { return b })
			})
		}
	}
	check("no files", func(fs vfs.FS, names []string) {
		for _, n := range names {
			require.NoError(t, fs.Remove(n))
		}
	})
	check("nothing", func(vfs.FS, []string) {})
}

// What is behind the durable end stays up to the first flaw, and what is not this log's
// goes, however sound.
func TestRefillKeepsTheTailAndDropsWhatIsForeign(t *testing.T) {
	_, cfg, how, want := refillable(t)
	l, _, err := Open(cfg)
	require.NoError(t, err)
	tail := batchOf(l.EndOffset(), 9, 2, 30)
	require.NoError(t, l.Append(tail, nil))
	require.NoError(t, l.Close())
	fetched, err := Refill(t.Context(), cfg, how)
	require.NoError(t, err)
	require.Zero(t, fetched)
	require.True(t, bytes.Equal(append(want, tail...), content(t, cfg)))

	// The same offsets and epochs with other records.
	other := cfg
	other.FS, other.Durable = vfs.NewMemory(), 0
	l, _, err = Open(other)
	require.NoError(t, err)
	for rest := want; len(rest) > 0; {
		h, err := record.ParseHeader(rest)
		require.NoError(t, err)
		rest = rest[h.Size():]
		b := batchOf(h.BaseOffset+1_000_000, h.LeaderEpoch, int(h.LastOffsetDelta)+1, 25)
		record.Stamp(b, h.BaseOffset, h.LeaderEpoch)
		require.NoError(t, l.Append(b, nil))
	}
	require.NoError(t, l.Close())
	cfg.FS = other.FS
	how.Headers = func(from, to int64, each func([]byte) error) error {
		return how.Fetch(from, to, func(b []byte) error { return each(b[:record.HeaderLen]) })
	}
	fetched, err = Refill(t.Context(), cfg, how)
	require.NoError(t, err)
	require.Equal(t, int64(len(want)), fetched)
	require.True(t, bytes.Equal(want, content(t, cfg)))
}

// What another copy gives is not believed, and nothing changes then.
func TestRefillRefusesWrongBatches(t *testing.T) {
	disk, cfg, how, want := refillable(t)
	first, err := record.ParseHeader(want)
	require.NoError(t, err)
	for name, wrong := range map[string]func() [][]byte{
		"nothing":         func() [][]byte { return nil },
		"too little":      func() [][]byte { return [][]byte{want[:first.Size()]} },
		"half a batch":    func() [][]byte { return [][]byte{want[:first.Size()/2]} },
		"another offset":  func() [][]byte { return [][]byte{want[first.Size():]} },
		"a flipped bit":   func() [][]byte { b := append([]byte(nil), want...); b[200] ^= 1; return [][]byte{b} },
		"a later epoch":   func() [][]byte { return [][]byte{batchOf(0, 77, int(how.To), 20)} },
		"beyond the end":  func() [][]byte { return [][]byte{batchOf(0, 1, int(how.To)+1, 20)} },
		"falling epochs":  func() [][]byte { return [][]byte{batchOf(0, 3, 5, 20), batchOf(5, 2, int(how.To)-5, 20)} },
		"an empty answer": func() [][]byte { return [][]byte{{}} },
	} {
		cfg.FS = disk.After(vfs.Loss{Kept: vfs.KeepAll})
		for _, n := range logFiles(t, cfg) {
			require.NoError(t, cfg.FS.Remove(n))
		}
		how.Fetch = func(_, _ int64, write func([]byte) error) error {
			for _, b := range wrong() {
				if err := write(b); err != nil {
					return err
				}
			}
			return nil
		}
		_, err := Refill(t.Context(), cfg, how)
		require.ErrorIs(t, err, fault.InvalidRecord, name)
		_, _, err = Open(cfg)
		require.ErrorIs(t, err, fault.CorruptMessage, name)
	}
}

// A loss of power at any moment of a Refill leaves the damage as it was, or all batches.
func TestRefillIsInterrupted(t *testing.T) {
	disk, cfg, how, want := refillable(t)
	rng := rand.New(rand.NewPCG(1, 2))
	harmed := disk.After(vfs.Loss{Kept: vfs.KeepAll})
	cfg.FS = harmed
	names := logFiles(t, cfg)
	b, err := vfs.ReadFile(harmed, names[1], 1<<20)
	require.NoError(t, err)
	b[len(b)/2] ^= 8
	require.NoError(t, vfs.WriteFile(harmed, names[1], b))
	require.NoError(t, harmed.Remove(names[3]))
	require.NoError(t, harmed.SyncDir(cfg.Dir))
	for skip, done := 0, false; !done; skip++ {
		now := harmed.After(vfs.Loss{Kept: vfs.KeepAll})
		faulty := vfs.NewFaulty(now)
		faulty.Add(vfs.Rule{On: vfs.OpChange, Skip: skip, Err: errors.New("no power")})
		cfg.FS = faulty
		_, err := Refill(t.Context(), cfg, how)
		done = err == nil
		cfg.FS = now.Crash(vfs.RandomLoss(rng.Uint64()))
		if l, found, err := Open(cfg); err == nil && len(found.Damage) == 0 {
			l.discard()
		} else {
			_, err = Refill(t.Context(), cfg, how)
			require.NoError(t, err, "after %d changes", skip)
		}
		require.True(t, bytes.Equal(want, content(t, cfg)), "after %d changes", skip)
		_, err = cfg.FS.Stat(cfg.Dir + "/" + journalName)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

// A damaged segment is replaced while the log is in use, and only by what belongs there.
func TestRefetch(t *testing.T) {
	_, cfg, how, want := refillable(t)
	l, _ := open(t, cfg)
	segments := l.list()
	names := logFiles(t, cfg)
	f, err := cfg.FS.OpenFile(names[1], os.O_RDWR)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff, 0xff}, 80)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	offset := segments[1].base
	_, err = l.ReadStored(offset, l.EndOffset(), 1<<20, nil)
	require.ErrorIs(t, err, fault.CorruptMessage)

	for name, fetch := range map[string]func(from, to int64, write func([]byte) error) error{
		"nothing":       func(int64, int64, func([]byte) error) error { return nil },
		"another epoch": func(from, to int64, write func([]byte) error) error { return write(batchOf(from, 9, int(to-from), 10)) },
		"too much": func(from, to int64, write func([]byte) error) error {
			return write(batchOf(from, 2, int(to-from)+1, 10))
		},
		"too little": func(from, _ int64, write func([]byte) error) error { return write(batchOf(from, 2, 1, 10)) },
		"damage": func(from, _ int64, write func([]byte) error) error {
			b := batchOf(from, 2, 1, 10)
			b[70] ^= 1
			return write(b)
		},
	} {
		_, err = l.Refetch(t.Context(), offset, 0, fetch)
		require.ErrorIs(t, err, fault.InvalidRecord, name)
	}
	_, err = l.Refetch(t.Context(), l.EndOffset()-1, 0, how.Fetch)
	require.ErrorIs(t, err, fault.Storage, "the active segment is the writer's")

	next, err := l.Refetch(t.Context(), offset, 0, how.Fetch)
	require.NoError(t, err)
	require.NoError(t, l.Swap(next))
	for _, again := range []bool{false, true} {
		if again {
			require.NoError(t, l.Close())
		}
		var got []byte
		if again {
			got = content(t, cfg)
		} else {
			for from := int64(0); from < l.EndOffset(); {
				s, err := l.ReadStored(from, l.EndOffset(), 1, nil)
				require.NoError(t, err)
				h, err := record.ParseHeader(s.Bytes)
				require.NoError(t, err)
				got, from = append(got, s.Bytes...), h.NextOffset()
			}
		}
		require.True(t, bytes.Equal(want, got))
	}
}

// The log may start within the first batch of a segment that is replaced: another copy gives
// that batch as a whole.
func TestRefetchBehindTheStart(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	l, _ := open(t, cfg)
	for i := range int64(3) {
		require.NoError(t, l.Append(batchOf(5*i, 0, 5, 10), nil))
	}
	require.NoError(t, l.SetStart(7))
	whole, err := l.ReadStored(7, 10, 1<<20, nil)
	require.NoError(t, err)
	path := l.list()[0].logPath()
	f, err := cfg.FS.OpenFile(path, os.O_RDWR)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff, 0xff}, 80)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = l.ReadStored(7, 10, 1<<20, nil)
	require.ErrorIs(t, err, fault.CorruptMessage)

	next, err := l.Refetch(t.Context(), 7, l.StartOffset(), func(from, to int64, write func([]byte) error) error {
		require.Equal(t, [2]int64{7, 10}, [2]int64{from, to})
		return write(whole.Bytes)
	})
	require.NoError(t, err)
	require.NoError(t, l.Swap(next))
	got, err := l.ReadStored(7, 10, 1<<20, nil)
	require.NoError(t, err)
	require.Equal(t, whole.Bytes, got.Bytes)
	require.EqualValues(t, 7, l.StartOffset())
	require.NoError(t, l.Close())
}
