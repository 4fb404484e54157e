package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// crashed returns a log's directory as a process leaves it that is killed after
// some batches of five records were synced and some were not, and the batches in
// its only segment, behind which zeros stand.
func crashed(t testing.TB, synced, unsynced int) (cfg Config, file []byte) {
	t.Helper()
	cfg = memoryConfig()
	cfg.IndexInterval = 300
	l, _ := open(t, cfg)
	appendN(t, l, synced, 5, 40)
	require.NoError(t, l.Sync())
	if synced > 0 {
		require.NoError(t, l.writeCheckpoint(false))
	}
	appendN(t, l, unsynced, 5, 40)
	cfg = copyDir(t, cfg, "crashed")
	require.NoError(t, l.Close())
	file = readFile(t, cfg.FS, logFile(cfg, 0))
	require.Zero(t, torn(file[l.Size():]))
	return cfg, file[:l.Size():l.Size()]
}

func logFile(cfg Config, base int64) string {
	return filepath.Join(cfg.Dir, fmt.Sprintf("%020d.log", base))
}

// TestTornTail cuts the last batch off at every byte, and puts zeros, ones or
// old bytes in the place of what was cut, with and without zeros behind them.
func TestTornTail(t *testing.T) {
	cfg, file := crashed(t, 4, 3)
	last := len(file) * 6 / 7
	for cut := last; cut < len(file); cut++ {
		for name, rest := range map[string][]byte{
			"nothing":        nil,
			"zeros":          make([]byte, len(file)-cut),
			"ones":           filled(0xff, len(file)-cut),
			"old":            file[:len(file)-cut],
			"more zeros":     make([]byte, 5000),
			"ones and zeros": append(filled(0xff, len(file)-cut), make([]byte, 5000)...),
		} {
			left := append(file[:cut:cut], rest...)
			if bytes.HasPrefix(left, file) {
				continue // the file ended with such bytes anyway
			}
			writeFile(t, cfg.FS, logFile(cfg, 0), left)
			l, r, err := Open(copyDir(t, cfg, "opened"))
			require.NoError(t, err, "%d, %s", cut, name)
			require.EqualValues(t, 30, l.EndOffset(), "%d, %s", cut, name)
			require.EqualValues(t, 30, l.SyncedOffset())
			require.False(t, r.Clean)
			require.EqualValues(t, 2, r.Batches)
			require.Equal(t, torn(left[last:]), r.Cut)
			require.Equal(t, r.Cut > 0, r.Reason != "")
			require.Empty(t, r.Damage)
			require.Len(t, readFile(t, cfg.FS, logFile(Config{Dir: "opened"}, 0)), last)
			appendN(t, l, 1, 5, 40)
			readAll(t, l, 0)
			require.NoError(t, l.Close())
			require.NoError(t, cfg.FS.RemoveAll("opened"))
		}
	}
}

func filled(b byte, n int) []byte {
	all := make([]byte, n)
	for i := range all {
		all[i] = b
	}
	return all
}

// TestFlippedBit flips every bit of a small log, opens it and reads it through.
// Below the synced position that is corruption with the right position; above
// it, the tail is torn there. Nothing is ever served that was not written. Zeros
// that stand behind the batches change nothing, and their flips are found, too.
func TestFlippedBit(t *testing.T) {
	t.Run("batches", func(t *testing.T) { testFlippedBit(t, 0) })
	t.Run("and zeros", func(t *testing.T) { testFlippedBit(t, 100) })
}

