package replica_test

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
)

// history is what clients asked for and what they were told, with what came before what.
// A nil one keeps nothing.
type history struct {
	mu    sync.Mutex
	now   int64
	calls []porcupine.Operation
}

// What clients ask for.
type (
	appended  struct{ count int64 } // told: the offset
	asked     struct{}              // for the latest offset
	committed struct {
		group string
		value int64
	}
	found struct{ group string } // told: what the group has committed

	tried struct{} // to append one at the end; told: twice the offset, or twice the end that was there, and 1
)

// unknown is told where nobody knows what became of a call: it may take effect at any
// later time, or never.
const unknown = math.MinInt64

// call notes that a client asks. The result of call is called with what it is told.
func (h *history) call(input any) (told func(value int64, err error)) {
	if h == nil {
		return func(int64, error) {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	i := len(h.calls)
	h.calls = append(h.calls, porcupine.Operation{ClientId: i, Input: input, Call: h.now, Output: int64(unknown), Return: math.MaxInt64})
	return func(value int64, err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now++
		c := &h.calls[i]
		switch fault.CodeOf(err) {
		case fault.UnknownOutcome, fault.Closed, fault.NetworkException:
			// Its return lies in the future.
		default:
			c.Return = h.now
			if c.Output = value; err != nil {
				c.Input = nil // it certainly had no effect
			}
		}
	}
}

// operations returns the calls that tell something.
func (h *history) operations() (told []porcupine.Operation) {
	for _, c := range h.calls {
		_, commits := c.Input.(committed)
		if c.Input != nil && (c.Output != int64(unknown) || commits) {
			told = append(told, c)
		}
	}
	return told
}

// end is a partition as those see it who append to it and ask where it ends. Offsets are
// left out where leaders wrote batches of their own, and never given twice. Its state is
// the offset before which everything is decided.
var end = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		before, at := state.(int64), output.(int64)
		switch a := input.(type) {
		case appended:
			return at >= before, at + a.count
		case tried:
			return at/2 >= before, at/2 + 1 - at%2
		}
		return at >= before, at
	},
}

// offset is what a group has committed.
var offset = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		if c, ok := input.(committed); ok {
			return true, c.value
		}
		return output == state, state
	},
}

// check checks that the calls could have been made one after the other.
func (h *history) check(t *testing.T) {
	t.Helper()
	objects := map[string][]porcupine.Operation{}
	for _, c := range h.operations() {
		switch input := c.Input.(type) {
		case committed:
			objects[input.group] = append(objects[input.group], c)
		case found:
			objects[input.group] = append(objects[input.group], c)
		default:
			objects[""] = append(objects[""], c)
		}
	}
	for group, calls := range objects {
		model := offset
		if group == "" {
			model = end
		}
		verdict := porcupine.CheckOperationsTimeout(model, calls, 2*time.Minute) // it is quick unless they do not fit
		require.Equal(t, porcupine.Ok, verdict, "group %q: %d calls", group, len(calls))
	}
}

// What producers, readers and members of groups are told by cores fits, while nodes crash,
// stop for seconds, are cut off and lose their disks.
func TestHistoriesAreLinearizable(t *testing.T) {
	for seed := range uint64(80) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			c := newCluster(3+2*int(seed%2), seed)
			c.history = &history{}
			c.carefulClients()
			for range 2 {
				c.askOn()
			}
			c.trouble(8 * time.Second)
			c.run(8 * time.Second)
			require.Empty(t, c.failures)
			c.history.check(t)
		})
	}
}

// askOn asks any leader for the latest offset, again and again.
func (c *cluster) askOn() {
	c.after(time.Duration(c.rng.Int64N(int64(60*time.Millisecond))), func() {
		told := false
		next := func() {
			if !told {
				told = true
				c.askOn()
			}
		}
		c.after(time.Second, next) // the node may have crashed
		if leaders := c.leaders(); len(leaders) > 0 {
			leaders[c.rng.IntN(len(leaders))].readLatest(next)
		}
	})
}
