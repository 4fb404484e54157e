package consumer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/record"
)

func TestFrontierEndsAtTheFirstUnfinishedRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			number       uint64
			offset, next int64
			done         bool
		}
		var f frontier
		var model []entry // all that count, finished or not
		var over []uint64 // numbers from before a reset
		next, done := int64(0), int64(-1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				e := entry{offset: next, next: next + rapid.Int64Range(1, 3).Draw(t, "gap")}
				next = e.next
				e.number = f.add(slot{offset: e.offset, next: e.next, epoch: int32(e.next)})
				model = append(model, e)
			},
			"skip": func(t *rapid.T) {
				e := entry{offset: next, next: next + rapid.Int64Range(0, 3).Draw(t, "gap")}
				next = e.next
				e.number, e.done = f.add(gap(Offset{Offset: e.next, LeaderEpoch: int32(e.next)})), true
				model = append(model, e)
				if upTo, moved := f.finish(e.number); moved {
					done = upTo.Offset
				}
			},
			"finish": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				e := &model[rapid.IntRange(0, len(model)-1).Draw(t, "which")]
				if e.done {
					return
				}
				e.done = true
				if upTo, moved := f.finish(e.number); moved {
					require.EqualValues(t, upTo.Offset, upTo.LeaderEpoch)
					done = upTo.Offset
				}
			},
			"reset": func(*rapid.T) {
				for _, e := range model {
					over = append(over, e.number)
				}
				f.reset()
				model, done = nil, -1
			},
			"finish what is over": func(t *rapid.T) {
				if len(over) == 0 {
					return
				}
				number := rapid.SampledFrom(over).Draw(t, "number")
				require.True(t, f.isOver(number))
				_, moved := f.finish(number)
				require.False(t, moved)
			},
			"": func(t *rapid.T) {
				want, first, pending := int64(-1), int64(-1), 0
				for _, e := range model {
					if !e.done && first < 0 {
						first = e.offset
					}
					if first < 0 {
						want = e.next
					} else {
						pending++
					}
				}
				require.Equal(t, want, done)
				require.Equal(t, pending, f.pending())
				at, some := f.restart()
				require.Equal(t, first >= 0, some)
				if some {
					require.Equal(t, first, at)
				}
			},
		})
	})
}

func TestSlotsEndWhereTheNextRecordBegins(t *testing.T) {
	f := Fetched{Next: 20, LeaderEpoch: 9, Records: []record.Record{
		{Offset: 3, LeaderEpoch: 7}, {Offset: 8, LeaderEpoch: 8},
	}}
	of := slotsOf(&f)
	require.Equal(t, slot{offset: 3, next: 8, epoch: 7}, of(0))
	require.Equal(t, slot{offset: 8, next: 20, epoch: 9}, of(1))
}
