package log

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFlippedEpochs inverts each bit of each batch's leader epoch, which no checksum
// covers, in logs that start within a segment. Of the batches before the start the
// file of the leader epochs says nothing, and what is damaged there must not be
// held against the sound ones behind it. What is called damage is that batch alone,
// and a repair ends it.
func TestFlippedEpochs(t *testing.T) {
	for name, epochs := range map[string]func(offset int64) int32{
		"one epoch":     func(int64) int32 { return 0 },
		"several":       func(offset int64) int32 { return int32(offset / 5) },
		"new at start":  func(offset int64) int32 { return int32(offset / 10) },
		"behind it all": func(offset int64) int32 { return int32(offset / 14) },
	} {
		for _, trimmed := range []bool{false, true} { // the file begins at the log's start
			t.Run(fmt.Sprint(name, " trimmed=", trimmed), func(t *testing.T) {
				cfg := memoryConfig()
				l, _ := open(t, cfg)
				for o := range int64(16) {
					require.NoError(t, l.Append(batchOf(o, epochs(o), 1, 20), nil))
				}
				require.NoError(t, l.SetStart(10))
				require.NoError(t, l.Close())
				if trimmed {
					filed, ok := decodeEpochs(readFile(t, cfg.FS, cfg.Dir+"/"+epochName))
					require.True(t, ok)
					writeFile(t, cfg.FS, cfg.Dir+"/"+epochName, encodeEpochs(epochsFrom(filed, 10)))
				}
				want := everything(t, copyDir(t, cfg, "whole"))
				require.Len(t, want, 6)
				path := logFile(cfg, 0)
				raw := readFile(t, cfg.FS, path)
				size := len(raw) / 16
				for bit := range 16 * 32 {
					if n := bit % 32; !*every && n > 1 && n != 12 && n < 30 { // the lowest ones tell neighbours apart, the first one is the sign
						continue
					}
					what := fmt.Sprintf("bit %d of the leader epoch of batch %d", bit%32, bit/32)
					flipped := copyDir(t, cfg, "flipped")
					b := append([]byte(nil), raw...)
					b[bit/32*size+atEpoch+bit%32/8] ^= 0x80 >> (bit % 8)
					writeFile(t, flipped.FS, logFile(flipped, 0), b)

					batch := int64(bit / 32)
					named := []int64{batch}
					if batch < 10 {
						named = append(named, batch-1) // of two neighbours there, either may be it
					}
					found := inspected(t, flipped)
					for _, f := range found.Findings {
						if f.Grade > Note {
							require.Contains(t, named, f.Offset, "%s: %v", what, f)
						}
					}
					if batch >= 10 {
						require.Equal(t, Damage, found.Worst(), what)
					}
					steps := repaired(t, flipped, false)
					require.False(t, refused(steps), "%s: %v", what, steps)
					after := inspected(t, flipped)
					require.Equal(t, Note, after.Worst(), "%s: %v", what, after.Findings)
					require.Equal(t, want, everything(t, flipped), what)

					// Without its checkpoint a log is read from its first batch on.
					require.NoError(t, flipped.FS.Remove(flipped.Dir+"/"+checkpointName))
					require.Less(t, inspected(t, flipped).Worst(), Damage, what)
					require.NoError(t, cfg.FS.RemoveAll(flipped.Dir))
				}
			})
		}
	}
}

// A flipped leader epoch of the last batch before the log's start is found by the
// file of the leader epochs where the batch behind it, at the start, is damaged.
func TestFlippedEpochBesideDamage(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	appendN(t, l, 8, 1, 20)
	require.NoError(t, l.SetStart(4))
	require.NoError(t, l.Close())
	writeFile(t, cfg.FS, cfg.Dir+"/"+epochName, encodeEpochs([]EpochEntry{{Epoch: 0, Start: 4}}))
	b := readFile(t, cfg.FS, logFile(cfg, 0))
	size := len(b) / 8
	b[3*size+atEpoch] ^= 1
	b[5*size-1] ^= 1
	writeFile(t, cfg.FS, logFile(cfg, 0), b)
	for _, f := range inspected(t, cfg).Findings {
		require.Less(t, f.Offset, int64(5), "%v", f)
	}
	require.False(t, refused(repaired(t, cfg, false)))
	require.Equal(t, Note, inspected(t, cfg).Worst())
	got := everything(t, cfg)
	for o := int64(5); o < 8; o++ {
		require.Contains(t, got, o)
	}
}

// A first batch of a leader epoch that nothing can have, in a log of which only the
// segment is left, is damage and no panic, and a repair restores its header.
func TestOpenFirstBatchOfNoEpoch(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	appendN(t, l, 3, 1, 20)
	require.NoError(t, l.Close())
	left := cfg
	left.Dir = "left"
	require.NoError(t, cfg.FS.MkdirAll(left.Dir))
	b := readFile(t, cfg.FS, logFile(cfg, 0))
	b[atEpoch] ^= 0x80
	writeFile(t, cfg.FS, logFile(left, 0), b)

	require.Equal(t, Damage, inspected(t, left).Worst())
	l, _ = open(t, copyDir(t, left, "opened"))
	require.NoError(t, l.Close())
	require.False(t, refused(repaired(t, left, false)))
	l, found := open(t, left)
	require.Empty(t, found.Damage)
	readAll(t, l, 0)
	require.NoError(t, l.Close())
}

// A crash takes the first bytes of the first batch of an epoch: what no checksum covers.
// Its epoch may be that of the batch before or of the one behind. An unacknowledged batch
// is not brought back with a guess; between batches of one epoch there is nothing to guess.
func TestEpochIsNotGuessed(t *testing.T) {
	for _, newEpoch := range []bool{true, false} {
		t.Run(fmt.Sprint("new epoch=", newEpoch), func(t *testing.T) {
			cfg := memoryConfig()
			l, _ := open(t, cfg)
			appendN(t, l, 3, 1, 20)
			require.NoError(t, l.Sync())
			epoch := int32(0)
			if newEpoch {
				epoch = 1
			}
			size := int(l.Size())
			for o := int64(3); o < 6; o++ {
				require.NoError(t, l.Append(batchOf(o, epoch, 1, 20), nil))
			}
			crashed := copyDir(t, cfg, "crashed")
			require.NoError(t, l.Close())
			b := readFile(t, crashed.FS, logFile(crashed, 0))
			clear(b[size : size+17])
			writeFile(t, crashed.FS, logFile(crashed, 0), b)

			after, found := open(t, crashed)
			defer after.Close()
			if newEpoch {
				require.Empty(t, found.Restored)
				require.EqualValues(t, 3, after.EndOffset())
				return
			}
			require.Len(t, found.Restored, 1)
			require.EqualValues(t, 6, after.EndOffset())
		})
	}
}
