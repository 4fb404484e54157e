package partition

import (
	"math"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// A Proposer brings batches to the other replicas of a partition that this one leads.
type Proposer interface {
	// Propose takes a batch that is stamped with its offset and its leader epoch. The
	// group stores it, here by Store, too, or the leadership ends. The bytes are the
	// group's until then, and are not changed. Propose is called in the order of
	// offsets, by one goroutine at a time, and must not block.
	//
	// After an error the batch was not taken, and the next one gets its offset.
	Propose(batch []byte) error
}

// leadership is a replica's time as the leader, in one epoch.
type leadership struct {
	epoch int32
	to    Proposer
	ready bool // next and producers are known. Guarded by mu

	// Of the goroutine that judges, once ready.
	from      int64             // next when the leadership was ready
	next      int64             // the offset of the next batch
	producers log.ProducerTable // as of next: with what is proposed and not yet stored
	crowded   int               // with more producers than this, some are forgotten
	ahead     ahead             // for conditions about keys
}

// Lead makes the replica the partition's leader in an epoch. Append then judges
// batches, stamps them and proposes them. The caller has called Store with everything
// that precedes the leader's own batches, because the first of them gets the offset
// behind that. Appends until it is written wait.
//
// Sequences are judged against what was proposed, stored or not. An earlier leadership
// ends as by Follow.
func (p *Partition) Lead(epoch int32, to Proposer) {
	r := p.replica
	l := &leadership{epoch: epoch, to: to}
	p.mu.Lock()
	r.endLocked(p.notLeaderLocked())
	r.leading = l
	p.epoch.Store(epoch)
	p.mu.Unlock()
	r.settle()
	p.enqueue(pending{task: func(refused error) { r.begin(l, refused) }})
}

// Follow makes the replica a follower in an epoch. Appends that are not committed yet
// fail: with fault.UnknownOutcome those that were proposed, because the next leader may
// have them, and with fault.NotLeader the others.
func (p *Partition) Follow(epoch int32) {
	r := p.replica
	p.mu.Lock()
	r.endLocked(p.notLeaderLocked())
	p.epoch.Store(epoch)
	p.mu.Unlock()
	r.settle()
}

// Leadership returns the leader epoch, and whether the partition is led here and
// everything from before that epoch is readable: what is made of the records up to the
// high watermark then lacks nothing, as long as AppendIn accepts the epoch. A partition
// with one copy is always led.
func (p *Partition) Leadership() (epoch int32, leads bool) {
	if p.replica == nil {
		return p.epoch.Load(), p.broken == nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.replica.leading
	return p.epoch.Load(), l != nil && l.ready && p.high.Load() >= l.from
}

// Confirm returns nil if the partition is certainly led here in a leader epoch, that of
// Leadership, so that what was read of it is the latest. In any other one it is
// fault.FencedLeaderEpoch. Only a replica's group can be certain, and has a Confirm of its
// own: this one knows what the group has told it.
func (p *Partition) Confirm(epoch int32) error {
	if now, leads := p.Leadership(); !leads || now != epoch {
		return p.fenced(epoch, now)
	}
	return nil
}

// Leads reports whether the replica was made the leader, even if it can't yet read
// everything from before.
func (p *Partition) Leads() bool {
	if p.replica == nil {
		return p.broken == nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replica.leading != nil && p.closed == nil
}

// unknownOutcome is the error of a batch whose leader stopped leading.
func (p *Partition) unknownOutcome() error {
	return p.fault(fault.UnknownOutcome, -1).
		Detailf("this replica stopped leading the partition before the record was committed")
}

// notLeaderLocked is the error of an append to a replica that does not lead, or is closed.
// The caller has the lock.
func (p *Partition) notLeaderLocked() error {
	if p.closed != nil {
		return p.closed
	}
	return p.fault(fault.NotLeader, -1)
}

// endLocked ends the leadership. What was proposed has an unknown outcome, what was
// not fails with refused. The caller calls settle.
func (r *replica) endLocked(refused error) {
	r.leading = nil
	unknown, acknowledged := r.p.unknownOutcome(), r.acknowledged(r.p.high.Load())
	for i := range r.outcomes {
		switch o := &r.outcomes[i]; {
		case o.err != nil || o.high <= acknowledged:
		case o.conflict != nil: // it was not proposed, and the next leader judges it
			o.err = refused
		default:
			o.base, o.err = -1, unknown
		}
	}
	for _, a := range r.queue {
		r.refuseLocked(a, refused)
	}
	clear(r.queue)
	r.queue = r.queue[:0]
}

// refuseLocked refuses an append behind all before it. No one else has its batch.
func (r *replica) refuseLocked(a pending, err error) {
	r.outcomes = append(r.outcomes, outcomeAt{base: -1, err: err, done: a.done, refused: a})
}

// begin is the writer's task that makes a leadership ready: with everything that was
// stored before it in the log, the log knows the producers.
func (r *replica) begin(l *leadership, refused error) {
	p := r.p
	if refused == nil {
		l.from = p.log.EndOffset()
		l.next, l.producers = l.from, p.log.CopyProducers()
		l.ahead.begin(l.from)
		l.crowded = max(p.crowd, 2*l.producers.Len())
	}
	p.mu.Lock()
	if r.leading != l {
		p.mu.Unlock()
		return
	}
	if refused != nil {
		r.endLocked(refused)
		p.mu.Unlock()
		r.settle()
		return
	}
	l.ready = true
	starts := len(r.queue) > 0 && !r.judging
	r.judging = r.judging || starts
	p.mu.Unlock()
	r.settle() // it may lead from here on
	if starts {
		r.judge()
	}
}

// propose is Append.
func (r *replica) propose(a pending) {
	p := r.p
	p.mu.Lock()
	starts := false
	switch l := r.leading; {
	case p.closed != nil || l == nil:
		r.refuseLocked(a, p.notLeaderLocked())
	default:
		r.queue = append(r.queue, a)
		starts = l.ready && !r.judging
		r.judging = r.judging || starts
	}
	p.mu.Unlock()
	if starts {
		r.judge()
		return
	}
	r.settle()
}

// judge proposes what is queued, in its order. The role is a token, as the writer's:
// the caller judges for others for a few rounds, then a goroutine goes on.
func (r *replica) judge() {
	for range inlineRounds {
		if !r.judgeRound() {
			return
		}
	}
	go func() {
		for r.judgeRound() {
		}
	}()
}

// judgeRound proposes the queue. It gives the role up where there is nothing to do,
// and returns false.
func (r *replica) judgeRound() bool {
	p := r.p
	p.mu.Lock()
	l := r.leading
	if l == nil || !l.ready || len(r.queue) == 0 {
		r.judging = false
		p.restLocked()
		p.mu.Unlock()
		return false
	}
	r.round, r.queue = r.queue, r.round[:0]
	p.mu.Unlock()
	for i := range r.round {
		r.accept(l, &r.round[i])
	}
	clear(r.round)
	r.settle()
	return true
}

// accept judges an append, and stamps and proposes its batch. Its outcome is queued
// first: the group may be faster than Propose returns.
func (r *replica) accept(l *leadership, a *pending) {
	if a.moves {
		r.moveStart(l, a)
		return
	}
	p := r.p
	h, err := p.examine(a.batch)
	if a.inEpoch && a.epoch != l.epoch {
		err = p.fenced(a.epoch, l.epoch)
	}
	if err == nil && l.next > math.MaxInt64-int64(h.Count) {
		err = p.fault(fault.InvalidRecord, -1).Detailf("the partition has no more offsets")
	}
	state, written := sequenceFollows, int64(-1)
	if err == nil && h.ProducerID != record.NoProducerID {
		state, written, err = p.compareSequence(l.producers.Producer(h.ProducerID), &h, a.batch)
	}
	var conflict error
	if err == nil && state == sequenceFollows && a.condition.Demand != record.Anything {
		conflict = p.demand(a, l.next, l.epoch, &l.ahead)
	}
	if conflict == errNotReady {
		p.later(*a)
		return
	}
	if _, ok := conflict.(*fault.Conflict); conflict != nil && !ok {
		err, conflict = conflict, nil
	}
	switch {
	case err != nil:
		r.queueOutcome(l, outcomeAt{base: -1, err: err, done: a.done, refused: *a})
		return
	case conflict != nil:
		// It is so once all that was proposed is committed: what is there may be of that.
		r.queueOutcome(l, outcomeAt{high: l.next, base: -1, conflict: conflict, done: a.done, refused: *a})
		return
	case state == sequenceWritten:
		a.giveBack()
		// Its batch is committed once all that was proposed is, at the latest.
		r.queueOutcome(l, outcomeAt{high: l.next, base: written, done: a.done})
		return
	}
	p.stampEpoch(a.batch, l.next, l.epoch)
	h.BaseOffset, h.LeaderEpoch = l.next, l.epoch
	if !r.queueOutcome(l, outcomeAt{high: h.NextOffset(), base: l.next, done: a.done}) {
		a.giveBack()
		return
	}
	if err := l.to.Propose(a.batch); err != nil {
		r.withdraw(h.NextOffset(), err)
		a.giveBack()
		return
	}
	l.next = h.NextOffset()
	if p.settings.Load().KeyIndex {
		l.ahead.add(h, a.batch, p.log.EndOffset())
	} else {
		l.ahead.begin(l.next)
	}
	if h.ProducerID != record.NoProducerID {
		l.producers.Add(&h, a.batch)
		l.forget(p)
	}
}

// queueOutcome queues an outcome, unless the leadership has ended: then it is
// fault.NotLeader, and queueOutcome returns false.
func (r *replica) queueOutcome(l *leadership, o outcomeAt) bool {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	leads := r.leading == l
	if !leads && o.err == nil {
		o.base, o.err = -1, r.p.notLeaderLocked()
	}
	r.outcomes = append(r.outcomes, o)
	return leads
}

// withdraw makes err the outcome of the append that was to be followed by an offset and
// was not proposed. It is the last one, unless the leadership has ended: then it has an error.
func (r *replica) withdraw(next int64, err error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	for i := len(r.outcomes) - 1; i >= 0; i-- {
		if o := &r.outcomes[i]; o.high == next && o.err == nil {
			o.base, o.err = -1, err
			return
		}
	}
}

// forget forgets producers that ended or expired, where there are too many.
func (l *leadership) forget(p *Partition) {
	if l.producers.Len() <= l.crowded {
		return
	}
	expired := p.producersExpired()
	p.mu.Lock()
	ended := make(map[int64]struct{}, len(p.ended))
	for _, id := range p.ended {
		ended[id] = struct{}{}
	}
	p.mu.Unlock()
	l.producers.Forget(func(q *log.Producer) bool {
		_, gone := ended[q.ID]
		return gone || q.Timestamp < expired
	})
	l.crowded = max(p.crowd, 2*l.producers.Len())
}
