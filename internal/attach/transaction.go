package attach

import (
	"cmp"
	"context"
	"errors"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// The server's session has the transaction. What the client adds is that a record which
// never got there fails the transaction, too.
var _ producer.Transactor = (*sending)(nil)

// BeginTransaction implements producer.Transactor.
func (s *sending) BeginTransaction(ctx context.Context) error {
	err := s.decide(ctx, beginTransaction, none)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoiled = nil
	return nil
}

// SendOffsets implements producer.Transactor.
func (s *sending) SendOffsets(ctx context.Context, g consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.refused(s.decide(ctx, sendOffsets, func(c *coder) {
		c.groupMetadata(&g)
		table(c, 16, &offsets, (*coder).offset)
	}))
}

// EndTransaction implements producer.Transactor. The callbacks of all that was sent have
// run before the server decides: only then is it known here what has failed.
func (s *sending) EndTransaction(ctx context.Context, commit bool) error {
	if err := s.settleAll(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	spoiled := s.spoiled
	s.mu.Unlock()
	failure := s.takeFailure() // of a record, or of a callback
	if commit && spoiled != nil {
		return fault.Newf(fault.InvalidTxnState, "a record of the transaction failed, and it can only be aborted").Because(spoiled)
	}
	if commit && failure != nil {
		return failure
	}
	return s.decide(ctx, endTransaction, func(c *coder) { c.bool(&commit) })
}

// decide makes a call that changes the transaction. If ctx ends meanwhile, it waits until
// the server has ended the call, so that both sides know the same of the transaction. If
// the connection ends instead, the outcome is unknown.
func (s *sending) decide(ctx context.Context, m method, args fields) error {
	if err := cmp.Or(ctx.Err(), s.conn.failure()); err != nil {
		return err
	}
	d := &dialogue{stay: true, whole: true}
	err := s.conn.talk(ctx, m, args, none, d)
	switch {
	case err == nil, fault.CodeOf(err) == fault.UnknownOutcome:
		return err
	case !d.answered && s.conn.failure() != nil:
		return fault.Newf(fault.UnknownOutcome, "a change of a transaction").Because(err)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ctx.Err()
	}
	return err
}

// spoil makes the open transaction one that can only be aborted, because of a record that
// failed. The caller holds mu.
func (s *sending) spoil(err error) {
	if s.cfg.TransactionalID != "" {
		s.spoiled = cmp.Or(s.spoiled, err)
	}
}

// refused is spoil for a record that was not sent. It returns err.
func (s *sending) refused(err error) error {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.spoil(err)
	}
	return err
}

// transactor returns the session, which has a transactional ID.
func (in *intake) transactor() (producer.Transactor, error) {
	s, err := in.current()
	if err != nil {
		return nil, err
	}
	if t, ok := s.(producer.Transactor); ok {
		return t, nil
	}
	return nil, fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
}

// handleTransaction runs the calls of a producer's transactions.
func (v *visit) handleTransaction(ctx context.Context, m method, args func(fields) error) (fields, error) {
	var commit bool
	var g consumer.GroupMetadata
	var offsets map[record.TopicPartition]consumer.Offset
	fields := none
	switch m {
	case endTransaction:
		fields = func(c *coder) { c.bool(&commit) }
	case sendOffsets:
		fields = func(c *coder) {
			c.groupMetadata(&g)
			table(c, 16, &offsets, (*coder).offset)
		}
	}
	if err := args(fields); err != nil {
		return nil, err
	}
	t, err := v.intake.transactor()
	if err != nil {
		return nil, err
	}
	switch m {
	case beginTransaction:
		return none, t.BeginTransaction(ctx)
	case sendOffsets:
		return none, t.SendOffsets(ctx, g, offsets)
	}
	return none, t.EndTransaction(ctx, commit)
}