func testFlippedBit(t *testing.T, zeros int) {
	cfg, file := crashed(t, 2, 2)
	size := len(file) / 4
	file = append(file, make([]byte, zeros)...)
	for bit := range 8 * len(file) {
		flipped := append([]byte(nil), file...)
		flipped[bit/8] ^= 1 << (bit % 8)
		batch := min(bit/8/size, 4)
		at := bit / 8 % size
		if batch == 3 && at >= 12 && at < 16 {
			continue // a leader epoch that nothing contradicts yet
		}
		writeFile(t, cfg.FS, logFile(cfg, 0), flipped)
		opened := copyDir(t, cfg, "opened")
		l, r, err := Open(opened)
		require.NoError(t, err)
		require.Empty(t, r.Damage)
		if batch < 2 {
			require.Zero(t, r.Cut)
			require.EqualValues(t, 20, l.EndOffset())
			require.Equal(t, flipped[:4*size], readFile(t, cfg.FS, logFile(opened, 0)), "evidence is kept")
		} else if batch == 2 && at < crcFrom { // its checksum and the batch behind it say what it was
			require.Len(t, r.Restored, 1)
			require.Zero(t, r.Cut)
			require.EqualValues(t, 20, l.EndOffset())
			require.Equal(t, file[:4*size], readFile(t, cfg.FS, logFile(opened, 0)))
			batch = 4
		} else {
			require.Equal(t, torn(flipped[batch*size:]), r.Cut)
			require.Positive(t, r.Cut)
			require.EqualValues(t, 5*batch, l.EndOffset())
		}
		for from := int64(0); from < l.EndOffset(); from += 5 {
			s, err := l.Read(from, l.EndOffset(), 1, nil)
			if int(from) != 5*batch {
				require.NoError(t, err, "bit %d of byte %d, offset %d", bit%8, bit/8, from)
				require.Equal(t, file[int(from)/5*size:][:size], s.Bytes)
				continue
			}
			var damage *fault.Corruption
			require.ErrorAs(t, err, &damage, "bit %d of byte %d", bit%8, bit/8)
			require.Equal(t, logFile(opened, 0), damage.File)
			require.EqualValues(t, batch*size, damage.Pos)
			require.EqualValues(t, 5*batch, damage.Offset)
		}
		require.NoError(t, l.Close())
		require.NoError(t, cfg.FS.RemoveAll("opened"))
	}
}

// TestSyncedBytesMissing opens a log whose file is shorter than what was
// durable.
func TestSyncedBytesMissing(t *testing.T) {
	cfg, file := crashed(t, 4, 0)
	for cut := range len(file) {
		writeFile(t, cfg.FS, logFile(cfg, 0), file[:cut])
		_, _, err := Open(cfg)
		var damage *fault.Corruption
		require.ErrorAs(t, err, &damage)
		require.EqualValues(t, cut, damage.Pos)
		require.Equal(t, logFile(cfg, 0), damage.File)
		require.Len(t, readFile(t, cfg.FS, logFile(cfg, 0)), cut)
	}
	require.NoError(t, cfg.FS.Remove(logFile(cfg, 0)))
	_, _, err := Open(cfg)
	require.ErrorIs(t, err, fault.CorruptMessage)
}

// TestWithoutCheckpoint opens a log of which it is unknown how much was durable.
func TestWithoutCheckpoint(t *testing.T) {
	cfg, file := crashed(t, 3, 3)
	require.NoError(t, cfg.FS.Remove(filepath.Join(cfg.Dir, checkpointName)))
	size := len(file) / 6
	for byteAt := range file {
		if at := byteAt % size; at >= 12 && at < 16 {
			continue // a leader epoch that only its successor contradicts
		}
		flipped := append([]byte(nil), file...)
		flipped[byteAt] ^= 0x10
		writeFile(t, cfg.FS, logFile(cfg, 0), flipped)
		opened := copyDir(t, cfg, "opened")
		l, r, err := Open(opened)
		if batch := byteAt / size; batch < 5 || byteAt%size < crcFrom {
			// A sound batch follows, or stands there with a higher offset or under a header
			// that can be restored, so this cannot be a torn tail.
			var damage *fault.Corruption
			require.ErrorAs(t, err, &damage, "byte %d", byteAt)
			require.EqualValues(t, batch*size, damage.Pos)
			require.Equal(t, flipped, readFile(t, cfg.FS, logFile(opened, 0)))
		} else {
			require.NoError(t, err)
			require.EqualValues(t, 25, l.EndOffset())
			require.Equal(t, torn(flipped[5*size:]), r.Cut)
			readAll(t, l, 0)
			require.NoError(t, l.Close())
		}
		require.NoError(t, cfg.FS.RemoveAll("opened"))
	}
}

