package log

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

// FuzzOpen opens a directory in which any file may hold anything, reads all of
// it and appends. Whatever it serves has the right offsets; whatever it refuses,
// it refuses without touching the log files.
func FuzzOpen(f *testing.F) {
	cfg, bases := segmented(f)
	file := func(name string) []byte { return readFile(f, cfg.FS, filepath.Join(cfg.Dir, name)) }
	first, second := readFile(f, cfg.FS, logFile(cfg, bases[0])), readFile(f, cfg.FS, logFile(cfg, bases[1]))
	index, times := file("00000000000000000000.index"), file("00000000000000000000.timeindex")
	f.Add(first, second, index, times, file(epochName), file(checkpointName))
	f.Add(first, []byte(nil), index, times, file(epochName), []byte(nil))
	f.Add(first[:len(first)-1], second[:70], []byte(nil), []byte(nil), []byte("0\n1\n0 0\n"), []byte("RNLCHKPT"))
	f.Add([]byte(nil), []byte(nil), make([]byte, 80), make([]byte, 120), []byte(nil), make([]byte, 2*slotStride))
	f.Fuzz(func(t *testing.T, first, second, index, times, epochs, checkpoint []byte) {
		if len(checkpoint) >= slotLen { // past the checksum
			resum(checkpoint[:slotLen])
		}
		if len(checkpoint) >= slotStride+slotLen {
			resum(checkpoint[slotStride:][:slotLen])
		}
		cfg := memoryConfig()
		require.NoError(t, cfg.FS.MkdirAll(cfg.Dir))
		for name, b := range map[string][]byte{
			"00000000000000000000.log": first, "00000000000000000030.log": second,
			"00000000000000000000.index": index, "00000000000000000000.timeindex": times,
			epochName: epochs, checkpointName: checkpoint,
		} {
			writeFile(t, cfg.FS, filepath.Join(cfg.Dir, name), b)
		}
		before := logsIn(t, cfg)
		l, r, err := Open(cfg)
		if err != nil {
			require.Equal(t, before, logsIn(t, cfg))
			return
		}
		defer func() { require.NoError(t, l.Close()) }()
		require.LessOrEqual(t, r.Cut, int64(len(first)+len(second)))
		for offset, tries := l.StartOffset(), 0; offset < l.EndOffset() && tries < 100; tries++ {
			s, err := l.Read(offset, l.EndOffset(), 1_000, nil)
			if err != nil {
				offset++
				continue
			}
			require.NotEmpty(t, s.Bytes)
			h := headerOf(s.Bytes)
			require.LessOrEqual(t, h.BaseOffset, offset)
			offset = nextOf(s.Bytes)
		}
		_, _, _, _ = l.OffsetForTime(20_000)
		require.NoError(t, l.Append(batchOf(l.EndOffset(), 1<<30, 3, 10), nil))
	})
}

func FuzzCheckpoint(f *testing.F) {
	c := checkpoint{sequence: 7, clean: true, start: 1, segment: 2, pos: 3, offset: 4, sealed: 5, digest: 6}
	f.Add(c.encode())
	f.Add([]byte("RNLCHKPT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok, err := decodeCheckpoint(b)
		if len(b) >= slotLen && !ok && err == nil {
			b = bytes.Clone(b)
			copy(b, checkpointMagic)
			b[8], b[9] = 0, checkpointVersion
			resum(b[:slotLen])
			c, ok, err = decodeCheckpoint(b)
		}
		if !ok || err != nil {
			return
		}
		again, ok, err := decodeCheckpoint(c.encode())
		require.True(t, ok)
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}

func FuzzEpochs(f *testing.F) {
	f.Add([]byte("0\n2\n0 0\n7 100\n"))
	f.Add([]byte("0\n0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, ok := decodeEpochs(b)
		if !ok {
			return
		}
		again, ok := decodeEpochs(encodeEpochs(entries))
		require.True(t, ok)
		require.Equal(t, entries, again)
	})
}

// FuzzIndex looks offsets and times up in index files of any content.
func FuzzIndex(f *testing.F) {
	f.Add(make([]byte, 24), int64(0))
	f.Add(encodeOffsets([]offsetEntry{newOffsetEntry(5, 100), newOffsetEntry(9, 200)}), int64(7))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		fsys := vfs.NewMemory()
		writeFile(t, fsys, "index", b)
		p, err := loadPage(fsys, "index", at)
		require.NoError(t, err)
		require.LessOrEqual(t, len(p.entries), pageEntries+1)
		p.holds(at)
		floorOffset(p.entries, at)
		_, _, err = lastTime(fsys, "index", at)
		require.NoError(t, err)
	})
}

