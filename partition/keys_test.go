package partition_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// keyed encodes one record as a batch.
func keyed(key, value string) []byte {
	b := record.NewBuilder(1 << 10)
	b.Add(1000, []byte(key), []byte(value), nil)
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	return append([]byte(nil), batch.Bytes...)
}

func keyAt(offset int64) record.Condition {
	return record.Condition{Demand: record.KeyAt, Offset: offset}
}

var absent = record.Condition{Demand: record.KeyAbsent}

func indexed(fs vfs.FS) partition.Config {
	cfg := configOn(fs)
	cfg.KeyIndex = true
	return cfg
}

// A leader finds keys in what it has proposed as it does in its log.
func TestKeysOnALeader(t *testing.T) {
	cfg := indexed(vfs.NewMemory())
	cfg.Replica = true
	p, _ := open(t, cfg)
	defer p.Close()
	g := &proposals{}
	p.Lead(1, g)
	first := appendIf(p, keyed("a", "1"), absent)
	_, _, _, err := p.ReadKey(t.Context(), []byte("a"), 0, partition.ReadUncommitted, 1) // the index is ready
	require.NoError(t, err)
	again := appendIf(p, keyed("a", "2"), absent)
	next := appendIf(p, keyed("a", "2"), keyAt(0))
	late := appendIf(p, keyed("a", "3"), keyAt(0))
	g.storeAll(t, p)
	p.Commit(2)
	base, err := first.wait()
	require.NoError(t, err)
	require.Zero(t, base)
	_, err = again.wait()
	require.Zero(t, have(t, err))
	base, err = next.wait()
	require.NoError(t, err)
	require.EqualValues(t, 1, base)
	_, err = late.wait()
	require.EqualValues(t, 1, have(t, err))

	p.Follow(2)
	p.Lead(3, g)
	last := appendIf(p, keyed("a", "3"), keyAt(1))
	g.storeAll(t, p)
	p.Commit(3)
	_, err = last.wait()
	require.NoError(t, err, "a later leadership finds what is in the log")
}

// What a crash has taken must not be found later, at offsets that others have by then. Here
// the log is empty after the crash, and so begins with the same leader epoch again.
func TestStaleIndexOfKeys(t *testing.T) {
	fs := vfs.NewCrashable()
	p, _ := open(t, indexed(fs))
	fill := func(p *partition.Partition, name string) {
		for i := range 1 << 14 { // a run of the index
			p.Append(keyed(fmt.Sprint(name, i), "x"), nil, ignore{})
		}
	}
	fill(p, "old ")
	_, err := appendIf(p, keyed("old 0", "x"), absent).wait()
	require.Zero(t, have(t, err))
	_, err = appendIf(p, keyed("last", "x"), absent).wait() // the run is on disk, and the records are not
	require.NoError(t, err)

	after := fs.Crash(vfs.Loss{Kept: vfs.KeepNone})
	_ = p.Close()
	cfg := indexed(after)
	p, _ = open(t, cfg)
	defer func() { _ = p.Close() }()
	require.Zero(t, p.EndOffset())
	fill(p, "new ")
	fill(p, "newer ")
	for _, key := range []string{"new 0", "newer 7"} {
		_, err = appendIf(p, keyed(key, "x"), absent).wait()
		require.ErrorIs(t, err, fault.PreconditionFailed, "%s is there", key)
	}
	_, err = appendIf(p, keyed("old 5", "x"), absent).wait()
	require.NoError(t, err)
}

type ignore struct{}

func (ignore) Appended(int64, error) {}

// Without the setting, no file and no memory is used; with it, the first use finds all that
// is there, and closing keeps it.
func TestIndexOfKeysIsMadeByItsFirstUse(t *testing.T) {
	fs := vfs.NewMemory()
	p, _ := open(t, configOn(fs))
	require.NoError(t, p.AppendAwait(keyed("a", "1")))
	_, err := appendIf(p, keyed("a", "2"), absent).wait()
	require.ErrorIs(t, err, fault.InvalidConfig)
	p.Configure(partition.Settings{KeyIndex: true})
	_, err = appendIf(p, keyed("a", "2"), absent).wait()
	require.Zero(t, have(t, err))
	require.Empty(t, runs(t, fs))
	require.NoError(t, p.Close())
	require.Equal(t, []string{"00000000000000000000-00000000000000000001.keyindex"}, runs(t, fs))

	p, _ = open(t, indexed(fs))
	defer p.Close()
	_, err = appendIf(p, keyed("a", "2"), keyAt(0)).wait()
	require.NoError(t, err)
	records, next, end, err := p.ReadKey(t.Context(), []byte("a"), 0, partition.ReadCommitted, 10)
	require.NoError(t, err)
	require.Len(t, records, 2)
	require.EqualValues(t, 2, next)
	require.EqualValues(t, 2, end)
}

// runs returns the names of the index's files.
func runs(t *testing.T, fs vfs.FS) (names []string) {
	t.Helper()
	entries, err := fs.ReadDir("orders-3")
	require.NoError(t, err)
	for _, e := range entries {
		if len(e.Name) > 40 {
			names = append(names, e.Name)
		}
	}
	return names
}

// A log with a batch that cannot be decoded has keys that no one knows: conditions about
// keys fail, all others work.
func TestKeysOfWhatCannotBeDecoded(t *testing.T) {
	p, _ := open(t, indexed(vfs.NewMemory()))
	defer p.Close()
	raw := keyed("a", "1")
	raw = record.Seal(append([]byte(nil), raw...), record.BatchHeader{
		Attributes: int16(record.Zstd), Count: 1, ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
	}).Bytes
	require.NoError(t, p.AppendAwait(raw))
	_, err := appendIf(p, keyed("a", "2"), absent).wait()
	require.Error(t, err)
	require.NotErrorIs(t, err, fault.PreconditionFailed)
	_, err = appendIf(p, keyed("a", "2"), endAt(1)).wait()
	require.NoError(t, err)
	_, _, _, err = p.ReadKey(context.Background(), []byte("a"), 0, partition.ReadUncommitted, 10)
	require.Error(t, err)
}

// Closing ends what waits for the index.
func TestClosingWithAnIndexThatIsNotReady(t *testing.T) {
	for range 50 {
		p, _ := open(t, indexed(vfs.NewMemory()))
		require.NoError(t, p.AppendAwait(keyed("a", "1")))
		o := appendIf(p, keyed("b", "1"), absent)
		require.NoError(t, p.Close())
		if _, err := o.wait(); err != nil {
			require.ErrorIs(t, err, fault.Closed)
		}
	}
}
