package share

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
)

// Delivery is a record that was delivered to a Consumer. No other member of the group gets it
// while its lock lasts, until Until. Ack, Release and Reject settle it. What is settled after
// its lock has ended counts if no other member has acquired the record meanwhile; otherwise,
// and for a second settlement, the error is fault.InvalidRecordState.
//
// The methods return when what they did is as durable as the broker's own topics. After
// another error they may have had their effect, and may be called again. They are not safe
// for concurrent use on one Delivery.
type Delivery struct {
	Acquired
	consumer *Consumer
}

// Ack says that the record is done. It will not be delivered again.
func (d *Delivery) Ack(ctx context.Context) error {
	return d.settle(ctx, Settlement{Kind: Accept})
}

// Release gives the record back for another attempt, which any member may get, at once. Once
// all attempts are used up, the record is given up instead.
func (d *Delivery) Release(ctx context.Context) error {
	return d.settle(ctx, Settlement{Kind: Release})
}

// ReleaseAfter is Release, and the record is not delivered again before delay has passed.
// Meanwhile it counts towards Locks.
func (d *Delivery) ReleaseAfter(ctx context.Context, delay time.Duration) error {
	return d.settle(ctx, Settlement{Kind: Release, At: time.Now().Add(delay)})
}

// Reject gives the record up: it will not be delivered again. With DeadLetters it first
// becomes a dead letter, which says that cause was the reason. If that cannot be written, the
// error is its own, and the record is still acquired.
func (d *Delivery) Reject(ctx context.Context, cause error) error {
	return d.giveUp(ctx, cause)
}

// Renew extends the lock: from now on it lasts for another LockTime. It updates Until.
func (d *Delivery) Renew(ctx context.Context) error {
	until := time.Now().Add(d.consumer.opts.LockTime)
	err := d.settle(ctx, Settlement{Kind: Renew, At: until})
	if err == nil {
		d.Until = until
	}
	return err
}

// giveUp writes a dead letter, if the consumer has a topic for them, and rejects the record.
func (d *Delivery) giveUp(ctx context.Context, cause error) error {
	if o := &d.consumer.opts; o.dead {
		if cause == nil {
			cause = errRejected
		}
		e := &consumer.HandlerError{Raw: d.Record, Attempts: d.Attempt, Err: cause}
		if _, err := o.sender.Send(ctx, e.DeadLetter(o.deadLetters, o.Group)); err != nil {
			return fault.At(fault.CodeOf(err), o.deadLetters, -1, -1).
				Detailf("the dead letter of %v could not be written", d.Record.Position()).Because(err)
		}
	}
	return d.settle(ctx, Settlement{Kind: Reject})
}

// Reasons of dead letters for which the program has given none.
var (
	errSpent    = errors.New("all attempts are used up")
	errRejected = errors.New("rejected")
)

func (d *Delivery) settle(ctx context.Context, s Settlement) error {
	s.Position, s.Acquisition = d.Record.Position(), d.Acquisition
	errs, err := d.consumer.session.Settle(ctx, []Settlement{s})
	if err != nil {
		return err
	}
	return errs[0]
}
