package pebble

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/streams/state/statetest"
)

func TestStore(t *testing.T) {
	statetest.Test(t, func(t testing.TB, dir string) state.Bytes {
		s, err := open(dir, vfs.NewMem())
		require.NoError(t, err)
		return s
	})
}

func TestStoreOnDisk(t *testing.T) {
	statetest.Durable(t, func(t testing.TB, dir string) state.Bytes {
		s, err := Open(dir)
		require.NoError(t, err)
		return s
	})
}

func TestADirectoryHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	require.NoError(t, err)
	_, err = Open(dir)
	require.ErrorContains(t, err, dir)
	require.NoError(t, s.Close())
}

// After a power loss a store has what it had at its last Checkpoint, and of what
// was applied later some first batches, each of them whole.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 0))
		disk := vfs.NewCrashableMem()
		s, err := open("store", disk)
		require.NoError(t, err)
		apply := func(i int) {
			var b state.Batch
			for part := range 3 {
				b.Put(fmt.Appendf(nil, "%05d-%d", i, part), make([]byte, 100))
			}
			b.Put([]byte("last"), fmt.Append(nil, i))
			require.NoError(t, s.Apply(&b))
		}
		synced, more := r.IntN(3000), r.IntN(3000)
		for i := range synced {
			apply(i)
		}
		require.NoError(t, s.Checkpoint(int64(synced)))
		for i := range more {
			apply(synced + i)
			if r.IntN(1000) == 0 { // a file that no Checkpoint waits for
				_, err := s.db.AsyncFlush()
				require.NoError(t, err)
			}
		}
		crashed := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(r.IntN(101)), RNG: r})
		require.NoError(t, s.Close())

		s, err = open("store", crashed)
		require.NoError(t, err)
		at, ok := s.Position()
		require.True(t, ok)
		require.EqualValues(t, synced, at)
		rows := 0
		require.NoError(t, s.Range(nil, []byte("a"), state.Ascending, func(key, _ []byte) bool {
			require.Equal(t, fmt.Sprintf("%05d-%d", rows/3, rows%3), string(key))
			rows++
			return true
		}))
		require.GreaterOrEqual(t, rows, 3*synced)
		require.Zero(t, rows%3)
		last, err := s.Get([]byte("last"))
		require.NoError(t, err)
		if rows > 0 {
			require.Equal(t, fmt.Sprint(rows/3-1), string(last))
		}
		require.NoError(t, s.Close())
	}
}

// What Pebble calls fatal fails the store's calls and not the program.
func TestAFatalErrorIsTheStores(t *testing.T) {
	s, err := open("store", vfs.NewMem())
	require.NoError(t, err)
	s.failed.Fatalf("the disk is %s", "gone")
	_, err = s.Get([]byte("a"))
	require.ErrorContains(t, err, "the disk is gone")
	var b state.Batch
	b.Put([]byte("a"), nil)
	require.ErrorContains(t, s.Apply(&b), "the disk is gone")
	require.ErrorContains(t, s.Checkpoint(1), "the disk is gone")
	require.ErrorContains(t, s.Range(nil, nil, state.Ascending, func(_, _ []byte) bool { return true }), "the disk is gone")
	require.ErrorContains(t, s.Close(), "the disk is gone")
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "counts")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	below, err := Open(dir)
	if err != nil {
		panic(err)
	}
	counts := state.NewKeyValue("counts", serde.String, serde.Int64, state.Over(below), state.CacheBytes(1<<20))
	for _, word := range []string{"to", "be", "or", "not", "to", "be"} {
		e, err := counts.Entry([]byte(word))
		if err != nil {
			panic(err)
		}
		e.Value++
		counts.Changed(e, true)
	}
	if err := counts.Flush(nil, nil); err != nil {
		panic(err)
	}
	for row, err := range counts.Range("n", "u", state.Descending) {
		fmt.Println(row.Key, row.Value, err)
	}
	fmt.Println(counts.Close())
	// Output:
	// to 2 <nil>
	// or 1 <nil>
	// not 1 <nil>
	// <nil>
}
