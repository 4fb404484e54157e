package log

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// sums matches checksums.
var sums = regexp.MustCompile(`(be|is) [0-9a-f]{8}`)

// everything reads all records of a log, by offset.
func everything(t testing.TB, cfg Config) map[int64]string {
	t.Helper()
	l, r, err := Open(cfg)
	require.NoError(t, err)
	require.Empty(t, r.Damage)
	defer l.discard()
	all := map[int64]string{}
	for from := l.StartOffset(); from < l.EndOffset(); {
		s, err := l.Read(from, l.EndOffset(), 1, nil)
		require.NoError(t, err, "at %d", from)
		b, err := record.Parse(s.Bytes)
		require.NoError(t, err)
		it, err := b.Records(nil)
		require.NoError(t, err)
		for rec := (record.Record{}); it.Next(&rec); {
			all[rec.Offset] = string(rec.Value)
		}
		from = b.NextOffset()
	}
	return all
}

func repaired(t testing.TB, cfg Config, acceptLoss bool) []Step {
	t.Helper()
	steps, err := Repair(t.Context(), cfg, RepairOptions{AcceptLoss: acceptLoss, Stamp: "now"})
	require.NoError(t, err)
	return steps
}

func refused(steps []Step) bool {
	for _, s := range steps {
		if s.Refused {
			return true
		}
	}
	return false
}

// soundAfter checks that a repaired log is sound, has every record that was not
// lost under its offset, and takes more.
func soundAfter(t testing.TB, cfg Config, want map[int64]string, steps []Step, what string) {
	t.Helper()
	found := inspected(t, cfg)
	require.Equal(t, Note, found.Worst(), "%s: %v", what, found.Findings)
	got := everything(t, cfg)
	lost := map[int64]bool{}
	for _, s := range steps {
		for o := s.Lost[0]; o < s.Lost[1]; o++ {
			lost[o] = true
		}
	}
	for offset, value := range got {
		require.Equal(t, want[offset], value, "%s: offset %d", what, offset)
	}
	for offset := found.Start; offset < found.End; offset++ {
		if _, ok := got[offset]; !ok {
			require.True(t, lost[offset], "%s: offset %d is missing, and not among the lost: %v", what, offset, steps)
		}
	}
	l, r, err := Open(cfg)
	require.NoError(t, err)
	require.True(t, r.Clean, what)
	require.Equal(t, found.End, l.EndOffset(), what)
	require.NoError(t, l.Append(batchOf(l.EndOffset(), 9, 1, 10), nil), what)
	require.NoError(t, l.Close())
	require.Empty(t, repaired(t, cfg, true), "%s: there is nothing left to repair", what)
}

