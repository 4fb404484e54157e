package coordinator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
)

// txnShard is the coordinator of the transactional IDs in one partition of
// __transaction_state.
type txnShard struct {
	shard[*txn.Coordinator]
	transactions *Transactions

	timer   *time.Timer        // for tick; runs only while there are transactions. Guarded by mu
	endings map[string]*ending // what is being completed, by transactional ID. Guarded by mu

	// The writer's.
	made      []*txn.Ending // decided in this round
	undone    []*txn.Ending // whose markers a crash has undone; set before Repair goes on
	recovered bool
	restored  chan struct{}       // nil, or closed once they are there; guarded by mu where others read it
	due       time.Time           // when a transaction may reach its timeout; zero for none
	set       time.Time           // what the timer is set to
	latest    map[txnCaller]int64 // the number of each caller's latest request, in this leader epoch
}

// ending is a transaction whose markers are being written, by the coordinator of a leader
// epoch.
type ending struct {
	*txn.Ending
	epoch int32
	done  chan struct{} // closed when the markers are there and Complete is queued, or the shard gives up
	err   error         // why it has given up; read it only when done is closed
}

// run runs a command of transactions.
func (s *txnShard) run(ctx context.Context, command func(*txn.Coordinator) (txn.Result, error)) error {
	return s.do(ctx, s.gathering(command))
}

// gathering returns a command as the shard runs it.
func (s *txnShard) gathering(command func(*txn.Coordinator) (txn.Result, error)) func(*txn.Coordinator) ([]unit, error) {
	return func(c *txn.Coordinator) ([]unit, error) {
		r, err := command(c)
		if r.Ended != nil {
			s.made = append(s.made, r.Ended)
			s.flushEarly(r.Ended)
		}
		return unitOf(r), err
	}
}

// unitOf returns the records of a result, which belong together.
func unitOf(r txn.Result) []unit {
	if len(r.Records) == 0 {
		return nil
	}
	u := unit{records: make([]group.Record, len(r.Records)), late: r.Late}
	for i, made := range r.Records {
		u.records[i] = group.Record(made)
	}
	return []unit{u}
}

func (s *txnShard) empty() *txn.Coordinator { return txn.New() }

func (s *txnShard) apply(c *txn.Coordinator, b *record.Batch, r *record.Record) error {
	if b.Control() {
		return nil
	}
	return c.Apply(r.Key, r.Value)
}

// prepare, after the log was read, takes up what was decided and is not complete, and
// forgets IDs that were not used for long.
func (s *txnShard) prepare(c *txn.Coordinator, loaded bool) ([]unit, error) {
	if !loaded {
		return nil, nil
	}
	clear(s.latest)
	if err := s.transactions.catchUp(); err != nil {
		return nil, err
	}
	units, err := s.recover(c)
	if err != nil {
		return nil, err
	}
	_, s.due, _ = c.NextExpiry()
	r, err := s.forget(c)
	return append(units, unitOf(r)...), err
}

// forget forgets IDs that were not used for long.
func (s *txnShard) forget(c *txn.Coordinator) (txn.Result, error) {
	r, err := c.Forget(s.transactions.cfg.Retention, s.isDurable, time.Now())
	if len(r.Records) > 0 {
		maps.DeleteFunc(s.latest, func(from txnCaller, _ int64) bool { return !c.Has(from.id) })
	}
	return r, err
}

// watch makes sure that the shard looks when an ID's transaction reaches its timeout.
func (s *txnShard) watch(c *txn.Coordinator, id string) {
	if at, ok := c.Expiry(id); ok && (s.due.IsZero() || at.Before(s.due)) {
		s.due = at
	}
}

// finish sets the timer.
func (s *txnShard) finish(*txn.Coordinator, func([]unit) error) error {
	if s.due.Equal(s.set) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = s.due
	switch {
	case s.closed:
	case s.due.IsZero():
		s.timer.Stop()
	case s.timer == nil:
		s.timer = time.AfterFunc(time.Until(s.due), s.tick)
	default:
		s.timer.Reset(time.Until(s.due))
	}
	return nil
}

