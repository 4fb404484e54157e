package keyindex

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// searchBytes opens a file of these bytes, whose name is made to fit, and finds a hash.
func searchBytes(b []byte, hash uint64) ([]int64, error) {
	fsys := vfs.NewMemory()
	name := (&header{from: 0, to: 1}).name()
	if h, ok := parseHeader(b); ok {
		name = h.name()
	}
	f, err := fsys.OpenFile(filepath.Join("/", name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, err
	}
	r, err := openRun(fsys, "/", name)
	if err != nil {
		return nil, err
	}
	defer r.release()
	if _, _, err := r.lastBefore(hash, 1<<40); err != nil {
		return nil, err
	}
	return r.offsets(nil, hash, 0, 1000)
}

// runOf returns the bytes of a run of entries, by hash.
func runOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	fsys := vfs.NewMemory()
	w, err := newRunWriter(fsys, "/", header{seed: 7, from: 0, to: int64(len(entries)) + 1, epoch: 2})
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, w.add(e))
	}
	r, err := w.finish()
	require.NoError(t, err)
	defer r.release()
	b, err := vfs.ReadFile(fsys, r.path, 1<<30)
	require.NoError(t, err)
	return b
}

// many returns n entries, three of each hash.
func many(n int) (all []entry) {
	for i := range n {
		all = append(all, entry{uint64(i/3) * (^uint64(0) / uint64(n/3+1)), int64(i)})
	}
	return all
}

func TestSearch(t *testing.T) {
	for _, n := range []int{0, 1, 3, perPage, perPage + 1, 10_000} {
		entries := many(n)
		b := runOf(t, entries...)
		require.Len(t, b, headerLen+(n+perPage-1)/perPage*pageLen)
		for i := 0; i < n; i += 1 + n/500 {
			first := i / 3 * 3
			var want []int64
			for j := first; j < min(first+3, n); j++ {
				want = append(want, int64(j))
			}
			got, err := searchBytes(b, entries[i].hash)
			require.NoError(t, err)
			require.Equal(t, want, got)
			got, err = searchBytes(b, entries[i].hash+1)
			require.NoError(t, err)
			require.Empty(t, got)
		}
		got, err := searchBytes(b, ^uint64(0))
		require.NoError(t, err)
		require.Empty(t, got)
	}
}

// logOf returns a log with a record of each of these keys.
func logOf(t *testing.T, fsys vfs.FS, keys ...string) *log.Log {
	t.Helper()
	l, _, err := log.Open(log.Config{FS: fsys, Dir: "orders-0"})
	require.NoError(t, err)
	for i, key := range keys {
		b := record.NewBuilder(1 << 10)
		b.Add(1, []byte(key), []byte("v"), nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		raw := append([]byte(nil), batch.Bytes...)
		record.Stamp(raw, int64(i), 0)
		require.NoError(t, l.Append(raw, nil))
	}
	return l
}

// What lies behind a run that is missing is made again.
func TestGapBetweenRuns(t *testing.T) {
	fsys := vfs.NewMemory()
	l := logOf(t, fsys, "a", "b", "c", "d")
	defer l.Close()
	cfg := Config{FS: fsys, Dir: "orders-0", Log: l, Entries: 1}
	x, err := Open(cfg)
	require.NoError(t, err)
	require.NoError(t, x.Follow(t.Context()))
	require.NoError(t, x.Close())
	names, err := list(&cfg)
	require.NoError(t, err)
	require.Len(t, names, 4)
	require.NoError(t, fsys.Remove(filepath.Join("orders-0", names[1])))
	x, err = Open(cfg)
	require.NoError(t, err)
	defer x.Abandon()
	require.EqualValues(t, 3, x.Behind())
	require.NoError(t, x.Follow(t.Context()))
	last, ok, err := x.Last([]byte("b"))
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, last.Offset)
}

// Two keys of one hash are told apart by their records.
func TestKeysOfOneHash(t *testing.T) {
	fsys := vfs.NewMemory()
	l := logOf(t, fsys, "one", "other")
	defer l.Close()
	x, err := Open(Config{FS: fsys, Dir: "orders-0", Log: l})
	require.NoError(t, err)
	defer x.Abandon()
	require.NoError(t, x.Follow(t.Context()))
	x.memory.add(entry{x.hasher.sum([]byte("one")), 1}) // as if the other key had that hash
	last, ok, err := x.Last([]byte("one"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, last.Offset)
}

// A page in the place of another one is damage, though its own bytes are sound.
func TestMisplacedPage(t *testing.T) {
	b := runOf(t, many(2*perPage)...)
	copy(b[headerLen:headerLen+pageLen], b[headerLen+pageLen:])
	_, err := searchBytes(b, 0)
	require.ErrorIs(t, err, errDamaged)
}

func FuzzRun(f *testing.F) {
	f.Add(runOf(f, many(3)...), uint64(0))
	f.Add(runOf(f, many(600)...), many(600)[300].hash)
	f.Add(runOf(f), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, hash uint64) {
		offsets, err := searchBytes(b, hash)
		if err != nil {
			require.True(t, errors.Is(err, errDamaged), "%v", err)
			return
		}
		require.LessOrEqual(t, len(offsets), 1000)
	})
}
