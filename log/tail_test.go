package log

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// given remembers the buffers it got back.
type given struct{ bufs [][]byte }

func (g *given) Recycle(b []byte) { g.bufs = append(g.bufs, b) }

func tailLog(t *testing.T, budget int) *Log {
	t.Helper()
	cfg := memoryConfig()
	cfg.TailBytes = budget
	l, _ := open(t, cfg)
	return l
}

func TestTailSharesTheBuffer(t *testing.T) {
	l := tailLog(t, 0)
	batch := batchOf(0, 0, 100, 100)
	require.NoError(t, l.Append(batch, nil))
	s, err := l.Read(0, 100, 1<<20, make([]byte, 1<<20))
	require.NoError(t, err)
	require.True(t, s.Memory)
	require.Same(t, &batch[0], &s.Bytes[0])
	s.Release()
	s.Release()
	require.Nil(t, s.Bytes)
}

func TestTailRecycles(t *testing.T) {
	l := tailLog(t, 1)
	var back given
	batches := make([][]byte, 5)
	read := func(i int64) Slice {
		s, err := l.Read(i*100, l.EndOffset(), 1<<20, nil)
		require.NoError(t, err)
		require.True(t, s.Memory)
		return s
	}
	appendNext := func(i int64) {
		batches[i] = batchOf(i*100, 0, 100, 100)
		require.NoError(t, l.Append(batches[i], &back))
	}
	appendNext(0)
	appendNext(1)
	require.Len(t, back.bufs, 1, "no reader took it")
	require.Same(t, &batches[0][0], &back.bufs[0][0])

	held, brief := read(1), read(1)
	brief.Release()
	appendNext(2)
	require.Len(t, back.bufs, 1, "a reader has it")
	require.Equal(t, batches[1], held.Bytes)
	held.Release()
	require.Len(t, back.bufs, 2, "the last reader let go")

	_ = read(2) // and never lets go
	appendNext(3)
	appendNext(4)
	require.Len(t, back.bufs, 3)
	require.Same(t, &batches[3][0], &back.bufs[2][0])
	require.NoError(t, l.Close())
	require.Len(t, back.bufs, 4)
}

// Memory holds as much as it may and no more, but for one append that is larger.
func TestTailKeepsItsBudget(t *testing.T) {
	const budget = 10_000
	l := tailLog(t, budget)
	for _, count := range []int{10, 20, 30, 10, 300, 10, 10} {
		b := batchOf(l.EndOffset(), 0, count, 100)
		require.NoError(t, l.Append(b, nil))
		require.LessOrEqual(t, l.tail.bytes, max(budget, cap(b)))
	}
	require.Positive(t, l.tail.bytes)
}

func TestTailOfSmallAppends(t *testing.T) {
	l := tailLog(t, 0)
	appendN(t, l, 1_000, 1, 30)
	buf := make([]byte, 64<<10)
	s, err := l.Read(10, 990, 5_000, buf)
	require.NoError(t, err)
	require.False(t, s.Memory)
	got := offsetsOf(t, s.Bytes)
	require.Greater(t, len(got), 40, "gathered")
	require.LessOrEqual(t, len(s.Bytes), 5_000)
	for i, offset := range got {
		require.EqualValues(t, 10+i, offset)
	}
	s, err = l.Read(10, 12, 5_000, buf)
	require.NoError(t, err)
	require.Equal(t, []int64{10, 11}, offsetsOf(t, s.Bytes))
	s, err = l.Read(10, 990, 1, buf)
	require.NoError(t, err)
	require.Equal(t, []int64{10}, offsetsOf(t, s.Bytes))
	s, err = l.Read(999, 1_000, 1, buf)
	require.NoError(t, err)
	require.True(t, s.Memory, "the newest is not copied")
}

// TestNothingAllocated holds appends of recycled buffers and reads of the tail
// to no allocation.
func TestNothingAllocated(t *testing.T) {
	l := tailLog(t, 300_000)
	batch := batchOf(0, 0, 1_000, 100)
	buffers := make(pool, 64)
	step := func() {
		raw := buffers.get(len(batch))
		copy(raw, batch)
		stamp(raw, l.EndOffset())
		require.NoError(t, l.Append(raw, buffers))
		s, err := l.Read(l.EndOffset()-1_000, l.EndOffset(), 1<<20, nil)
		if err != nil || !s.Memory {
			t.Fatal(err)
		}
		s.Release()
	}
	for range 20 {
		step()
	}
	require.Zero(t, testing.AllocsPerRun(100, step)) // but for a chunk of the memory file system now and then
}