// TestTornCheckpoint damages the checkpoint file at every byte: the slot before
// it serves, or the log is of unknown extent, and nothing is lost.
func TestTornCheckpoint(t *testing.T) {
	cfg, _ := crashed(t, 3, 2)
	name := filepath.Join(cfg.Dir, checkpointName)
	sound := readFile(t, cfg.FS, name)
	for at := range sound {
		if at >= slotLen && at < slotStride {
			continue
		}
		damaged := append([]byte(nil), sound...)
		damaged[at] ^= 0x04
		writeFile(t, cfg.FS, name, damaged)
		l, r, err := Open(copyDir(t, cfg, "opened"))
		require.NoError(t, err, "byte %d", at)
		require.Zero(t, r.Cut)
		require.EqualValues(t, 25, l.EndOffset())
		readAll(t, l, 0)
		require.NoError(t, l.Close())
		require.NoError(t, cfg.FS.RemoveAll("opened"))
	}
	newer := checkpoint{sequence: 99}
	b := newer.encode()
	b[9] = 2 // the version
	resum(b)
	writeFile(t, cfg.FS, name, append(sound[:slotStride:slotStride], b...))
	_, _, err := Open(cfg)
	require.ErrorIs(t, err, fault.UnsupportedFormat)
}

// segmented returns a closed log of several segments, and their base offsets.
func segmented(t testing.TB) (Config, []int64) {
	t.Helper()
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes = 2_000, 200, -1
	l, _ := open(t, cfg)
	appendN(t, l, 30, 5, 40)
	var bases []int64
	for _, s := range l.list() {
		bases = append(bases, s.base)
	}
	require.Greater(t, len(bases), 3)
	require.NoError(t, l.Close())
	return cfg, bases
}

// TestSegmentFiles takes, shortens, lengthens, renames and doubles segment
// files of a log that was closed in order. Opening tells what is wrong with
// which file, everything else stays readable, and no file is touched.
func TestSegmentFiles(t *testing.T) {
	original, bases := segmented(t)
	first, second, third := bases[0], bases[1], bases[2]
	tests := map[string]struct {
		change  func(t *testing.T, cfg Config)
		file    int64 // the base of the one that is named
		missing [2]int64
	}{
		"one is missing": {
			func(t *testing.T, cfg Config) { require.NoError(t, cfg.FS.Remove(logFile(cfg, second))) },
			first,
			[2]int64{second, third},
		},
		"the first is missing": {
			func(t *testing.T, cfg Config) { require.NoError(t, cfg.FS.Remove(logFile(cfg, first))) },
			first,
			[2]int64{first, second},
		},
		"one is empty": {
			func(t *testing.T, cfg Config) { writeFile(t, cfg.FS, logFile(cfg, second), nil) },
			second,
			[2]int64{second, third},
		},
		"one is cut at a batch": {
			func(t *testing.T, cfg Config) {
				b := readFile(t, cfg.FS, logFile(cfg, second))
				writeFile(t, cfg.FS, logFile(cfg, second), b[:2*sizeOf(b)])
			},
			second,
			[2]int64{second + 10, third},
		},
		"one is cut within a batch": {
			func(t *testing.T, cfg Config) {
				b := readFile(t, cfg.FS, logFile(cfg, second))
				writeFile(t, cfg.FS, logFile(cfg, second), b[:2*sizeOf(b)+70])
			},
			second,
			[2]int64{second + 10, third},
		},
		"one is longer": {
			func(t *testing.T, cfg Config) {
				b := readFile(t, cfg.FS, logFile(cfg, second))
				writeFile(t, cfg.FS, logFile(cfg, second), append(b, b[:100]...))
			},
			second,
			[2]int64{},
		},
		"one has another's name": {
			func(t *testing.T, cfg Config) {
				require.NoError(t, cfg.FS.Rename(logFile(cfg, second), logFile(cfg, second+1)))
			},
			first,
			[2]int64{second, third},
		},
		"one is there twice": {
			func(t *testing.T, cfg Config) {
				writeFile(t, cfg.FS, logFile(cfg, second+5), readFile(t, cfg.FS, logFile(cfg, second)))
			},
			second,
			[2]int64{second + 5, third},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := copyDir(t, original, "damaged")
			defer func() { require.NoError(t, cfg.FS.RemoveAll(cfg.Dir)) }()
			test.change(t, cfg)
			before := logsIn(t, cfg)
			for range 2 { // the second time, too
				l, r, err := Open(cfg)
				require.NoError(t, err)
				require.False(t, r.Clean)
				require.NotEmpty(t, r.Damage)
				var damage *fault.Corruption
				require.ErrorAs(t, r.Damage[0], &damage)
				require.Equal(t, logFile(cfg, test.file), damage.File)
				require.EqualValues(t, 0, l.StartOffset())
				require.EqualValues(t, 150, l.EndOffset())
				for from := int64(0); from < 150; from += 5 {
					s, err := l.Read(from, 150, 1, nil)
					if from >= test.missing[0] && from < test.missing[1] {
						require.ErrorAs(t, err, &damage, "offset %d", from)
						require.LessOrEqual(t, damage.Offset, from)
						require.GreaterOrEqual(t, damage.Offset, test.missing[0])
						continue
					}
					require.NoError(t, err, "offset %d", from)
					require.Equal(t, from, offsetsOf(t, s.Bytes)[0])
				}
				require.NoError(t, l.Close())
				require.Equal(t, before, logsIn(t, cfg))
			}
		})
	}
}