func TestRepair(t *testing.T) {
	segments := func(cfg Config) (bases []int64) {
		entries, err := cfg.FS.ReadDir(cfg.Dir)
		require.NoError(t, err)
		for _, e := range entries {
			if base, ok := parseName(e.Name, logSuffix); ok {
				bases = append(bases, base)
			}
		}
		return bases
	}
	spoil := func(t *testing.T, cfg Config, path string, at int) {
		b := readFile(t, cfg.FS, path)
		b[(at+len(b))%len(b)] ^= 1
		writeFile(t, cfg.FS, path, b)
	}
	for _, test := range []struct {
		name  string
		plant func(t *testing.T, cfg Config)
		want  []string // the steps; base names stand for files
	}{
		{"nothing", func(*testing.T, Config) {}, nil},
		{"a record", func(t *testing.T, cfg Config) { spoil(t, cfg, logFile(cfg, 0), 70) }, []string{
			"00000000000000000000.log: keep it as 00000000000000000000.log.damaged-now and rewrite it from its sound batches",
			"00000000000000000000.log: 86 bytes at byte 0: a batch of offset 0 whose checksum should be X and is X; loses 0 to 1",
		}},
		{"a segment's end", func(t *testing.T, cfg Config) { spoil(t, cfg, logFile(cfg, 0), -5) }, []string{
			"00000000000000000000.log: keep it as 00000000000000000000.log.damaged-now and rewrite it from its sound batches",
			"00000000000000000000.log: 86 bytes at byte 258: a batch of offset 6 whose checksum should be X and is X; loses 6 to 7",
		}},
		{"a leader epoch", func(t *testing.T, cfg Config) { spoil(t, cfg, logFile(cfg, 0), 15) }, []string{
			"00000000000000000000.log: keep it as 00000000000000000000.log.damaged-now and rewrite it from its sound batches",
			"00000000000000000000.log: 86 bytes at byte 0: one of leader epoch 1 instead of 0; nothing else is wrong with it, and it gets the right one",
		}},
		{"a segment in the middle", func(t *testing.T, cfg Config) { require.NoError(t, cfg.FS.Remove(logFile(cfg, segments(cfg)[1]))) }, []string{
			"00000000000000000000.log: keep it as 00000000000000000000.log.damaged-now and rewrite it from its sound batches",
			"00000000000000000000.log: 0 bytes at byte 344: the end, and the offset that follows is 16; loses 8 to 15",
		}},
		{"the first segment", func(t *testing.T, cfg Config) { require.NoError(t, cfg.FS.Remove(logFile(cfg, 0))) }, []string{
			"00000000000000000000.index: delete it: it has no segment",
			"00000000000000000000.timeindex: delete it: it has no segment",
			"00000000000000000000.log: let the log start at offset 8, where its files do; loses 0 to 7",
		}},
		{"the last segment", func(t *testing.T, cfg Config) { require.NoError(t, cfg.FS.Remove(logFile(cfg, 24))) }, []string{
			"00000000000000000024.log: let the log continue at offset 30; records with higher offsets are lost, too; loses 24 to 29",
		}},
		{"the last two segments, and damage before them", func(t *testing.T, cfg Config) {
			require.NoError(t, cfg.FS.Remove(logFile(cfg, 16)))
			require.NoError(t, cfg.FS.Remove(logFile(cfg, 24)))
			spoil(t, cfg, logFile(cfg, 8), 70)
		}, []string{
			"00000000000000000008.log: keep it as 00000000000000000008.log.damaged-now and rewrite it from its sound batches",
			"00000000000000000008.log: 86 bytes at byte 0: a batch of offset 8 whose checksum should be X and is X; loses 8 to 9",
			"00000000000000000008.log: 0 bytes at byte 344: the end, and the offset that follows is 24; loses 16 to 23",
			"00000000000000000024.log: let the log continue at offset 30; records with higher offsets are lost, too; loses 24 to 29",
		}},
		{"all segments", func(t *testing.T, cfg Config) {
			for _, base := range segments(cfg) {
				require.NoError(t, cfg.FS.Remove(logFile(cfg, base)))
			}
		}, []string{
			"00000000000000000024.log: let the log continue at offset 30; records with higher offsets are lost, too; loses 24 to 29",
			"00000000000000000000.log: let the log start at offset 24, where its files do; loses 0 to 23",
		}},
		{"an index", func(t *testing.T, cfg Config) { spoil(t, cfg, cfg.Dir+"/00000000000000000008.index", 3) }, []string{
			"00000000000000000008.index: rebuild it from the log",
		}},
		{"a time index", func(t *testing.T, cfg Config) {
			require.NoError(t, cfg.FS.Remove(cfg.Dir+"/00000000000000000008.timeindex"))
		}, []string{
			"00000000000000000008.timeindex: rebuild it from the log",
		}},
		{"the epochs", func(t *testing.T, cfg Config) { spoil(t, cfg, cfg.Dir+"/"+epochName, 0) }, []string{
			"leader-epoch-checkpoint: rebuild it from the log",
		}},
		{"another log's checkpoint", func(t *testing.T, cfg Config) {
			c, err := readCheckpoint(cfg.FS, cfg.Dir)
			require.NoError(t, err)
			c.segment, c.offset, c.pos = 4, 6, 86
			b := make([]byte, slotStride)
			copy(b, c.encode())
			writeFile(t, cfg.FS, cfg.Dir+"/"+checkpointName, b)
		}, []string{"runnel-checkpoint: rebuild it from the log"}},
		{"epochs that the batches do not have", func(t *testing.T, cfg Config) {
			b := readFile(t, cfg.FS, cfg.Dir+"/"+epochName)
			require.Contains(t, string(b), "\n1 8\n")
			writeFile(t, cfg.FS, cfg.Dir+"/"+epochName, bytes.Replace(b, []byte("\n1 8\n"), []byte("\n1 4\n"), 1))
		}, []string{
			"leader-epoch-checkpoint: rebuild it from the log",
		}},
		{"both slots of the checkpoint", func(t *testing.T, cfg Config) {
			spoil(t, cfg, cfg.Dir+"/"+checkpointName, 3)
			spoil(t, cfg, cfg.Dir+"/"+checkpointName, slotStride+3)
		}, []string{"runnel-checkpoint: rebuild it from the log"}},
		{"bytes that were taken away, and a torn tail", func(t *testing.T, cfg Config) {
			b := readFile(t, cfg.FS, logFile(cfg, 24))
			writeFile(t, cfg.FS, logFile(cfg, 24), slices.Concat(b[:20], b[80:], make([]byte, 60), []byte{1}))
			require.NoError(t, cfg.FS.Remove(cfg.Dir+"/"+checkpointName))
		}, []string{
			"00000000000000000024.log: keep it as 00000000000000000024.log.damaged-now and rewrite it from its sound batches",
			"00000000000000000024.log: 26 bytes at byte 0: a batch of offset 24 whose checksum should be X and is X; at byte 26 a sound batch of offset 26 follows; loses 24 to 25",
			"00000000000000000024.log: cut off a torn tail of 61 bytes at byte 198",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := manySegments(t, true)
			want := everything(t, copyDir(t, cfg, "whole"))
			test.plant(t, cfg)
			before := copyDir(t, cfg, "before")

			dry := cfg
			dry.FS = readOnly{cfg.FS}
			planned, err := Repair(t.Context(), dry, RepairOptions{DryRun: true, AcceptLoss: true, Stamp: "now"})
			require.NoError(t, err)
			var lines []string
			for _, s := range planned {
				line := filepath.Base(s.File) + ": " + sums.ReplaceAllString(s.What, "$1 X")
				if s.Lost[1] > 0 {
					line += fmt.Sprintf("; loses %d to %d", s.Lost[0], s.Lost[1]-1)
				}
				lines = append(lines, line)
			}
			require.Equal(t, test.want, lines)

			steps := repaired(t, cfg, true)
			require.Equal(t, planned, steps)
			soundAfter(t, cfg, want, steps, test.name)
			entries, err := cfg.FS.ReadDir(cfg.Dir)
			require.NoError(t, err)
			for _, e := range entries {
				if name, _, ok := strings.Cut(e.Name, damagedSuffix); ok {
					require.Equal(t, readFile(t, cfg.FS, filepath.Join(before.Dir, name)), readFile(t, cfg.FS, filepath.Join(cfg.Dir, e.Name)), "evidence is kept")
				}
				require.NotContains(t, e.Name, repairedSuffix)
				require.NotEqual(t, journalName, e.Name)
			}
		})
	}
}

