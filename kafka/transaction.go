package kafka

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
)

var _ producer.Transactor = (*producing)(nil)

// transaction is what a session has that was opened with a transactional ID: whether a
// transaction is open, which the client does not say, and what has failed in it, which the
// client commits without.
//
//	     Begin                  End                 the cluster's answer
//	idle ───────────▶ open ───────────▶ ending ─────────────────────────▶ idle
//	                   ▲                   │
//	                   └───────────────────┘ a record failed, or ctx ended before the request
//
// Once the client's producer ID has failed for good, fenced says so, and nothing works any
// more. The client does not say whether a newer producer has the transactional ID, or the
// transaction took longer than its timeout.
type transaction struct {
	id string

	mu      sync.Mutex
	state   transactionState
	failed  error   // of the first record that failed: the transaction can only be aborted
	fenced  error   // why nothing works any more
	unclear bool    // the client gave up asking whether the transaction is committed
	ending  *ending // the request that ends the transaction, once it was made
	records bool    // some were written: the client knows that there is a transaction
	offsets bool    // some were sent, which the client does not know

	sending int           // how many calls are about to pass a record to the client
	drained chan struct{} // closed when sending becomes 0, if End waits for that
}

type transactionState int8

const (
	transactionIdle transactionState = iota
	transactionBeginning
	transactionOpen
	transactionEnding
)

// ending is a request that ends a transaction. It goes on if its caller's ctx ends: the
// client could not say any more what has become of it.
type ending struct {
	commit bool
	done   chan struct{}
	err    error // of package fault; read it only when done is closed
}

// transactional are the client's options for a session with a transactional ID.
func transactional(cfg *producer.Config) []kgo.Opt {
	return []kgo.Opt{kgo.TransactionalID(cfg.TransactionalID), kgo.TransactionTimeout(cfg.TransactionTimeout)}
}

// takeOver gets the session its producer ID. That fences earlier producers of its
// transactional ID, and aborts the transaction that one has left open.
func (s *producing) takeOver(ctx context.Context) error {
	if _, _, err := s.client.ProducerID(ctx); err != nil {
		return failure(err)
	}
	return nil
}

// enter lets a call pass a record to the client within the open transaction. The caller
// calls leave.
func (t *transaction) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.fenced != nil:
		return t.fenced
	case t.state != transactionOpen || t.ending != nil || t.unclear:
		return t.none()
	case t.failed != nil:
		return t.mustAbort()
	}
	t.sending++
	return nil
}

func (t *transaction) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sending--; t.sending == 0 && t.drained != nil {
		close(t.drained)
		t.drained = nil
	}
}

func (t *transaction) none() error {
	return fault.Newf(fault.InvalidTxnState, "no transaction of %q is open: Begin begins one", t.id)
}

// mustAbort is the error of a transaction in which a record has failed.
func (t *transaction) mustAbort() error {
	return fault.Newf(fault.InvalidTxnState, "a record of the transaction failed, and it can only be aborted").Because(t.failed)
}

// fail makes the open transaction one that can only be aborted. It returns err.
func (s *producing) fail(err error) error {
	if t := s.transaction; t != nil && err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.failed = cmp.Or(t.failed, err)
	}
	return err
}

// BeginTransaction implements producer.Transactor.
func (s *producing) BeginTransaction(ctx context.Context) error {
	t := s.transaction
	if t == nil {
		return fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.finish(ctx); err != nil {
		return err
	}
	if err := t.begin(); err != nil {
		return err
	}
	s.dropStale()
	err := s.begin(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.state = transactionIdle
		return t.refusedLocked(err)
	}
	t.state, t.failed, t.records, t.offsets = transactionOpen, nil, false, false
	return nil
}

// begin claims the next transaction.
func (t *transaction) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.fenced != nil:
		return t.fenced
	case t.state != transactionIdle:
		return fault.Newf(fault.InvalidTxnState, "the transaction of %q that was begun before has not ended", t.id)
	}
	t.state = transactionBeginning
	return nil
}

// begin begins a transaction of the client's. The client may need another producer ID first.
func (s *producing) begin(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return fault.Closed
	}
	if _, _, err := s.client.ProducerID(ctx); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return s.failure(s.client.BeginTransaction())
}

// failure is failure for a call of the session's.
func (s *producing) failure(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return fault.Closed
	}
	return failure(err)
}

// finish has a transaction whose end is under way, or unclear, end before the next one
// begins.
func (s *producing) finish(ctx context.Context) error {
	t := s.transaction
	t.mu.Lock()
	running, unclear := t.ending, t.unclear
	t.mu.Unlock()
	switch {
	case running != nil:
		return s.EndTransaction(ctx, running.commit)
	case unclear:
		return s.EndTransaction(ctx, false)
	}
	return nil
}

// refusedLocked keeps an error after which the client does nothing any more. The caller
// holds mu.
func (t *transaction) refusedLocked(err error) error {
	switch fault.CodeOf(err) {
	case fault.ProducerFenced, fault.InvalidProducerEpoch, fault.InvalidProducerID:
		t.fenced = cmp.Or(t.fenced, err)
	}
	return err
}

// EndTransaction implements producer.Transactor.
func (s *producing) EndTransaction(ctx context.Context, commit bool) error {
	t := s.transaction
	if t == nil {
		return fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	running, err := t.beginEnd(commit)
	if err != nil {
		return err
	}
	if running == nil {
		if err := s.settle(ctx, commit); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.state = transactionOpen
			return err
		}
		running = s.startEnd(commit)
	}
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return fault.Newf(fault.UnknownOutcome, "the end of the transaction of %q", t.id).Because(ctx.Err())
	}
}

