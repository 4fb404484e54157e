package replica

import (
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
)

// A lookout is a Remote's view of a level of isolation, and where its readers wait for
// records: one question at a time waits for all of them at the other node, as Kafka's
// long polls do.
//
//	        a reader waits                    the answer wakes all readers
//	idle ──────────────────▶ one question ──────────────────────────────▶ idle
//	 ▲                         │       ▲
//	 │        no node answers  ▼       │ after a pause
//	 └───────────────────────── blocked
//
// While the Remote is blocked, a read brings nothing, and its reader waits like the others.
// All fields but remote and level are guarded by the Remote's mu.
type lookout struct {
	remote  *Remote
	level   partition.Isolation
	waiting []lookoutWaiter
	number  uint64 // of the question, which is not 0 while there is one
	last    uint64
	late    *time.Timer // for the answer
}

type lookoutWaiter struct {
	offset int64
	waker  partition.Waker
}

const (
	lookoutFor   = 5 * time.Second        // how long the other node waits for records
	lookoutAgain = 200 * time.Millisecond // how soon after no node has answered
)

// Visible returns the offset before which readers may see records, as it was last heard.
func (l *lookout) Visible() int64 { return l.remote.known(time.Hour).visible[l.level] }

// Read is as Remote.Read.
func (l *lookout) Read(offset int64, most int, _ []byte) (partition.Slice, error) {
	r := l.remote
	r.mu.Lock()
	s, blocked, err := l.slice(&r.view), r.blocked, r.closed
	r.mu.Unlock()
	if blocked || err != nil {
		return s, err
	}
	y, err := r.askAny(ask{what: askFetch, level: l.level, a: offset, b: int64(most)})
	if err != nil {
		r.block()
		return s, r.whyClosed()
	}
	s = l.slice(&y.view)
	if y.err != nil {
		return s, y.err
	}
	s.Slice, s.Aborted = log.Slice{Bytes: y.batches}, y.aborted
	return s, nil
}

// slice returns a Slice without batches.
func (l *lookout) slice(v *view) partition.Slice {
	return partition.Slice{StartOffset: v.start, HighWatermark: v.high, Visible: v.visible[l.level]}
}

// Wait is as partition.Partition.Wait.
func (l *lookout) Wait(offset int64, w partition.Waker) bool {
	r := l.remote
	r.mu.Lock()
	if r.closed != nil || !r.blocked && r.view.visible[l.level] > offset {
		r.mu.Unlock()
		return false
	}
	l.waiting = append(l.waiting, lookoutWaiter{offset, w})
	r.mu.Unlock()
	l.ask()
	return true
}

// CancelWait cancels w's Waits.
func (l *lookout) CancelWait(w partition.Waker) {
	l.remote.mu.Lock()
	defer l.remote.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other lookoutWaiter) bool { return other.waker == w })
}

// reachLocked returns those who wait for what is visible now.
func (l *lookout) reachLocked(visible int64) (woken []partition.Waker) {
	l.waiting = slices.DeleteFunc(l.waiting, func(w lookoutWaiter) bool {
		if w.offset >= visible {
			return false
		}
		woken = append(woken, w.waker)
		return true
	})
	return woken
}

// closeLocked ends the question, and returns all who wait.
func (l *lookout) closeLocked() (woken []partition.Waker) {
	if l.late != nil {
		l.late.Stop()
	}
	return l.reachLocked(math.MaxInt64)
}

// ask asks another node to answer when there are records, if a reader waits and no such
// question is on its way.
func (l *lookout) ask() {
	r := l.remote
	r.mu.Lock()
	if l.number != 0 || r.blocked || len(l.waiting) == 0 || r.closed != nil {
		r.mu.Unlock()
		return
	}
	l.last++
	number, to, first := l.last, r.targetLocked(), int64(math.MaxInt64)
	for _, w := range l.waiting {
		first = min(first, w.offset)
	}
	l.number = number
	l.late = time.AfterFunc(lookoutFor+askAlone, func() { l.heard(number, to, nil, errLate) })
	r.mu.Unlock()
	q := ask{what: askWait, level: l.level, group: r.group, a: first, b: lookoutFor.Milliseconds()}
	r.node.link(to, StreamAsks, maxReply).send(q.encode(), nil, func(b []byte, err error) { l.heard(number, to, b, err) })
}

// errLate is why a question is given up whose answer does not come.
var errLate = malformed("no answer")

// heard takes the answer to a question of ask.
func (l *lookout) heard(number uint64, from NodeID, b []byte, err error) {
	r := l.remote
	r.mu.Lock()
	current := l.number == number
	if current {
		l.number = 0
		l.late.Stop()
	}
	r.mu.Unlock()
	switch {
	case !current:
	case r.take(from, b, err):
		r.mu.Lock()
		if r.view.leader <= 0 {
			r.turn++ // another follower may know more than this one
		}
		r.mu.Unlock()
		l.ask()
	default:
		r.block()
	}
}

// block has readers wait for a while before a node is asked again.
func (r *Remote) block() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blocked || r.closed != nil || r.ctx.Err() != nil {
		return
	}
	r.blocked = true
	if r.retry == nil {
		r.retry = time.AfterFunc(lookoutAgain, r.unblock)
		return
	}
	r.retry.Reset(lookoutAgain)
}

func (r *Remote) unblock() {
	r.mu.Lock()
	r.blocked = false
	r.mu.Unlock()
	for i := range r.views {
		r.views[i].ask()
	}
}
