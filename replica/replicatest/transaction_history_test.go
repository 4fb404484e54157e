package replicatest_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// transactionHistory is what clients asked for and what they were told, with what came
// before what. What became of calls with an unknown outcome is settled by what is there in
// the end: a record that is there was written at some time after its call, and a
// transaction ended as it reads then, everywhere alike.
type transactionHistory struct {
	mu           sync.Mutex
	now          int64
	values       int
	lossy        bool
	calls        []porcupine.Operation
	unclear      map[string]porcupine.Operation // appends outside of transactions with an unknown outcome, by value
	transactions []*transacted
}

// transacted is one transaction.
type transacted struct {
	id      string // transactional
	begun   int64
	places  map[string]bool   // where it may have written
	values  map[string]string // what was acknowledged, with its place
	asked   int64             // when its end was asked for; 0 if it never was
	over    int64             // when it had certainly ended
	outcome outcome
	told    error // by Commit
}

type outcome int

const (
	unclear   outcome = iota // or left open
	committed                // acknowledged
	aborted
)

// What clients ask for in a place, which is a partition or a partition's offset in a group.
type (
	writtenAt struct { // told: the offset
		place string
		in    *transacted // nil: in none
	}
	offeredAt struct { // as a group's offset
		place string
		in    *transacted
		value int64
	}
	endedAt struct {
		place  string
		in     *transacted
		commit bool
	}
	endOf    struct{ place string } // told: the offset behind all that counts
	readFrom struct {               // told: what was read, and up to where
		place string
		from  int64
	}
	committedAt struct{ place string } // told: a group's offset
)

// readTo is what a reader of committed records has read.
type readTo struct {
	to   int64
	told []int64 // the offsets of its records
}

// placeState is a place: what was written there and not aborted, and what can't be written
// there any more.
type placeState struct {
	last    int64 // the latest record's offset
	written []written
	ended   []*transacted
}

type written struct {
	offset int64       // or the value of a group's offset
	in     *transacted // while it is open
}

func (s placeState) write(w written) placeState {
	return placeState{s.last, append(slices.Clip(s.written), w), s.ended}
}

// placeModel is one place. Records count from their transaction's end on. Readers of
// committed records come no further than the first record of an open transaction, a
// transaction that has ended takes nothing more, and a group's offset is the one that was
// sent last of those that count. With lossy, crashes lose the last records of open
// transactions.
func placeModel(lossy bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return placeState{last: -1} },
		Equal: func(a, b any) bool {
			x, y := a.(placeState), b.(placeState)
			return x.last == y.last && slices.Equal(x.written, y.written) && slices.Equal(x.ended, y.ended)
		},
		Step: func(state, input, output any) (bool, any) { return state.(placeState).step(lossy, input, output) },
	}
}

// byPlace divides calls.
func byPlace(calls []porcupine.Operation) map[string][]porcupine.Operation {
	places := map[string][]porcupine.Operation{}
	for _, o := range calls {
		places[placeOf(o.Input)] = append(places[placeOf(o.Input)], o)
	}
	return places
}

// step returns whether a call may have this answer, and the state behind it.
func (s placeState) step(lossy bool, input, output any) (bool, placeState) {
	switch in := input.(type) {
	case writtenAt:
		at := output.(int64)
		if in.in != nil && slices.Contains(s.ended, in.in) {
			return false, s
		}
		if at <= s.last {
			if s = s.lose(at); !lossy || at <= s.counts() {
				return false, s
			}
		}
		s = s.write(written{at, in.in})
		s.last = at
		return true, s
	case offeredAt:
		return in.in == nil || !slices.Contains(s.ended, in.in), s.write(written{in.value, in.in})
	case endedAt:
		return true, s.end(in.in, in.commit)
	case endOf:
		return output.(int64) > s.counts(), s
	case readFrom:
		return s.isRead(in.from, output.(readTo)), s
	default:
		return s.counts() == output.(int64), s
	}
}

// lose returns what is left of a place that ended at an offset.
func (s placeState) lose(end int64) placeState {
	left := slices.DeleteFunc(slices.Clone(s.written), func(w written) bool { return w.in != nil && w.offset >= end })
	return placeState{end - 1, left, s.ended}
}

func placeOf(input any) string {
	switch in := input.(type) {
	case writtenAt:
		return in.place
	case offeredAt:
		return in.place
	case endedAt:
		return in.place
	case endOf:
		return in.place
	case readFrom:
		return in.place
	default:
		return in.(committedAt).place
	}
}

// end ends a transaction.
func (s placeState) end(in *transacted, commit bool) placeState {
	next := placeState{last: s.last, ended: append(slices.Clip(s.ended), in)}
	for _, w := range s.written {
		if w.in == in {
			if w.in = nil; !commit {
				continue
			}
		}
		next.written = append(next.written, w)
	}
	return next
}