// FuzzDerived opens a log whose every file but the segments may hold anything, and
// behind whose durable bytes anything may stand. All that was durable is there,
// and no byte of it changes.
func FuzzDerived(f *testing.F) {
	cfg, bases := segmented(f)
	name := func(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }
	whole := map[string][]byte{}
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(f, err)
	for _, e := range entries {
		whole[e.Name] = readFile(f, cfg.FS, filepath.Join(cfg.Dir, e.Name))
	}
	last := bases[len(bases)-1]
	f.Add(whole[name(bases[0], indexSuffix)], whole[name(last, timeIndexSuffix)], whole[epochName], batchOf(150, 0, 3, 10), uint8(0))
	f.Add([]byte(nil), []byte(nil), []byte("0\n1\n5 0\n"), []byte{0}, uint8(1))
	f.Add([]byte("garbage"), make([]byte, 24), []byte("0\n2\n0 0\n7 149\n"), make([]byte, 100), uint8(2))
	f.Add(make([]byte, 800), make([]byte, 1200), []byte{0xff}, batchOf(151, 2, 3, 10), uint8(255))
	f.Fuzz(func(t *testing.T, index, times, epochs, tail []byte, without uint8) {
		cfg := Config{FS: vfs.NewMemory(), Dir: cfg.Dir, Topic: cfg.Topic, Partition: cfg.Partition, IndexInterval: 200, TailBytes: -1}
		require.NoError(t, cfg.FS.MkdirAll(cfg.Dir))
		for file, b := range whole {
			_, isIndex := parseName(file, indexSuffix)
			_, isTime := parseName(file, timeIndexSuffix)
			switch {
			case isIndex:
				b = index
			case isTime:
				b = times
			case file == epochName:
				b = epochs
			case file == name(last, logSuffix):
				b = append(bytes.Clone(b), tail...)
			}
			if without&1 == 1 && (isIndex || isTime) || without&2 == 2 && file == epochName {
				continue
			}
			writeFile(t, cfg.FS, filepath.Join(cfg.Dir, file), b)
		}
		l, r, err := Open(cfg)
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		require.Empty(t, r.Damage)
		require.GreaterOrEqual(t, l.EndOffset(), int64(150))
		if _, ok := decodeEpochs(epochs); ok && without&2 == 0 && !readsThrough(t, l) {
			// Epochs that are wrong, and no checksum tells: the batches have the others.
			require.NoError(t, l.Close())
			require.NoError(t, cfg.FS.Remove(filepath.Join(cfg.Dir, epochName)))
			l, _, err = Open(cfg)
			require.NoError(t, err)
		}
		require.True(t, readsThrough(t, l))
		at, _, ok, err := l.OffsetForTime(77_000)
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 77, at)
		for _, base := range bases {
			want := whole[name(base, logSuffix)]
			require.True(t, bytes.Equal(want, readFile(t, cfg.FS, filepath.Join(cfg.Dir, name(base, logSuffix)))[:len(want)]))
		}
	})
}

// readsThrough reads the first 150 offsets, in batches of five, and reports
// whether all are there.
func readsThrough(t *testing.T, l *Log) bool {
	buf := make([]byte, 4<<10)
	for from := int64(0); from < 150; from++ {
		s, err := l.Read(from, 150, len(buf), buf)
		if err != nil {
			require.ErrorIs(t, err, fault.CorruptMessage)
			require.ErrorContains(t, err, epochName)
			return false
		}
		require.Equal(t, from/5*5, headerOf(s.Bytes).BaseOffset)
		s.Release()
	}
	return true
}
