package replica

import (
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// A route brings appends to the partition's leader, wherever that is, in the order in
// which they came, and calls their Completions in that order:
//
//	           a leader is known              its outcome, or an error that stays
//	routeQueued ───────────────▶ routeSent ─────────────────────────────▶ routeDone
//	     ▲                           │
//	     └───────────────────────────┘ the leader refused it or is gone: once
//	                                   everything that was sent has its outcome
//
// Nothing is sent again before everything that was sent has its outcome. An append of an
// idempotent producer whose outcome is unknown is sent again: the next leader recognizes it
// by its sequence, which also keeps the producer's order when a node begins to lead between
// two of its appends. Without sequences an append's outcome may remain unknown, and those
// that were on the way when the leader changed may change places, as in Kafka.
type route struct {
	way leaderWay

	mu          sync.Mutex
	first, last *routed       // without a Completion yet, in order
	next        *routed       // all before it are sent or done
	out         int           // how many are sent
	own         map[int64]int // of these, by producer
	rewinds     bool          // some that were sent are queued again; nothing is sent until out is 0
	pauses      bool          // nothing is sent until the leadership changes, or retry
	retry       *time.Timer   // ends pauses
	pause       time.Duration // how long the last one was; 0 after an outcome that stays
	closed      error         // why nothing is sent any more
	sending     bool          // a goroutine has the role of send
	telling     bool          // a goroutine has the role of tell
}

// leaderWay is how a handle reaches the partition's leader.
type leaderWay interface {
	self() ID                                                            // this node's replica, or 0
	leader() ID                                                          // 0 where none is known: the route waits for leaderChanged
	noLeader() error                                                     // that of an append that no leader takes
	deliver(batch []byte, condition record.Condition, done func(Result)) // fails as goesAgain says where the leader is another one
}

// routed is an append on its way.
type routed struct {
	batch     []byte
	condition record.Condition
	done      partition.Completion
	producer  int64     // record.NoProducerID: not idempotent
	deadline  time.Time // when it is not sent again any more
	state     routeState
	tries     int
	to        ID // the leader that it was sent to last
	offset    int64
	err       error
	next      *routed
}

type routeState int8

const (
	routeQueued routeState = iota
	routeSent
	routeDone
)

const (
	// routeFor is how long an append looks for a leader that takes it: Kafka's
	// delivery.timeout.ms.
	routeFor = 2 * time.Minute

	// routeSoon is how soon it looks again where nothing tells of a change: a leader
	// that has just been elected takes appends once its disk has done what came before. The pauses grow to routeAgain.
	routeSoon  = 2 * time.Millisecond
	routeAgain = 50 * time.Millisecond

	// ownInFlight is how many appends of one idempotent producer are sent at a time. A
	// leader recognizes so many when they come again, as Kafka's do.
	ownInFlight = 5
)

// append queues an append. Its bytes are the route's from now on.
func (t *route) append(batch []byte, condition record.Condition, done partition.Completion) {
	a := &routed{batch: batch, condition: condition, done: done, producer: record.NoProducerID, deadline: time.Now().Add(routeFor), offset: -1}
	if h, err := record.ParseHeader(batch); err == nil {
		a.producer = h.ProducerID
	}
	t.mu.Lock()
	if t.last == nil {
		t.first = a
	} else {
		t.last.next = a
	}
	t.last = a
	if t.next == nil {
		t.next = a
	}
	if t.closed != nil {
		a.state, a.err = routeDone, t.closed
	}
	t.mu.Unlock()
	t.work()
}

// work sends what may be sent and calls Completions that are due.
func (t *route) work() {
	t.send()
	t.tell()
}

// leaderChanged lets the route look again.
func (t *route) leaderChanged() {
	t.mu.Lock()
	t.pauses = false
	t.mu.Unlock()
	t.work()
}

// ledBy lets the route look again, and gives up what it sent to another node that leads no
// longer, where sequences allow it: that node may have stopped without a word, and what is
// noticed last is its silence.
func (t *route) ledBy(leader ID) {
	for _, a := range t.sentElsewhere(leader) {
		t.outcome(a.routed, a.try, Result{-1, fault.Newf(fault.UnknownOutcome, "node %v was sent a batch, and leads no longer", a.to.Node())})
	}
	t.leaderChanged()
}

// attempt is one time that an append was sent.
type attempt struct {
	*routed
	try int
	to  ID
}

// sentElsewhere returns the appends of idempotent producers that were sent to another node
// than the leader.
func (t *route) sentElsewhere(leader ID) (sent []attempt) {
	if leader == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for a := t.first; a != t.next; a = a.next {
		if a.state == routeSent && a.to != leader && a.to != t.way.self() && a.producer != record.NoProducerID {
			sent = append(sent, attempt{a, a.tries, a.to})
		}
	}
	return sent
}

// send sends to the leader, if one is known. The role is a token: a caller that finds it
// taken leaves the work to its holder, which looks again before it gives the role up.
func (t *route) send() {
	t.mu.Lock()
	if t.sending {
		t.mu.Unlock()
		return
	}
	t.sending = true
	for {
		a := t.claimLocked()
		if a == nil {
			break
		}
		batch := a.batch
		a.tries++
		try := a.tries
		if try > 1 {
			batch = append([]byte(nil), batch...) // a leader has stamped it, and its log may have it
		}
		t.mu.Unlock()
		t.way.deliver(batch, a.condition, func(r Result) { t.outcome(a, try, r) })
		t.mu.Lock()
	}
	t.sending = false
	t.mu.Unlock()
}

// claimLocked returns the next append to send, which counts as sent; nil if none may be.
func (t *route) claimLocked() *routed {
	if t.rewinds && t.out == 0 && !t.pauses {
		t.rewindLocked()
	}
	for t.next != nil && t.next.state == routeDone {
		t.next = t.next.next
	}
	a := t.next
	if a == nil || t.rewinds || t.pauses || t.closed != nil {
		return nil
	}
	leader := t.way.leader()
	if leader == 0 {
		t.expireLocked()
		return nil
	}
	if a.producer != record.NoProducerID {
		if t.own[a.producer] == ownInFlight {
			return nil
		}
		if t.own == nil {
			t.own = map[int64]int{}
		}
		t.own[a.producer]++
	}
	a.state, a.to, t.next = routeSent, leader, a.next
	t.out++
	return a
}

// rewindLocked begins again with the first that is queued. Those whose time is over end
// with the error that they have.
func (t *route) rewindLocked() {
	t.rewinds, t.next = false, t.first
	now := time.Now()
	for a := t.first; a != nil; a = a.next {
		if a.state == routeQueued && a.err != nil && now.After(a.deadline) {
			a.state = routeDone
		}
	}
}

// expireLocked ends the appends whose time is over without a leader, and looks again when
// that of the next one is.
func (t *route) expireLocked() {
	now := time.Now()
	for a := t.next; a != nil; a = a.next {
		if a.state != routeQueued {
			continue
		}
		if left := a.deadline.Sub(now); left > 0 {
			t.againLocked(left)
			return
		}
		if a.state = routeDone; a.err == nil {
			a.err = t.way.noLeader()
		}
	}
}

// againLocked has the route look again after some time.
func (t *route) againLocked(after time.Duration) {
	if t.retry == nil {
		t.retry = time.AfterFunc(after, t.leaderChanged)
		return
	}
	t.retry.Reset(after)
}

// outcome takes what became of an append that was sent for the try-th time.
func (t *route) outcome(a *routed, try int, r Result) {
	t.mu.Lock()
	if a.state != routeSent || a.tries != try { // the route was closed meanwhile, or has given up waiting
		t.mu.Unlock()
		return
	}
	t.out--
	if a.producer != record.NoProducerID {
		if t.own[a.producer]--; t.own[a.producer] == 0 {
			delete(t.own, a.producer)
		}
	}
	a.state, a.offset, a.err = routeDone, r.Offset, r.Err
	if a.goesAgain(r.Err) || isGap(r.Err) && t.followsLocked(a) {
		a.state, t.rewinds = routeQueued, true
		t.pauseLocked()
	} else {
		t.pause = 0
	}
	t.mu.Unlock()
	t.work()
}

// goesAgain reports whether an append is to be sent to the next leader.
func (a *routed) goesAgain(err error) bool {
	switch fault.CodeOf(err) {
	case fault.NotLeader, fault.NetworkException, fault.BufferFull, fault.NotEnoughReplicas:
		return true
	case fault.UnknownOutcome, fault.Closed: // the other node's, or it would have ended here
		return a.producer != record.NoProducerID
	}
	return false
}

// isGap reports whether a leader lacks what a producer sent before: the last batches, or all.
func isGap(err error) bool {
	code := fault.CodeOf(err)
	return code == fault.OutOfOrderSequence || code == fault.UnknownProducer
}

// followsLocked reports whether an earlier append of the same producer is not done: then a
// gap before a's sequence says that a leader that has just begun to lead refused the
// earlier one a moment before.
func (t *route) followsLocked(a *routed) bool {
	for b := t.first; b != a; b = b.next {
		if b.producer == a.producer && b.state != routeDone {
			return true
		}
	}
	return false
}

// pauseLocked keeps the route from asking a leader again and again that does not know
// yet that it leads, or no longer.
func (t *route) pauseLocked() {
	if t.pauses {
		return
	}
	t.pauses = true
	t.pause = min(max(2*t.pause, routeSoon), routeAgain)
	t.againLocked(t.pause)
}

// tell calls the Completions of the appends at the front that are done. The role is a
// token, as in send.
func (t *route) tell() {
	t.mu.Lock()
	if t.telling {
		t.mu.Unlock()
		return
	}
	t.telling = true
	for a := t.first; a != nil && a.state == routeDone; a = t.first {
		if t.next == a {
			t.next = a.next
		}
		if t.first = a.next; t.first == nil {
			t.last = nil
		}
		t.mu.Unlock()
		if a.err != nil {
			a.offset = -1
		}
		a.done.Appended(a.offset, a.err)
		t.mu.Lock()
	}
	t.telling = false
	t.mu.Unlock()
}

// close ends all appends, those that were sent with an unknown outcome, and refuses later
// ones.
func (t *route) close(queued, sent error) {
	t.mu.Lock()
	t.closed = queued
	if t.retry != nil {
		t.retry.Stop()
	}
	for a := t.first; a != nil; a = a.next {
		switch {
		case a.state == routeSent || a.state == routeQueued && fault.CodeOf(a.err) == fault.UnknownOutcome:
			a.err = sent
		case a.state == routeQueued:
			a.err = queued
		}
		a.state = routeDone
	}
	t.mu.Unlock()
	t.work()
}
