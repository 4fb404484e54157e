package partition

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// began is a Completion for one goroutine that waits for a log's start.
type began chan startAt

type startAt struct {
	start int64
	err   error
}

// Appended implements Completion.
func (b began) Appended(start int64, err error) { b <- startAt{start, err} }

// moveStart proposes that the logs of the group begin later. What is committed is
// deleted, and nothing else; a leader that does not know yet what was committed before
// it refuses. Where all is deleted, the batch that says so goes, too: an empty log stays
// empty, and retention has nothing to do in it again and again.
func (r *replica) moveStart(l *leadership, a *pending) {
	p := r.p
	high, to := p.high.Load(), a.to
	if to == -1 {
		to = high
	}
	var err error
	switch {
	case high < l.from:
		err = p.fault(fault.NotLeader, -1).Detailf("this replica has begun to lead and has not read what was committed before")
	case to < 0 || to > high:
		err = p.outside(to, high)
	}
	if start := p.log.StartOffset(); err != nil || to <= start {
		r.queueOutcome(l, outcomeAt{base: start, err: err, done: a.done})
		return
	}
	base := l.next
	if to == base {
		to++
	}
	batch := r.startBatch(to, base, l.epoch)
	h, err := record.ParseHeader(batch)
	if err != nil {
		r.queueOutcome(l, outcomeAt{err: err, done: a.done})
		return
	}
	if !r.queueOutcome(l, outcomeAt{high: h.NextOffset(), base: to, done: a.done}) {
		return
	}
	if err := l.to.Propose(batch); err != nil {
		r.withdraw(h.NextOffset(), err)
		return
	}
	l.next = h.NextOffset()
}

// expireFor is how long retention waits for a group to begin its logs later. Meanwhile no
// other partition of the process is cleaned.
const expireFor = 2 * time.Second

// expireGroup has the group's logs begin where retention says, if this replica leads.
// The others follow. again says that the group has not answered in time: it may answer
// later. Where the disk is full, a leader cannot say anything to its group any more. It
// gets fault.DiskFull.
func (p *Partition) expireGroup(ctx context.Context, start int64) (again bool, err error) {
	if _, leads := p.Leadership(); !leads {
		return false, nil
	}
	done := make(began, 1)
	p.replica.propose(pending{moves: true, to: start, done: done})
	late := time.NewTimer(expireFor)
	defer late.Stop()
	select {
	case r := <-done:
		switch fault.CodeOf(r.err) {
		case fault.NotLeader, fault.UnknownOutcome: // the next leader's retention does it
			return false, nil
		case fault.NotEnoughReplicas:
			return true, nil
		}
		return false, r.err
	case <-late.C:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