func logsIn(t testing.TB, cfg Config) map[string]string {
	t.Helper()
	logs := make(map[string]string)
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		if _, ok := parseName(e.Name, logSuffix); ok {
			logs[e.Name] = string(readFile(t, cfg.FS, filepath.Join(cfg.Dir, e.Name)))
		}
	}
	return logs
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	cfg, _ := segmented(t)
	names := []string{
		"notes.txt", "1.log", "0000000000000000000x.log", "99999999999999999999.log", "00000000000000000000.log.bak",
		"99999999999999999999.txnindex", "00000000000000000000.snapshot.bak", "partition.metadata", "runnel-checkpoint.tmp",
	}
	for _, name := range names {
		writeFile(t, cfg.FS, filepath.Join(cfg.Dir, name), []byte(name))
	}
	require.NoError(t, cfg.FS.MkdirAll(filepath.Join(cfg.Dir, "00000000000000000007.log")))
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	appendN(t, l, 30, 5, 40)
	require.NoError(t, l.SetStart(150))
	readAll(t, l, 150)
	require.NoError(t, l.Close())
	for _, name := range names {
		require.Equal(t, name, string(readFile(t, cfg.FS, filepath.Join(cfg.Dir, name))))
	}
}

// TestIndexFiles takes, empties, cuts and garbles index files. They are derived:
// reading and searching by time answer as before.
func TestIndexFiles(t *testing.T) {
	original, bases := segmented(t)
	damages := map[string]func(t *testing.T, fsys vfs.FS, name string){
		"missing": func(t *testing.T, fsys vfs.FS, name string) { require.NoError(t, fsys.Remove(name)) },
		"cut": func(t *testing.T, fsys vfs.FS, name string) {
			b := readFile(t, fsys, name)
			writeFile(t, fsys, name, b[:len(b)-3])
		},
		"zeros": func(t *testing.T, fsys vfs.FS, name string) {
			writeFile(t, fsys, name, make([]byte, len(readFile(t, fsys, name))))
		},
		"ones": func(t *testing.T, fsys vfs.FS, name string) {
			writeFile(t, fsys, name, filled(0xff, len(readFile(t, fsys, name))))
		},
		"shifted": func(t *testing.T, fsys vfs.FS, name string) {
			b := readFile(t, fsys, name)
			for i := range b {
				b[i] += byte(i)
			}
			writeFile(t, fsys, name, b)
		},
	}
	for name, damage := range damages {
		for _, suffix := range []string{indexSuffix, timeIndexSuffix} {
			for _, base := range bases {
				t.Run(fmt.Sprintf("%s/%d%s", name, base, suffix), func(t *testing.T) {
					cfg := copyDir(t, original, "damaged")
					defer func() { require.NoError(t, cfg.FS.RemoveAll(cfg.Dir)) }()
					damage(t, cfg.FS, filepath.Join(cfg.Dir, fmt.Sprintf("%020d%s", base, suffix)))
					l, r := open(t, cfg)
					require.True(t, r.Clean)
					if name == "missing" || name == "cut" {
						require.Equal(t, 1, r.Indexes)
					}
					for from := int64(149); from >= 0; from-- {
						s, err := l.Read(from, 150, 1, nil)
						require.NoError(t, err)
						require.Contains(t, offsetsOf(t, s.Bytes), from)
						got, _, ok, err := l.OffsetForTime(from*1000 - 1)
						require.NoError(t, err)
						require.True(t, ok)
						require.Equal(t, from, got)
					}
					readAll(t, l, 0)
					appendN(t, l, 10, 5, 40)
					readAll(t, l, 0)
				})
			}
		}
	}
}

