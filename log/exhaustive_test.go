package log

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

// overwrite makes a file hold b, of which the first same bytes are in it already.
func overwrite(t testing.TB, fsys vfs.FS, path string, b []byte, same int64) {
	t.Helper()
	f, err := fsys.OpenFile(path, os.O_RDWR)
	require.NoError(t, err)
	_, err = f.WriteAt(b[same:], same)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(len(b))))
	require.NoError(t, f.Close())
}

// lengthen makes a file so long, with zeros.
func lengthen(t testing.TB, fsys vfs.FS, path string, size int64) {
	t.Helper()
	f, err := fsys.OpenFile(path, os.O_RDWR)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
}

// TestEveryPrefix cuts off a segment at each of its last 65,536 bytes, opens it
// and reads it through. Where synced bytes are missing that is damage at the
// cut; elsewhere the batches before the cut survive, all of them. So they do with
// zeros in the place of what was cut off.
func TestEveryPrefix(t *testing.T) {
	t.Run("nothing behind", func(t *testing.T) { testEveryPrefix(t, 0) })
	t.Run("zeros behind", func(t *testing.T) { testEveryPrefix(t, 700) })
}

func testEveryPrefix(t *testing.T, zeros int64) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	for l.Size() < 20<<10 {
		appendN(t, l, 1, 3, 200)
	}
	require.NoError(t, l.Sync())
	require.NoError(t, l.writeCheckpoint(false))
	synced := l.Size()
	ends, bases := []int64{synced}, []int64{l.EndOffset()} // where batches that were not synced may be cut off, and the offsets there
	for l.Size() < 70<<10 {
		appendN(t, l, 1, 3, 500)
		ends, bases = append(ends, l.Size()), append(bases, l.EndOffset())
	}
	cfg = copyDir(t, cfg, "crashed")
	require.NoError(t, l.Close())
	path, checkpoint := logFile(cfg, 0), filepath.Join(cfg.Dir, checkpointName)
	file, saved := readFile(t, cfg.FS, path), readFile(t, cfg.FS, checkpoint)

	buf := make([]byte, len(file))
	last := len(ends) - 1
	for cut := int64(len(file)); cut > int64(len(file))-65536; cut -= int64(unlessRaced(1, 31)) {
		if cut < synced && zeros > 0 {
			break // batches that are damaged, not missing: TestFlippedBit
		}
		whole := cut // bytes of batches, if zeros stand for those that are zero anyway
		for zeros > 0 && whole < int64(len(file)) && file[whole] == 0 {
			whole++
		}
		for last > 0 && ends[last] > whole {
			last--
		}
		overwrite(t, cfg.FS, path, file[:cut], min(ends[last], cut))
		lengthen(t, cfg.FS, path, cut+zeros)
		overwrite(t, cfg.FS, checkpoint, saved, 0)
		l, r, err := Open(cfg)
		if cut < synced {
			var damage *fault.Corruption
			require.ErrorAs(t, err, &damage)
			require.Equal(t, cut, damage.Pos)
			require.Equal(t, path, damage.File)
			continue
		}
		if err != nil || l.EndOffset() != bases[last] || r.Cut != torn(file[ends[last]:max(cut, ends[last])]) || len(r.Damage) > 0 {
			t.Fatalf("cut at %d: ends at %v instead of %d: %+v, %v", cut, l.EndOffset(), bases[last], r, err)
		}
		s, err := l.Read(0, l.EndOffset(), len(buf), buf)
		if err != nil || string(s.Bytes) != string(file[:ends[last]]) {
			t.Fatalf("cut at %d: %d bytes read of %d: %v", cut, len(s.Bytes), ends[last], err)
		}
		l.discard()
	}
}

// TestPlausibleFlips counts the flips of a bit that go unnoticed, in a log of
// four batches of two leader epochs, of which two batches are synced. They lie
// in leader epochs, outside of the checksum, that nothing else contradicts, and
// leave every record as it was. docs/durability.md lists them.
func TestPlausibleFlips(t *testing.T) {
	original := memoryConfig()
	l, _ := open(t, original)
	require.NoError(t, l.Append(batchOf(0, 1, 5, 40), nil))
	require.NoError(t, l.Append(batchOf(5, 3, 5, 40), nil))
	require.NoError(t, l.Sync())
	require.NoError(t, l.writeCheckpoint(false))
	require.NoError(t, l.Append(batchOf(10, 3, 5, 40), nil))
	require.NoError(t, l.Append(batchOf(15, 3, 5, 40), nil))
	original = copyDir(t, original, "crashed")
	require.NoError(t, l.Close())
	file := readFile(t, original.FS, logFile(original, 0))
	batches := int(l.Size()) // zeros stand behind them
	require.Less(t, batches, len(file))
	size := batches / 4

	for _, test := range []struct {
		name    string
		remove  []string
		batches map[int]int // unnoticed flips, by batch
	}{
		{"checkpoint there", nil, map[int]int{3: 29}},
		{"checkpoint missing", []string{checkpointName}, map[int]int{3: 29}},
		{"checkpoint and epochs missing", []string{checkpointName, epochName}, map[int]int{0: 3, 1: 2, 3: 29}},
	} {
		t.Run(test.name, func(t *testing.T) {
			unnoticed := map[int]int{}
			for bit := range 8 * (batches + 16) {
				cfg := copyDir(t, original, "opened")
				for _, name := range test.remove {
					require.NoError(t, cfg.FS.Remove(filepath.Join(cfg.Dir, name)))
				}
				flipped := append([]byte(nil), file...)
				flipped[bit/8] ^= 1 << (bit % 8)
				writeFile(t, cfg.FS, logFile(cfg, 0), flipped)
				l, r, err := Open(cfg)
				if err == nil && r.Cut == 0 && len(r.Damage)+len(r.Restored) == 0 {
					if s, err := l.Read(0, l.EndOffset(), len(file), nil); err == nil && len(s.Bytes) == batches {
						at := bit / 8 % size
						require.True(t, at >= 12 && at < 16, "byte %d of batch %d", at, bit/8/size)
						require.Len(t, offsetsOf(t, s.Bytes), 20)
						unnoticed[bit/8/size]++
					}
				}
				if err == nil {
					require.NoError(t, l.Close())
				}
				require.NoError(t, cfg.FS.RemoveAll(cfg.Dir))
			}
			require.Equal(t, test.batches, unnoticed)
		})
	}
}
