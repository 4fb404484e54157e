package produce

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestQueueModel holds a queue against lists of what should be in it, whatever is done
// with it in whatever order: batches leave in the order in which they came, none before its
// outcome, and none is handed over behind one that is not ready or was withdrawn.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &queueModel{}
		rt.Repeat(map[string]func(*rapid.T){
			"push":     m.push,
			"copy":     m.copy,
			"hand":     m.hand,
			"append":   m.append,
			"withdraw": m.withdraw,
			"tell":     m.tell,
			"pop":      m.pop,
			"":         m.check,
		})
	})
}

// queueModel is a queue, and the same as plain lists.
type queueModel struct {
	queue   queue
	all     []*openBatch // not settled
	unsent  []*openBatch // of these, what the sender may still hand over
	outcome []*openBatch // those with an outcome
	telling *openBatch
}

func (m *queueModel) push(rt *rapid.T) {
	b := newBatch(nil)
	if rapid.Bool().Draw(rt, "still copied to") {
		b.enterLocked(stateOpen)
		b.enterLocked(stateSealed)
	} else {
		b.enterLocked(stateReady)
	}
	m.queue.push(b)
	m.all, m.unsent = append(m.all, b), append(m.unsent, b)
}

// copy is the last copier's end.
func (m *queueModel) copy(rt *rapid.T) {
	if b := m.draw(rt, func(b *openBatch) bool { return b.state == stateSealed }); b != nil {
		require.True(rt, b.enterLocked(stateReady))
		if !slices.Contains(m.unsent, b) { // it was withdrawn: there is no one else to end it
			m.finish(rt, b)
		}
	}
}

func (m *queueModel) hand(rt *rapid.T) {
	ready := len(m.unsent) > 0 && m.unsent[0].state == stateReady
	b := m.queue.claimUnsent()
	if !ready {
		require.Nil(rt, b)
		return
	}
	require.Same(rt, m.unsent[0], b)
	require.Equal(rt, stateHanded, b.state)
	m.unsent = m.unsent[1:]
}

// append is the partition's outcome. It may come in any order, though partitions keep one.
func (m *queueModel) append(rt *rapid.T) {
	if b := m.draw(rt, func(b *openBatch) bool { return b.state == stateHanded }); b != nil {
		m.finish(rt, b)
	}
}

func (m *queueModel) withdraw(rt *rapid.T) {
	m.queue.withdraw()
	for _, b := range m.unsent {
		if b.state == stateReady {
			m.finish(rt, b)
		}
	}
	m.unsent = nil
}

// finish gives b its outcome. Another one that comes later is ignored.
func (m *queueModel) finish(rt *rapid.T, b *openBatch) {
	require.True(rt, b.finishLocked(7, nil))
	require.False(rt, b.finishLocked(-1, errors.New("too late")))
	require.EqualValues(rt, 7, b.offset)
	require.NoError(rt, b.err)
	m.outcome = append(m.outcome, b)
}

func (m *queueModel) tell(rt *rapid.T) {
	b := m.queue.claimDone()
	if len(m.all) == 0 || !slices.Contains(m.outcome, m.all[0]) {
		require.Nil(rt, b)
		return
	}
	require.Same(rt, m.all[0], b)
	m.telling = b
}

func (m *queueModel) pop(rt *rapid.T) {
	b := m.queue.pop()
	if m.telling == nil {
		require.Nil(rt, b)
		return
	}
	require.Same(rt, m.telling, b)
	require.Equal(rt, stateSettled, b.state)
	require.Nil(rt, b.next)
	m.all, m.telling = m.all[1:], nil
}

// draw returns one of the batches in the queue for which is holds, or nil.
func (m *queueModel) draw(rt *rapid.T, is func(*openBatch) bool) *openBatch {
	var some []*openBatch
	for _, b := range m.all {
		if is(b) {
			some = append(some, b)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return rapid.SampledFrom(some).Draw(rt, "which")
}

// check compares the queue with the lists, and looks at its invariants.
func (m *queueModel) check(rt *rapid.T) {
	q := &m.queue
	var all []*openBatch
	for b := q.first; b != nil; b = b.next {
		all = append(all, b)
	}
	require.Equal(rt, len(m.all), len(all))
	for i, b := range all {
		require.Same(rt, m.all[i], b)
		require.Equal(rt, b == m.telling, b.state == stateTelling)
	}
	require.Equal(rt, len(m.unsent), q.backlog)
	if len(m.unsent) > 0 {
		require.Same(rt, m.unsent[0], q.unsent)
	} else {
		require.Nil(rt, q.unsent)
	}
	if require.Equal(rt, len(m.all) == 0, q.isEmpty()); !q.isEmpty() {
		require.Same(rt, m.all[len(m.all)-1], q.last)
	} else {
		require.Nil(rt, q.last)
	}
	require.Equal(rt, len(m.all) == 0 || len(m.all) == 1 && m.telling != nil, q.isQuiet())
}