// counts returns the offset of the latest record that counts. Those of open transactions need
// not be durable, and so not be visible.
func (s placeState) counts() int64 {
	for _, w := range slices.Backward(s.written) {
		if w.in == nil {
			return w.offset
		}
	}
	return -1
}

// isRead reports whether a reader could read this.
func (s placeState) isRead(from int64, r readTo) bool {
	var told []int64
	for _, w := range s.written {
		switch {
		case w.offset < from || w.offset >= r.to:
		case w.in != nil:
			return false
		default:
			told = append(told, w.offset)
		}
	}
	return slices.Equal(told, r.told)
}

// tick returns the present. What happens in between has no time of its own.
func (h *transactionHistory) tick() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	return h.now
}

// value returns a value that no other record has.
func (h *transactionHistory) value() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values++
	return fmt.Sprint("value ", h.values)
}

// add adds a call that has its outcome, and returns when it had it.
func (h *transactionHistory) add(client int, call int64, input, output any) (now int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	h.calls = append(h.calls, porcupine.Operation{ClientId: client, Input: input, Call: call, Output: output, Return: h.now})
	return h.now
}

// lost adds an append outside of transactions that may or may not happen.
func (h *transactionHistory) lost(client int, call int64, place, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unclear[value] = porcupine.Operation{ClientId: client, Input: writtenAt{place, nil}, Call: call, Return: math.MaxInt64}
}

// begin adds a transaction.
func (h *transactionHistory) begin(id string) *transacted {
	now := h.tick()
	x := &transacted{id: id, begun: now, places: map[string]bool{}, values: map[string]string{}, over: math.MaxInt64}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.transactions = append(h.transactions, x)
	return x
}

// fenced notes that a producer has a transactional ID, for which it asked at a time: the
// transactions of that ID that were there then have ended.
func (h *transactionHistory) fenced(id string, asked int64) {
	now := h.tick()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.transactions {
		if x.id == id && x.begun < asked {
			x.over = min(x.over, now)
		}
	}
}

// check holds that the answers fit one order of the calls in each place. there are the
// records of each place in the end, by value.
func (h *transactionHistory) check(t *testing.T, there map[string]map[string]int64) {
	t.Helper()
	for value, o := range h.unclear {
		if at, ok := there[placeOf(o.Input)][value]; ok {
			o.Output = at
			h.calls = append(h.calls, o)
		}
	}
	for i, x := range h.transactions {
		n := 0
		for value, place := range x.values {
			if _, ok := there[place][value]; ok {
				n++
			}
		}
		require.Contains(t, []int{0, len(x.values)}, n, "a part of %v", x)
		if x.outcome == unclear && n > 0 {
			require.NotZero(t, x.asked, "nobody has committed %v", x)
			x.outcome = committed
		} else if len(x.values) > 0 {
			require.Equal(t, x.outcome == committed, n > 0, "what was told of %v: %v", x, x.told)
		}
		call := x.begun // at its timeout, or because of a later producer
		if x.outcome == committed {
			require.Less(t, x.asked, x.over, "a later producer had the transactional ID of %v", x)
			call = x.asked
		}
		for place := range x.places {
			h.calls = append(h.calls, porcupine.Operation{ClientId: 100 + i, Input: endedAt{place, x, x.outcome == committed}, Call: call, Return: x.over})
		}
	}
	for place, part := range byPlace(h.calls) {
		if verdict := porcupine.CheckOperationsTimeout(placeModel(h.lossy), part, time.Minute); verdict != porcupine.Ok {
			var told strings.Builder
			for _, o := range part {
				fmt.Fprintf(&told, "client %d, %d to %d: %s\n", o.ClientId, o.Call, o.Return, describe(o))
			}
			require.Equal(t, porcupine.Ok, verdict, "%s:\n%s", place, &told)
		}
	}
}

// describe is a call with its answer.
func describe(o porcupine.Operation) string {
	switch in := o.Input.(type) {
	case writtenAt:
		return fmt.Sprintf("wrote offset %v in %s", o.Output, in.in)
	case offeredAt:
		return fmt.Sprintf("sent offset %d in %s", in.value, in.in)
	case endedAt:
		return fmt.Sprintf("end of %s, committed %v", in.in, in.commit)
	case readFrom:
		return fmt.Sprintf("read from %d: %+v", in.from, o.Output)
	default:
		return fmt.Sprintf("%T: %v", in, o.Output)
	}
}

// String names a transaction.
func (x *transacted) String() string {
	if x == nil {
		return "no transaction"
	}
	return fmt.Sprintf("transaction %d of %q", x.begun, x.id)
}
