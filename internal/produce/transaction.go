package produce

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
)

// transaction is what a session has that was opened with a transactional ID. Records are
// sent only while a transaction is open:
//
//	         Begin              End                 the coordinator's answer
//	idle ───────────▶ open ───────────▶ ending ─────────────────────────────▶ idle
//	                   ▲                   │
//	                   └───────────────────┘ a record failed, or the outcome is unknown
//
// Once another producer has the transactional ID, fenced says so, and nothing works any more.
//
// A lane takes part from its first record in a transaction on. Its partition is added to the
// transaction before that record is handed over, and its sequences begin with 0, because each
// transaction has an epoch of its own. One request adds all partitions that are wanted by
// then: a program that sends to many of them without waiting has them added at once.
type transaction struct {
	session *Session
	id      string
	number  atomic.Uint64   // of the transaction that is open, or was last
	ctx     context.Context // ends with the session
	cancel  context.CancelFunc
	left    func() // leave, bound once, so that sending allocates nothing

	adding chan struct{} // holds a token while partitions are added; then who and touched are its holder's

	// gate counts the calls that are about to send. Its bit isShut says that no other may
	// begin: it is set whenever shutLocked has a reason.
	gate atomic.Int64

	mu      sync.Mutex
	wanting []*lane // those whose partitions are to be added, and perhaps were
	state   transactionState
	who     txn.Identity
	touched bool          // a partition was added, or may have been
	failed  error         // of the first record that failed: the transaction can only be aborted
	fenced  error         // why nothing works any more
	decided *bool         // what End was told when its outcome was unknown: commit or not
	drained chan struct{} // closed when no call is about to send, if End waits for that
}

type transactionState int8

const (
	transactionIdle transactionState = iota
	transactionOpen
	transactionEnding
)