func TestEpochsBeginWhereTheySay(t *testing.T) {
	entries := []EpochEntry{{2, 5}, {4, 9}, {7, 12}}
	for offset, want := range map[int64]int32{4: record.NoLeaderEpoch, 5: 2, 8: 2, 9: 4, 11: 4, 12: 7, 100: 7} {
		require.Equal(t, want, epochAt(entries, offset), "at %d", offset)
	}
}

func TestEpochFile(t *testing.T) {
	original := memoryConfig()
	l, _ := open(t, original)
	for epoch, base := range []int64{0, 5, 10} {
		require.NoError(t, l.Append(batchOf(base, int32(epoch*2), 5, 10), nil))
	}
	require.NoError(t, l.Close())
	want := []EpochEntry{{0, 0}, {2, 5}, {4, 10}}
	require.Equal(t, "0\n3\n0 0\n2 5\n4 10\n", string(readFile(t, original.FS, filepath.Join(original.Dir, epochName))))
	for _, content := range []string{
		"", "0", "0\n", "1\n0\n", "0\n3\n0 0\n2 5\n", "0\n2\n2 5\n0 0\n", "0\n1\n0 0\nrest", "0\n1\n-1 0\n",
		"0\n1\n0 0 0\n", "0\n1\n99999999999 0\n", "0\n-1\n", "0\n3\n0 0\n2 5\n4 10\n\n",
	} {
		cfg := copyDir(t, original, "damaged")
		writeFile(t, cfg.FS, filepath.Join(cfg.Dir, epochName), []byte(content))
		l, _ := open(t, cfg)
		require.Equal(t, want, l.Epochs(), "%q", content)
		require.NoError(t, l.Close())
		require.Equal(t, "0\n3\n0 0\n2 5\n4 10\n", string(readFile(t, cfg.FS, filepath.Join(cfg.Dir, epochName))))
	}
}

// TestInterruptedRoll leaves out the last steps of rolling, one by one.
func TestInterruptedRoll(t *testing.T) {
	cfg := memoryConfig()
	cfg.IndexInterval = 100
	l, _ := open(t, cfg)
	appendN(t, l, 10, 5, 40)
	require.NoError(t, l.Sync())
	require.NoError(t, l.writeCheckpoint(false))
	before := copyDir(t, cfg, "before")
	require.NoError(t, l.roll())
	after := copyDir(t, cfg, "after")
	require.NoError(t, l.Close())

	checkpointOf := func(cfg Config) string { return filepath.Join(cfg.Dir, checkpointName) }
	writeFile(t, cfg.FS, checkpointOf(after), readFile(t, cfg.FS, checkpointOf(before)))
	l, r := open(t, after) // the successor exists, the checkpoint names the segment before
	require.False(t, r.Clean)
	require.Empty(t, r.Damage)
	require.EqualValues(t, 50, l.EndOffset())
	require.Equal(t, 2, l.Segments())
	readAll(t, l, 0)
	require.NoError(t, l.Close())

	writeFile(t, cfg.FS, filepath.Join(before.Dir, "00000000000000000000.index"), []byte("half-written"))
	l, r = open(t, before) // only its index had begun to be completed
	require.EqualValues(t, 50, l.EndOffset())
	require.Equal(t, 1, r.Indexes)
	readAll(t, l, 0)
}

