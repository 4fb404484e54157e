package log

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

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
