package replica

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
)

// The tail is held against a list of terms and offsets while it grows, is cut, trims
// itself, and its beginning moves up.
func TestTailModel(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 0))
		tail := tail{budget: 500}
		tail.reset(Start{Index: 10, Term: 2, Offset: 100})
		terms, next := map[uint64]uint64{10: 2}, map[uint64]int64{10: 100}
		base, last, term := uint64(10), uint64(10), uint64(2)
		for range 300 {
			switch n := rng.IntN(10); {
			case n < 6:
				term += uint64(rng.IntN(4)) / 3
				last++
				terms[last], next[last] = term, next[last-1]+int64(1+rng.IntN(3))
				tail.add(slot{term: term, next: next[last], data: make([]byte, 100)})
			case n < 7 && last > tail.applied:
				from := tail.applied + 1 + uint64(rng.IntN(int(last-tail.applied)))
				tail.cut(from)
				last = from - 1
				tail.stable = min(tail.stable, last)
				term++
			case n < 9:
				tail.stable = last
				tail.applied += uint64(rng.IntN(int(last-tail.applied) + 1))
				tail.trim()
			case tail.applied > base:
				base += 1 + uint64(rng.IntN(int(tail.applied-base)))
				tail.rebase(Start{Index: base, Term: terms[base], Offset: next[base]})
			}
			require.Equal(t, last, tail.last())
			require.Equal(t, next[last], tail.end())
			for i := base; i <= last; i++ {
				got, err := tail.Term(i)
				require.NoError(t, err)
				require.Equal(t, terms[i], got, "seed %d, index %d of %d to %d", seed, i, base, last)
				if s := tail.slot(i); s != nil {
					require.Equal(t, next[i], s.next)
				} else {
					require.LessOrEqual(t, i, tail.applied, "what is not applied stays")
				}
			}
			_, err := tail.Term(base - 1)
			require.ErrorIs(t, err, raft.ErrCompacted)
			_, err = tail.Term(last + 1)
			require.ErrorIs(t, err, raft.ErrUnavailable)
			require.LessOrEqual(t, tail.bytes, tail.budget+100*int(last-min(tail.stable, tail.applied))+100)
		}
	}
}