// tick aborts transactions that have reached their timeout. The timer calls it on a
// goroutine of its own.
func (s *txnShard) tick() {
	for {
		id := ""
		err := s.run(context.Background(), func(c *txn.Coordinator) (txn.Result, error) {
			next, at, ok := c.NextExpiry()
			if ok && !time.Now().Before(at) {
				id = next
				return txn.Result{}, nil
			}
			s.due = at
			return s.forget(c)
		})
		if err == nil && id != "" {
			err = s.command(context.Background(), &txnRequest{id: id}, func(c *txn.Coordinator, fresh int64) (txn.Result, error) {
				if at, ok := c.Expiry(id); !ok || time.Now().Before(at) {
					return txn.Result{}, nil // it has ended, and perhaps another one has begun
				}
				return c.Abort(id, fresh, time.Now())
			})
		}
		if err != nil && !errors.Is(err, fault.NotCoordinator) { // else another node's coordinator does it
			s.tickAgain()
		}
		if err != nil || id == "" {
			return
		}
	}
}

// tickAgain has the timer call tick soon, after one that has failed.
func (s *txnShard) tickAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.timer.Reset(time.Second)
	}
}

// notify begins to complete what was decided in the round, unless the shard has discarded
// it: then it reads in the log whether it was decided. What takes no wait is completed before
// the commands return: passing it to another goroutine and back takes longer than that.
func (s *txnShard) notify(failed bool) {
	made := s.made
	s.made = nil
	if failed {
		s.due, s.set = time.Time{}, time.Time{}
		return
	}
	made = slices.DeleteFunc(made, func(e *txn.Ending) bool {
		return s.isQuick(e) && s.markAtOnce(&ending{Ending: e, epoch: s.epoch})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range made {
		if now := s.endings[e.TransactionalID]; s.closed || now != nil && now.Identity == e.Identity && now.epoch == s.epoch {
			continue
		}
		running := &ending{Ending: e, epoch: s.epoch, done: make(chan struct{})}
		s.endings[e.TransactionalID] = running
		s.transactions.work.Go(func() { s.complete(running) })
	}
}

// awaitEnd waits until no transaction of an ID is being ended.
func (s *txnShard) awaitEnd(ctx context.Context, id string) error {
	s.mu.Lock()
	running, closed, restored := s.endings[id], s.closed, s.restored
	s.mu.Unlock()
	if running == nil && restored != nil {
		select {
		case <-restored:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.host.Closing():
			return fault.Closed
		}
	}
	switch {
	case closed:
		return fault.Closed
	case running == nil:
		return nil
	}
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.host.Closing():
		return fault.Closed
	}
}

// complete writes a transaction's markers and then queues Complete. Commands that come
// after that find it complete, so no one need wait for its record.
func (s *txnShard) complete(e *ending) {
	if e.err = s.flush(e); e.err == nil {
		e.err = s.mark(e)
	}
	if e.err == nil {
		durable := s.host.IsReplicated()
		s.post(s.gathering(func(c *txn.Coordinator) (txn.Result, error) { return c.Complete(e.Ending, durable, time.Now()) }))
	}
	s.mu.Lock()
	if s.endings[e.TransactionalID] == e {
		delete(s.endings, e.TransactionalID)
	}
	s.mu.Unlock()
	close(e.done)
}

// markAtOnce is complete in the shard's turn, for a transaction of partitions that do not make
// it wait. It reports whether all markers are there, and the transaction is complete.
func (s *txnShard) markAtOnce(e *ending) bool {
	left, err := s.markOnce(e, e.Partitions)
	if err != nil || len(left) > 0 {
		return false
	}
	r, err := s.state.Complete(e.Ending, false, time.Now())
	s.late = append(s.late, unitOf(r)...)
	return err == nil
}

// leads reports whether the shard's partition is still led here in an epoch. With one copy
// there is no other coordinator to leave it to.
func (s *txnShard) leads(epoch int32) bool {
	now, leads := s.Partition().Leadership()
	return !s.host.IsReplicated() || leads && now == epoch
}

// stop stops the timer and refuses further commands.
func (s *txnShard) stop() {
	s.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}