// BeginTransaction implements producer.Transactor.
func (s *Session) BeginTransaction(ctx context.Context) error {
	t := s.transaction
	if t == nil {
		return fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	unknown := t.decided
	t.mu.Unlock()
	if unknown != nil { // the last one ends as it was to, before the next one begins
		if err := s.EndTransaction(ctx, *unknown); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.fenced != nil:
		return t.fenced
	case s.isDone():
		return fault.Closed
	case t.state != transactionIdle:
		return fault.Newf(fault.InvalidTxnState, "the transaction of %q that was begun before has not ended", t.id)
	}
	t.state, t.failed, t.touched, t.wanting = transactionOpen, nil, false, nil
	t.number.Add(1)
	t.turnLocked()
	return nil
}

// isShut is a bit of transaction.gate.
const isShut = 1 << 62

// enter lets a call send within the open transaction. The caller calls leave. Every record
// takes this way, so it takes no lock.
func (t *transaction) enter() error {
	for t.gate.Add(1)&isShut != 0 {
		t.leave()
		t.mu.Lock()
		err := t.shutLocked()
		t.mu.Unlock()
		if err != nil { // else a transaction has just begun
			return err
		}
	}
	return nil
}

// shutLocked returns why no call may send, or nil.
func (t *transaction) shutLocked() error {
	switch {
	case t.fenced != nil:
		return t.fenced
	case t.state != transactionOpen || t.decided != nil:
		return fault.Newf(fault.InvalidTxnState, "no transaction of %q is open: Begin begins one", t.id)
	case t.failed != nil:
		return t.mustAbort()
	}
	return nil
}

// turnLocked opens or shuts the gate. It follows every change of what shutLocked reads.
func (t *transaction) turnLocked() {
	if t.fenced == nil && t.state == transactionOpen && t.decided == nil && t.failed == nil {
		t.gate.And(^int64(isShut))
	} else {
		t.gate.Or(isShut)
	}
}

// mustAbort is the error of a transaction in which a record has failed.
func (t *transaction) mustAbort() error {
	return fault.Newf(fault.InvalidTxnState, "a part of the transaction failed, and it can only be aborted").Because(t.failed)
}

func (t *transaction) leave() {
	if t.gate.Add(-1) != isShut {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drained != nil && t.gate.Load()&^isShut == 0 {
		close(t.drained)
		t.drained = nil
	}
}

// fail makes the open transaction one that can only be aborted.
func (t *transaction) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = cmp.Or(t.failed, err)
	t.turnLocked()
}

// spoil is fail for a call that is not between enter and leave: the transaction may be
// ending, or none may be open.
func (t *transaction) spoil(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == transactionOpen && t.decided == nil {
		t.failed = cmp.Or(t.failed, err)
		t.turnLocked()
	}
}

// want makes a lane one that takes part in the open transaction, from its next batch on.
// Between enter and leave.
func (t *transaction) want(l *lane) {
	if number := t.number.Load(); l.wanted.Load() != number && l.wanted.Swap(number) != number {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.wanting = append(t.wanting, l)
	}
}

// has reports whether a lane is part of the open transaction, so that its batches may be
// handed over.
func (t *transaction) has(l *lane) bool { return t == nil || l.enlisted.Load() == t.number.Load() }

// enlistAll makes all lanes that are wanted part of the open transaction. If it cannot, their
// batches fail when it is their turn.
func (t *transaction) enlistAll(ctx context.Context) {
	t.mu.Lock()
	wanting := t.wanting
	t.mu.Unlock()
	for _, l := range wanting {
		if t.enlist(ctx, l) != nil {
			return
		}
	}
}

// enlist makes a lane, and all others that are wanted, part of the open transaction. The
// transaction does not end meanwhile: the caller is between enter and leave, or has a batch
// that is not settled.
func (t *transaction) enlist(ctx context.Context, l *lane) error {
	if t.has(l) {
		return nil
	}
	t.want(l)
	who, added, err := t.beginAdding(ctx)
	if err != nil {
		return err
	}
	defer added()
	if t.has(l) {
		return nil
	}
	t.mu.Lock()
	lanes := slices.DeleteFunc(slices.Clone(t.wanting), t.has)
	t.mu.Unlock()
	if !slices.Contains(lanes, l) { // another sender is in want, between its two steps
		lanes = append(lanes, l)
	}
	partitions := make([]record.TopicPartition, len(lanes))
	for i, l := range lanes {
		partitions[i] = record.TopicPartition{Topic: l.topic, Partition: l.number}
	}
	if err := t.session.transactions.Add(ctx, t.id, who, partitions...); err != nil {
		if errors.Is(err, fault.UnknownOutcome) && ctx.Err() != nil {
			return ctx.Err() // nothing was sent
		}
		return t.refused(err)
	}
	for _, l := range lanes {
		l.mu.Lock()
		l.producerID, l.producerEpoch, l.sequence = who.ProducerID, who.Epoch, 0
		l.mu.Unlock()
		l.enlisted.Store(t.number.Load())
	}
	return nil
}

// beginAdding returns the producer's identity in the open transaction, to which something is
// about to be added. Nothing else is until the caller calls added. The transaction does not
// end meanwhile.
func (t *transaction) beginAdding(ctx context.Context) (who txn.Identity, added func(), err error) {
	select {
	case t.adding <- struct{}{}:
	case <-ctx.Done():
		return who, nil, ctx.Err()
	case <-t.session.closing:
		return who, nil, fault.Closed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.touched = true
	return t.who, func() { <-t.adding }, nil
}

// SendOffsets implements producer.Transactor.
func (s *Session) SendOffsets(ctx context.Context, m consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	t := s.transaction
	if t == nil {
		return fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
	}
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	who, added, err := t.beginAdding(ctx)
	if err == nil {
		err = s.transactions.SendOffsets(ctx, t.id, who, m, offsets)
		added()
	}
	if err != nil {
		t.fail(err) // without the offsets, the records would be written again
		return t.refused(err)
	}
	return nil
}

// refused keeps an error of the coordinator's that does not pass.
func (t *transaction) refused(err error) error {
	if errors.Is(err, fault.ProducerFenced) || errors.Is(err, fault.InvalidProducerID) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.fenced = cmp.Or(t.fenced, err)
		t.turnLocked()
	}
	return err
}

// EndTransaction implements producer.Transactor. Everything that was sent has its outcome first.
func (s *Session) EndTransaction(ctx context.Context, commit bool) error {
	t := s.transaction
	if t == nil {
		return fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.beginEnd(commit); err != nil {
		return err
	}
	next, err := t.end(ctx, commit)
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.turnLocked()
	t.state = transactionOpen
	switch {
	case err == nil:
		t.state, t.who, t.decided = transactionIdle, next, nil
	case errors.Is(err, fault.UnknownOutcome):
		t.decided = &commit
	case errors.Is(err, fault.ProducerFenced), errors.Is(err, fault.InvalidProducerID):
		t.fenced = cmp.Or(t.fenced, err)
	case errors.Is(err, fault.InvalidTxnState): // it has ended otherwise: at its timeout, or by an administrator
		t.decided = nil
		t.failed = cmp.Or(t.failed, err)
	}
	return err
}

// beginEnd keeps others from sending.
func (t *transaction) beginEnd(commit bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.fenced != nil:
		return t.fenced
	case t.state != transactionOpen:
		return fault.Newf(fault.InvalidTxnState, "no transaction of %q is open: Begin begins one", t.id)
	case t.decided != nil && *t.decided != commit:
		return fault.Newf(fault.InvalidTxnState, "the transaction of %q may have ended already, by a call whose outcome is unknown", t.id).
			Try("make the same call again")
	}
	t.state = transactionEnding
	t.turnLocked()
	return nil
}

// end waits for what was sent, and has the coordinator decide. It returns the identity of
// the next transaction.
func (t *transaction) end(ctx context.Context, commit bool) (next txn.Identity, err error) {
	t.mu.Lock()
	var drained chan struct{}
	if t.gate.Load()&^isShut > 0 {
		drained = make(chan struct{})
		t.drained = drained
	}
	t.mu.Unlock()
	if drained != nil {
		select {
		case <-drained:
		case <-ctx.Done():
			return next, ctx.Err()
		}
	}
	if err := t.session.settle(ctx); err != nil {
		return next, err
	}
	failure := t.session.takeFailure() // of a record, or of a callback
	t.mu.Lock()
	failed, touched, who := t.failed, t.touched, t.who
	t.mu.Unlock()
	switch {
	case t.session.isDone():
		return next, fault.Closed
	case commit && failed != nil:
		return next, t.mustAbort()
	case commit && failure != nil:
		return next, failure
	}
	if !touched {
		return who, nil
	}
	return t.session.transactions.End(ctx, t.id, who, commit)
}
