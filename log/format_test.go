package log

import (
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKafkaMindsNoName holds our own files' names against Kafka's parsers: it
// takes the first twenty characters, or all before the first dot, of a name
// that ends in one of its own ways for an offset, and dies of one that is none.
func TestKafkaMindsNoName(t *testing.T) {
	for _, name := range []string{checkpointName, swapName, journalName, epochName, "00000000000000000007.log" + damagedSuffix + "20261126T113811Z", "00000000000000000007.log" + repairedSuffix} {
		for _, name := range []string{name, name + ".tmp"} {
			require.NotContains(t, []string{
				".checkpoint", ".part", ".deleted", ".swap", ".cleaned", ".log", ".index", ".timeindex", ".txnindex", ".snapshot",
			}, filepath.Ext(name), name)
		}
	}
}

// TestFormat holds every file of a log against the bytes that docs/format.md
// states.
func TestFormat(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.IndexInterval = 700, 300
	l, _ := open(t, cfg)
	var batches []byte
	for i := range int64(7) { // 172 bytes each: two segments
		b := batchOf(i*2, int32(i/4), 2, 48)
		require.Len(t, b, 172)
		require.NoError(t, l.Append(b, nil))
		batches = append(batches, b...)
	}
	require.NoError(t, l.SetStart(1))
	require.NoError(t, l.Close())

	file := func(name string) []byte { return readFile(t, cfg.FS, filepath.Join(cfg.Dir, name)) }
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	require.Equal(t, []string{
		"00000000000000000000.index", "00000000000000000000.log", "00000000000000000000.timeindex",
		"00000000000000000008.index", "00000000000000000008.log", "00000000000000000008.timeindex",
		"leader-epoch-checkpoint", "runnel-checkpoint",
	}, names)
	require.Equal(t, batches[:4*172], file("00000000000000000000.log"))
	require.Equal(t, batches[4*172:], file("00000000000000000008.log"))

	// The third batch ends with offset 5 and begins at 344, the last one of the
	// sealed segment has the largest timestamp, offset 7 at 7000 ms.
	require.Equal(t, "00000005"+"00000158", hex.EncodeToString(file("00000000000000000000.index")))
	require.Equal(t, "0000000000001388"+"00000005"+"0000000000001b58"+"00000007", hex.EncodeToString(file("00000000000000000000.timeindex")))
	require.Equal(t, "00000005"+"00000158", hex.EncodeToString(file("00000000000000000008.index")))
	require.Equal(t, "00000000000032c8"+"00000005", hex.EncodeToString(file("00000000000000000008.timeindex")))
	require.Equal(t, "0\n2\n0 0\n1 8\n", string(file("leader-epoch-checkpoint")))

	// Checkpoints: the first append (1), the roll (2), SetStart (3), Close (4).
	slots := file("runnel-checkpoint")
	require.Len(t, slots, 4096+128)
	slot := slots[:128]
	want := "524e4c43484b5054" + "0001" + "0001" + "00000001" +
		"0000000000000004" + // number
		"0000000000000001" + // start
		"0000000000000008" + // segment
		"0000000000000204" + // position
		"000000000000000e" + // offset
		"0000000000002328" + // first timestamp: 9000
		"00000000000032c8" + // largest: 13000
		"000000000000000d" + // of offset 13
		"00000000000000ac" // bytes since the last entry
	require.Equal(t, want, hex.EncodeToString(slot[:88]))
	require.Equal(t, "0000000100000001", hex.EncodeToString(slot[96:104]))
	require.Equal(t, make([]byte, 12), slot[112:124])
	require.Equal(t, digest(0, 4*172), c64(slot[88:]))
	require.Equal(t, crcOf(file("00000000000000000008.index")), c32(slot[104:]))
	require.Equal(t, crcOf(file("00000000000000000008.timeindex")), c32(slot[108:]))
	require.Equal(t, crcOf(slot[:124]), c32(slot[124:]))
	require.EqualValues(t, 3, c64(slots[4096+16:]))
}