// TestRepairRefusesSwap leaves a log alone of which it is unknown which segments
// are to take the place of which.
func TestRepairRefusesSwap(t *testing.T) {
	cfg := manySegments(t, true)
	writeFile(t, cfg.FS, filepath.Join(cfg.Dir, swapName), []byte("nonsense"))
	cfg.FS = readOnly{cfg.FS}
	steps := repaired(t, cfg, true)
	require.Len(t, steps, 1)
	require.True(t, steps[0].Refused)
	require.Equal(t, swapName, filepath.Base(steps[0].File))
	require.Contains(t, steps[0].What, "move this file away")
}

// TestRepairRefuses gives no end to a log whose end is lost, unless that is
// accepted.
func TestRepairRefuses(t *testing.T) {
	cfg := manySegments(t, true)
	require.NoError(t, cfg.FS.Remove(logFile(cfg, 24)))
	frozen := cfg
	frozen.FS = readOnly{cfg.FS}
	steps := repaired(t, frozen, false)
	require.True(t, refused(steps))
	require.Contains(t, steps[0].What, "continues at offset 30")
	_, _, err := Open(cfg)
	require.ErrorIs(t, err, fault.CorruptMessage)
}

// TestRepairEverything repairs a log for each bit of its segments that flips and
// each byte at which a file ends: what was sound is kept.
func TestRepairEverything(t *testing.T) {
	for _, closed := range []bool{true, false} {
		original := manySegments(t, closed)
		want := everything(t, copyDir(t, original, "whole"))
		try := func(what string) {
			cfg := copyDir(t, original, "tried")
			steps := repaired(t, cfg, true)
			require.False(t, refused(steps), "%s: %v", what, steps)
			if inspected(t, cfg).Closed || len(steps) > 0 {
				soundAfter(t, cfg, want, steps, what)
			}
			require.NoError(t, cfg.FS.RemoveAll(cfg.Dir))
		}
		entries, err := original.FS.ReadDir(original.Dir)
		require.NoError(t, err)
		for _, e := range entries {
			path := filepath.Join(original.Dir, e.Name)
			whole := readFile(t, original.FS, path)
			for at := 0; at < min(len(whole), 600); at += unlessRaced(2, 30) {
				flipped := append([]byte(nil), whole...)
				flipped[at] ^= 1 << (at % 8)
				if version := at - 8; e.Name == checkpointName && (version == 0 || version == 1) {
					continue // a newer version is not repaired
				}
				writeFile(t, original.FS, path, flipped)
				try(fmt.Sprintf("bit %d of byte %d of %s", at%8, at, e.Name))
				writeFile(t, original.FS, path, whole[:at])
				try(fmt.Sprintf("%s cut at %d", e.Name, at))
			}
			writeFile(t, original.FS, path, whole)
		}
	}
}

