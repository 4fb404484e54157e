package producer

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Begin begins a transaction. An acknowledgement within it says that a record is written;
// it is durable once Commit returns. What the producer sends until Commit or Abort belongs to it,
// through whatever function it is sent. Only a producer with a TransactionalID has
// transactions, one at a time, and it sends only within one: anything else is
// fault.InvalidTxnState. Transact does what most programs need.
//
// fault.ProducerFenced means that a newer producer has the transactional ID. This one can
// only be closed.
func (p *Producer) Begin(ctx context.Context) error {
	t, err := p.transactor()
	if err != nil {
		return err
	}
	if err := t.BeginTransaction(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsent = nil
	return nil
}

// lacks notes that a record never reached the session, which therefore does not know that
// the open transaction lacks it.
func (p *Producer) lacks(err error) {
	if p.transactional {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unsent = cmp.Or(p.unsent, err)
	}
}

// whole returns an error if the open transaction lacks a record.
func (p *Producer) whole() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unsent == nil {
		return nil
	}
	p.failed = nil // which this reports
	return fault.Newf(fault.InvalidTxnState, "a record of the transaction failed, and it can only be aborted").Because(p.unsent)
}

// SendOffsets makes offsets of a consumer group part of the open transaction: the group has
// them once it is committed. So what a program has read counts as done if and only if what it
// has made of it counts. Transform does that for programs that read, handle and write.
//
// group is the consumer's GroupMetadata, from after the Poll that returned the records. If the
// consumer has lost its place in the group since, another one reads them, and the error is
// fault.UnknownMember, fault.IllegalGeneration or fault.FencedInstance. After any error the
// transaction can only be aborted. The consumer must not commit these offsets itself, too.
func (p *Producer) SendOffsets(ctx context.Context, group consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	t, err := p.transactor()
	if err != nil {
		return err
	}
	return t.SendOffsets(ctx, group, offsets)
}

// Commit waits until everything that was sent in the transaction is acknowledged, and
// commits it: all of it counts from then on, after any crash, for readers of committed
// records.
//
// fault.InvalidTxnState means that it cannot be committed, because a record failed or it
// took longer than its TransactionTimeout. Then, as after most other errors, it is still to
// be aborted. After fault.UnknownOutcome it may have been committed: Commit may be called
// again, and Begin does that by itself.
func (p *Producer) Commit(ctx context.Context) error { return p.end(ctx, true) }

// Abort aborts the transaction: nothing of it counts. Its records stay in the log, and
// readers of committed records pass over them.
func (p *Producer) Abort(ctx context.Context) error { return p.end(ctx, false) }

func (p *Producer) end(ctx context.Context, commit bool) error {
	t, err := p.transactor()
	if err != nil {
		return err
	}
	if commit {
		if err := p.whole(); err != nil {
			return err
		}
	}
	return t.EndTransaction(ctx, commit)
}

// transactor returns the session of a producer with a transactional ID.
func (p *Producer) transactor() (Transactor, error) {
	if t, ok := p.session.(Transactor); ok && p.transactional {
		return t, nil
	}
	return nil, fault.Newf(fault.InvalidTxnState, "the producer has no transactions").Try("producer.TransactionalID gives it some")
}

// abortFor is how long Transact tries to abort a transaction whose ctx has ended. If that
// fails, the transaction's timeout aborts it.
const abortFor = 10 * time.Second

// Tx is an open transaction, within Transact. Its methods are the producer's.
type Tx struct{ p *Producer }

// Send is Producer.Send within the transaction.
func (tx *Tx) Send(ctx context.Context, r record.Record) (record.Position, error) {
	return tx.p.Send(ctx, r)
}

// SendAsync is Producer.SendAsync within the transaction. What fails without a callback
// fails the commit.
func (tx *Tx) SendAsync(ctx context.Context, r record.Record, fn Callback) {
	tx.p.SendAsync(ctx, r, fn)
}

// SendOffsets is Producer.SendOffsets within the transaction.
func (tx *Tx) SendOffsets(ctx context.Context, group consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	return tx.p.SendOffsets(ctx, group, offsets)
}

// Transact runs fn in a transaction of p's, which it commits if fn returns nil, and aborts
// if fn returns an error or panics: all of what fn sends counts, or nothing. It returns
// fn's error, or that of beginning or committing. fn may also send with p itself and its
// typed views. It should not leave goroutines that send.
//
// After fault.UnknownOutcome the transaction may have been committed. It is never committed
// in part.
func Transact(ctx context.Context, p *Producer, fn func(tx *Tx) error) error {
	_, err := p.transact(ctx, fn)
	return err
}

// transact is Transact. unknown says that the transaction may have been committed.
func (p *Producer) transact(ctx context.Context, fn func(tx *Tx) error) (unknown bool, err error) {
	if err := p.Begin(ctx); err != nil {
		return false, err
	}
	decided := false
	defer func() {
		if !decided { // also if fn panicked, or ended its goroutine
			_ = p.abortLate(ctx)
		}
	}()
	if err = fn(&Tx{p}); err == nil {
		err = p.Commit(ctx)
		unknown = errors.Is(err, fault.UnknownOutcome)
		decided = err == nil || unknown
	}
	return unknown, err
}

// abortLate aborts a transaction even if ctx has ended.
func (p *Producer) abortLate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortFor)
	defer cancel()
	return p.Abort(ctx)
}
