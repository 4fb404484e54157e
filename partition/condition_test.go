package partition_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// endAt demands that the partition ends there.
func endAt(offset int64) record.Condition {
	return record.Condition{Demand: record.EndAt, Offset: offset}
}

// appendIf appends without waiting.
func appendIf(p *partition.Partition, batch []byte, c record.Condition) *outcome {
	done := newOutcome()
	p.AppendIf(batch, c, done)
	return done
}

// have returns what a conflict says that there is.
func have(t *testing.T, err error) int64 {
	t.Helper()
	require.ErrorIs(t, err, fault.PreconditionFailed)
	c, ok := errors.AsType[*fault.Conflict](err)
	require.True(t, ok)
	require.Equal(t, "orders", c.Topic)
	require.EqualValues(t, 3, c.Partition)
	return c.Have
}

func TestAppendAtAnEnd(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	base, err := appendIf(p, batchOf("a", "b"), endAt(0)).wait()
	require.NoError(t, err)
	require.Zero(t, base)
	base, err = appendIf(p, batchOf("c"), endAt(1)).wait()
	require.EqualValues(t, 2, have(t, err))
	require.EqualValues(t, -1, base)
	require.EqualError(t, err, "orders-3: what is there is not what the append demands: the partition ends at offset 2, not at 1")
	_, err = appendIf(p, batchOf("c"), endAt(2)).wait()
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, readAll(t, p, 0))
}

// Appends that wait together are judged one after the other, each by what is before it.
func TestConditionsOfOneRound(t *testing.T) {
	fs := &gatedFS{FS: vfs.NewMemory()}
	cfg := configOn(fs)
	cfg.Fsync = true
	p, _ := open(t, cfg)
	defer p.Close()
	require.NoError(t, p.AppendAwait(batchOf("0")))
	fs.shut()
	first := appendLater(p, batchOf("1")) // its write waits, and the others with it
	all := []*outcome{
		first,
		appendIf(p, batchOf("2"), endAt(2)),
		appendLater(p, batchOf("3")),
		appendIf(p, batchOf("x"), endAt(3)),
		appendIf(p, batchOf("4"), endAt(4)),
		appendIf(p, produced(7, 0, 0, "y"), endAt(4)),
		appendLater(p, produced(7, 0, 1, "z")),
		appendIf(p, produced(7, 0, 0, "5"), endAt(5)), // the sequence was not used
		appendLater(p, produced(7, 0, 1, "6")),
	}
	fs.open()
	for i, want := range []int64{1, 2, 3, -1, 4, -1, -1, 5, 6} {
		base, err := all[i].wait()
		require.Equal(t, want, base, "append %d: %v", i, err)
		switch i {
		case 3:
			require.EqualValues(t, 4, have(t, err))
		case 5:
			require.EqualValues(t, 5, have(t, err))
		case 6:
			require.ErrorIs(t, err, fault.UnknownProducer, "what it follows was refused")
		}
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6"}, readAll(t, p, 0))
}

// An append that is repeated because its outcome was unknown is a duplicate, and not a
// conflict with itself.
func TestConditionOfADuplicate(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	for range 2 {
		base, err := appendIf(p, produced(1, 0, 0, "a"), endAt(0)).wait()
		require.NoError(t, err)
		require.Zero(t, base)
	}
	_, err := appendIf(p, produced(1, 0, 1, "b"), endAt(0)).wait()
	require.EqualValues(t, 1, have(t, err))
	require.Equal(t, []string{"a"}, readAll(t, p, 0))
}

// A leader judges by what it has proposed. What it refuses because of that is refused once
// that is committed: if it never is, the next leader judges.
func TestConditionsOnALeader(t *testing.T) {
	p := openReplica(t, vfs.NewMemory())
	defer p.Close()
	g := &proposals{}
	p.Lead(1, g)
	a := appendIf(p, batchOf("a"), endAt(0))
	b := appendIf(p, batchOf("b"), endAt(0))
	require.False(t, b.isTold(), "the first one is not committed yet")
	g.storeAll(t, p)
	p.Commit(1)
	_, err := a.wait()
	require.NoError(t, err)
	_, err = b.wait()
	require.EqualValues(t, 1, have(t, err))

	c := appendIf(p, batchOf("c"), endAt(1))
	d := appendIf(p, batchOf("d"), endAt(1))
	e := appendLater(p, batchOf("e"))
	p.Follow(2)
	_, err = c.wait()
	require.ErrorIs(t, err, fault.UnknownOutcome)
	_, err = d.wait()
	require.ErrorIs(t, err, fault.NotLeader)
	_, err = e.wait()
	require.ErrorIs(t, err, fault.UnknownOutcome)
}