// TestInterruptedDeletion keeps files that SetStart was about to delete.
func TestInterruptedDeletion(t *testing.T) {
	cfg, bases := segmented(t)
	files := make(map[string][]byte)
	for _, base := range bases[:2] {
		for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix} {
			name := filepath.Join(cfg.Dir, fmt.Sprintf("%020d%s", base, suffix))
			files[name] = readFile(t, cfg.FS, name)
		}
	}
	l, _ := open(t, cfg)
	require.NoError(t, l.SetStart(bases[2]+3))
	require.NoError(t, l.Close())
	for name, b := range files {
		_, err := cfg.FS.Stat(name)
		require.True(t, errors.Is(err, errNotExist), "%s: %v", name, err)
		writeFile(t, cfg.FS, name, b)
	}
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	require.Equal(t, len(bases)-2, r.Segments)
	require.Equal(t, bases[2]+3, l.StartOffset())
	for name := range files {
		_, err := cfg.FS.Stat(name)
		require.True(t, errors.Is(err, errNotExist), "%s: %v", name, err)
	}
	readAll(t, l, bases[2]+3)
}

// TestDamagedLength claims a batch as long as the rest of a large file: neither
// opening nor reading allocates that much.
func TestDamagedLength(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	appendN(t, l, 1, 5, 40)
	size := l.Size()
	for l.Size() < 32<<20 {
		appendN(t, l, 1, 10, 400_000)
	}
	require.NoError(t, l.Close())
	f, err := cfg.FS.OpenFile(logFile(cfg, 0), os.O_RDWR)
	require.NoError(t, err)
	b := make([]byte, 12)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	buf := make([]byte, 5<<20)
	for _, length := range []int64{31 << 20, math.MaxInt32 - 12, math.MaxInt32} {
		binary.BigEndian.PutUint32(b[8:], uint32(length))
		_, err = f.WriteAt(b, 0)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l, _ := open(t, cfg)
		_, err = l.Read(0, l.EndOffset(), 1_000, nil)
		require.ErrorIs(t, err, fault.CorruptMessage)
		_, err = l.Read(6, l.EndOffset(), 1_000, buf)
		require.NoError(t, err, "what lies behind the damage is read")
		require.NoError(t, l.Close())
		require.NoError(t, cfg.FS.Remove(filepath.Join(cfg.Dir, checkpointName)))
		_, _, err = Open(cfg)
		require.ErrorIs(t, err, fault.CorruptMessage)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(12<<20))

		binary.BigEndian.PutUint32(b[8:], uint32(size-12)) // as it was, with a new checkpoint
		_, err = f.WriteAt(b, 0)
		require.NoError(t, err)
		l, _ = open(t, cfg)
		require.NoError(t, l.Close())
	}
}

// TestCleanOpenReadsNoLog opens a log whose segments cannot be opened.
func TestCleanOpenReadsNoLog(t *testing.T) {
	cfg, _ := segmented(t)
	fsys := &failing{FS: cfg.FS, fail: failOn("open", logSuffix, errors.New("no"))}
	cfg.FS = fsys
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	require.EqualValues(t, 150, l.EndOffset())
	require.NoError(t, l.Close())
	fsys.fail = nothingFails
	l, r = open(t, cfg)
	require.True(t, r.Clean)
	readAll(t, l, 0)
}