// TestPowerLossWhileRepairing takes the power away at every change of the disk
// and repairs again.
func TestPowerLossWhileRepairing(t *testing.T) {
	cfg := manySegments(t, true)
	want := everything(t, copyDir(t, cfg, "whole"))
	b := readFile(t, cfg.FS, logFile(cfg, 8))
	b[70] ^= 1
	disk := vfs.NewCrashable()
	onDisk := cfg
	onDisk.FS = disk
	require.NoError(t, disk.MkdirAll(cfg.Dir))
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		writeFile(t, disk, filepath.Join(cfg.Dir, e.Name), readFile(t, cfg.FS, filepath.Join(cfg.Dir, e.Name)))
	}
	writeFile(t, disk, logFile(cfg, 8), b)
	last := readFile(t, cfg.FS, logFile(cfg, 24))
	last[70] ^= 1
	writeFile(t, disk, logFile(cfg, 24), last)
	for _, e := range entries {
		f, err := disk.OpenFile(filepath.Join(cfg.Dir, e.Name), os.O_RDWR)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	require.NoError(t, disk.SyncDir(cfg.Dir))
	require.NoError(t, disk.SyncDir("."))
	n := uint64(0)
	watched := vfs.NewFaulty(disk)
	watched.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		for range 8 {
			n++
			left := onDisk
			left.FS = disk.After(vfs.RandomLoss(n))
			steps := repaired(t, left, true)
			for _, s := range steps {
				require.False(t, s.Refused)
			}
			found := inspected(t, left)
			require.Equal(t, Note, found.Worst(), "%d: %v", n, found.Findings)
			for offset, value := range everything(t, left) {
				require.Equal(t, want[offset], value)
			}
			require.EqualValues(t, 30, found.End)
			require.EqualValues(t, 26, found.Records, "one batch of each of two segments")
		}
	}})
	repairedOn := onDisk
	repairedOn.FS = watched
	steps := repaired(t, repairedOn, true)
	require.Greater(t, n, uint64(100))
	soundAfter(t, onDisk, want, steps, "repaired")
}

