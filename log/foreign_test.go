package log

import (
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// oldFormat encodes a message as Kafka did before record batches.
func oldFormat(offset int64, version byte, value string) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(offset))
	b = append(b, make([]byte, 8)...) // length and checksum
	b = append(b, version, 0)
	if version == 1 {
		b = binary.BigEndian.AppendUint64(b, 1000)
	}
	b = binary.BigEndian.AppendUint32(b, 1<<32-1) // no key
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

// TestForeignLogs opens segments that Kafka wrote and that are no log of this
// format: opening says so and changes nothing.
func TestForeignLogs(t *testing.T) {
	for name, c := range map[string]struct {
		content []byte
		code    fault.Code
	}{
		"a gap before the last batch":  {append(batchOf(0, 0, 5, 40), batchOf(10, 0, 5, 40)...), fault.CorruptMessage},
		"a gap before the first batch": {batchOf(3, 0, 5, 40), fault.CorruptMessage},
		"format 0":                     {append(oldFormat(0, 0, "v"), oldFormat(1, 0, "")...), fault.UnsupportedFormat},
		"format 1":                     {oldFormat(0, 1, string(make([]byte, 2<<20))), fault.UnsupportedFormat},
		"format 1 after format 2":      {append(batchOf(0, 0, 5, 40), oldFormat(5, 1, "value")...), fault.UnsupportedFormat},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := memoryConfig()
			require.NoError(t, cfg.FS.MkdirAll(cfg.Dir))
			path := filepath.Join(cfg.Dir, "00000000000000000000.log")
			writeFile(t, cfg.FS, path, c.content)
			_, _, err := Open(cfg)
			require.ErrorIs(t, err, c.code)
			require.Equal(t, c.content, readFile(t, cfg.FS, path))
			if c.code == fault.CorruptMessage {
				require.ErrorContains(t, err, "Kafka's compaction")
			}
			if c.code == fault.UnsupportedFormat {
				_, err = Repair(t.Context(), cfg, RepairOptions{Stamp: "now"})
				require.ErrorIs(t, err, c.code)
				require.Equal(t, c.content, readFile(t, cfg.FS, path))
			}
		})
	}
}

// TestRepairOfGaps: offsets that compaction elsewhere has taken away are given up,
// and every batch stays.
func TestRepairOfGaps(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		cfg := memoryConfig()
		require.NoError(t, cfg.FS.MkdirAll(cfg.Dir))
		content := slices.Concat(batchOf(2, 0, 3, 40), batchOf(10, 0, 5, 40), batchOf(15, 0, 5, 40), batchOf(30, 0, 1, 40))
		writeFile(t, cfg.FS, filepath.Join(cfg.Dir, "00000000000000000000.log"), content)
		if sealed {
			writeFile(t, cfg.FS, filepath.Join(cfg.Dir, "00000000000000000040.log"), batchOf(40, 0, 2, 40))
		}
		_, err := Repair(t.Context(), cfg, RepairOptions{Stamp: "now"})
		require.NoError(t, err)
		l, r := open(t, cfg)
		require.Empty(t, r.Damage)
		var offsets []int64
		for next := int64(0); next < l.EndOffset(); {
			s, err := l.Read(next, l.EndOffset(), 1<<20, nil)
			require.NoError(t, err)
			for b := s.Bytes; len(b) > 0; {
				batch, err := record.Parse(b)
				require.NoError(t, err)
				offsets = append(offsets, offsetsOf(t, batch.Bytes)...)
				next, b = batch.NextOffset(), b[batch.Size():]
			}
		}
		want := []int64{2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 30}
		if sealed {
			want = append(want, 40, 41)
		}
		require.Equal(t, want, offsets)
	}
}