// beginEnd keeps others from sending. It returns the request that is under way, if one is.
func (t *transaction) beginEnd(commit bool) (running *ending, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.fenced != nil:
		return nil, t.fenced
	case t.ending != nil && t.ending.commit == commit:
		return t.ending, nil
	case t.ending != nil:
		return nil, fault.Newf(fault.InvalidTxnState, "the transaction of %q may have ended already, by a call whose outcome is unknown", t.id).
			Try("make the same call again")
	case t.unclear && commit:
		return nil, fault.Newf(fault.UnknownOutcome, "whether the transaction of %q is committed", t.id).
			Try("abort it: that has no effect where it is")
	case t.state != transactionOpen:
		return nil, t.none()
	}
	t.state = transactionEnding
	return nil, nil
}

// settle waits until everything that was sent has its outcome, and returns why the
// transaction cannot end as it is to.
func (s *producing) settle(ctx context.Context, commit bool) error {
	t := s.transaction
	t.mu.Lock()
	var drained chan struct{}
	if t.sending > 0 {
		drained = make(chan struct{})
		t.drained = drained
	}
	t.mu.Unlock()
	if drained != nil {
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.drain(ctx); err != nil {
		return err
	}
	failure := s.takeFailure() // of a record, or of a callback
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case commit && t.failed != nil:
		return t.mustAbort()
	case commit && failure != nil:
		return failure
	}
	return nil
}

// startEnd begins the request that ends the transaction.
func (s *producing) startEnd(commit bool) *ending {
	t := s.transaction
	e := &ending{commit: commit, done: make(chan struct{})}
	t.mu.Lock()
	t.ending = e
	t.mu.Unlock()
	end := func() {
		err := s.finishEnd(commit)
		if s.ctx.Err() != nil {
			err = fault.Closed
		}
		t.mu.Lock()
		e.err = t.endedLocked(err)
		t.mu.Unlock()
		close(e.done)
	}
	s.sending.RLock()
	defer s.sending.RUnlock()
	if s.closed {
		end()
	} else {
		s.flushes.Go(end)
	}
	return e
}

// finishEnd ends the transaction, and waits until it has ended in all its partitions.
func (s *producing) finishEnd(commit bool) error {
	if s.ctx.Err() != nil {
		return fault.Closed
	}
	var err error
	s.transaction.mu.Lock()
	alone := s.transaction.offsets && !s.transaction.records
	s.transaction.mu.Unlock()
	if alone { // the client would end nothing
		err = s.endOffsets(commit)
	}
	if err == nil {
		err = s.client.EndTransaction(s.ctx, kgo.TransactionEndTry(commit))
	}
	if errors.Is(err, kerr.OperationNotAttempted) { // the client says only that its producer ID has failed
		_, _, err = s.client.ProducerID(s.ctx)
		if err == nil {
			err = kerr.TransactionAbortable
		}
	}
	if err == nil && !commit {
		_, _, err = s.client.ProducerID(s.ctx) // the client may leave it to a new one to abort the transaction
	}
	if err == nil {
		err = s.awaitMarkers()
	}
	return err
}

// endedLocked takes what became of the transaction. The caller holds mu.
func (t *transaction) endedLocked(err error) error {
	commit := t.ending.commit
	t.ending = nil
	if err == nil {
		t.state, t.unclear = transactionIdle, false
		return nil
	}
	t.state = transactionOpen
	e, answered := errors.AsType[*kerr.Error](err)
	switch {
	case answered && e.Code == kerr.TransactionAbortable.Code, answered && e.Code == kerr.InvalidTxnState.Code:
		t.failed = cmp.Or(t.failed, failure(err))
		return fault.Newf(fault.InvalidTxnState, "the transaction of %q can only be aborted", t.id).Because(failure(err))
	case answered && !e.Retriable && e.Code != kerr.UnknownServerError.Code:
		return t.refusedLocked(failure(err))
	}
	t.unclear = true
	if !commit { // it may be tried again
		return failure(err)
	}
	return fault.Newf(fault.UnknownOutcome, "whether the transaction of %q is committed", t.id).Because(failure(err)).
		Try("abort it: that has no effect where it is")
}

// While a transaction's markers are being written, the cluster is asked again after
// markersFirst, then twice that and so on, up to markersEvery.
const (
	markersFirst = time.Millisecond
	markersEvery = 100 * time.Millisecond
)

// awaitMarkers waits until the transaction has ended in all its partitions: the cluster
// answers once it is decided. A cluster that cannot be asked is not waited for.
func (s *producing) awaitMarkers() error {
	for pause := markersFirst; ; pause = min(2*pause, markersEvery) {
		all, err := s.cluster.admin.DescribeTransactions(s.ctx, s.transaction.id)
		d, ok := all[s.transaction.id]
		if err != nil || !ok || d.Err != nil || d.State != "PrepareCommit" && d.State != "PrepareAbort" {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return s.ctx.Err()
		}
	}
}

// dropStale makes the client drop what it knows of topics that have changed. Nothing is
// being sent.
func (s *producing) dropStale() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.writers))
	s.mu.Unlock()
	for _, w := range all {
		w.mu.Lock()
		if w.stale {
			w.stale = false
			s.client.PurgeTopicsFromProducing(w.topic)
			w.loaded.Store(0)
		}
		w.mu.Unlock()
	}
}