// TestRepairOnFailingDisk lets every operation fail once. What is left is
// repaired by the next one, and not opened before if it is half done.
func TestRepairOnFailingDisk(t *testing.T) {
	original := manySegments(t, true)
	want := everything(t, copyDir(t, original, "whole"))
	b := readFile(t, original.FS, logFile(original, 8))
	b[70] ^= 1
	writeFile(t, original.FS, logFile(original, 8), b)
	cause := errors.New("input/output error")
	for skip := 0; ; skip++ {
		cfg := copyDir(t, original, "tried")
		failed := false
		failing := cfg
		faulty := vfs.NewFaulty(cfg.FS)
		faulty.Add(vfs.Rule{On: vfs.OpAny, Skip: skip, Times: 1, Err: cause, Do: func() { failed = true }})
		failing.FS = faulty
		_, err := Repair(t.Context(), failing, RepairOptions{Stamp: "now"})
		if !failed {
			require.NoError(t, err)
			require.Greater(t, skip, 30)
			return
		}
		if _, statErr := cfg.FS.Stat(filepath.Join(cfg.Dir, journalName)); statErr == nil {
			require.Error(t, err)
			_, _, err := Open(cfg)
			require.ErrorContains(t, err, "a repair was interrupted")
			require.Equal(t, Damage, inspected(t, cfg).Worst())
		}
		repaired(t, cfg, false)
		require.Equal(t, Note, inspected(t, cfg).Worst())
		require.Len(t, everything(t, cfg), len(want)-2)
		require.NoError(t, cfg.FS.RemoveAll(cfg.Dir))
	}
}

// TestRepairInterruptedSwap repairs a log that was damaged, and whose compaction
// was interrupted while it replaced segments.
func TestRepairInterruptedSwap(t *testing.T) {
	interrupted := 0
	for n, done := 0, false; !done; n++ {
		l, fsys, cfg, _, c := keyedLog(t, 1)
		op := 0
		fsys.fail = func(string, string) error {
			if op++; op > n {
				return errors.New("no power")
			}
			return nil
		}
		_, _ = l.Compact(t.Context(), c, l.Swap)
		fsys.fail = nothingFails
		done = op <= n
		last := l.list()[l.Segments()-1].base
		_ = l.Close()
		if _, err := cfg.FS.Stat(filepath.Join(cfg.Dir, swapName)); err != nil {
			continue
		}
		interrupted++
		b := readFile(t, cfg.FS, logFile(cfg, last))
		b[70] ^= 1
		writeFile(t, cfg.FS, logFile(cfg, last), b)
		before := inspected(t, cfg)
		if before.Worst() < Damage {
			continue // it was behind what is durable, and is a torn tail
		}
		repaired(t, cfg, false)
		after := inspected(t, cfg)
		require.Equal(t, Note, after.Worst(), "%v", after.Findings)
		require.Equal(t, before.End, after.End)
		require.Equal(t, before.Records, after.Records)
		noLeftovers(t, cfg)
		require.NoError(t, readable(cfg))
	}
	require.Greater(t, interrupted, 3)
}

func FuzzJournal(f *testing.F) {
	j := journal{start: 7}
	j.replace("00000000000000000000.log")
	j.cut("00000000000000000008.log", 12)
	j.remove("00000000000000000000.index")
	f.Add(j.encode())
	f.Add([]byte("runnel repair 1\nstart 0\nremove ../x\nend\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := decodeJournal(b)
		if err != nil {
			require.ErrorIs(t, err, fault.CorruptMessage)
			return
		}
		for _, name := range append(j.removed, j.replaced...) {
			require.NotContains(t, name, "/")
		}
		again, err := decodeJournal(j.encode())
		require.NoError(t, err)
		require.Equal(t, j, again)
	})
}
