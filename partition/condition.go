package partition

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// AppendIf is Append under a condition, which is judged in the batch's turn: between the
// judgement and the batch nothing is appended. What is there instead is a
// *fault.Conflict, and nothing was written.
//
// A batch that its producer has written before is a duplicate whatever the condition says,
// so that an append may be repeated whose outcome is unknown.
func (p *Partition) AppendIf(batch []byte, condition record.Condition, done Completion) {
	a := pending{batch: batch, condition: condition, done: done}
	if p.replica != nil {
		p.replica.propose(a)
		return
	}
	p.enqueue(a)
}

// demand judges a condition for a batch that would get an offset in a leader epoch. ahead is
// what a leader has proposed. The error is the append's, or errNotReady.
func (p *Partition) demand(a *pending, next int64, epoch int32, ahead *ahead) error {
	switch c := a.condition; {
	case c.Demand.OfKey():
		return p.demandOfKey(c, a.batch, next, ahead)
	case c.Demand == record.EndAt && c.Offset != next:
		return &fault.Conflict{Topic: p.topic, Partition: p.number, Want: c.Offset, Have: next, HaveEpoch: epoch}
	}
	return nil
}

// later judges an append again once the index of keys is ready.
func (p *Partition) later(a pending) {
	p.keys.await(func(err error) {
		switch {
		case err != nil:
			a.done.Appended(-1, err)
		case p.replica != nil:
			p.replica.propose(a)
		default:
			p.enqueue(a)
		}
	})
}
