package sharing

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/coordinator"
	internal "github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
)

// Sessions opens the sessions of share consumers on a host.
type Sessions struct {
	host   *host.Host
	shares *coordinator.Shares
}

// New returns the Sessions of a host with these share groups.
func New(h *host.Host, shares *coordinator.Shares) *Sessions {
	return &Sessions{h, shares}
}

// Open opens a session. See share.Backend.
func (o *Sessions) Open(ctx context.Context, cfg share.Config) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	s := &Session{
		sessions: o, ctx: life, end: end, cfg: cfg, member: catalogue.NewID().String(),
		signal: make(chan struct{}, 1), turn: make(chan struct{}, 1), ended: make(chan struct{}), sources: map[record.TopicPartition]*source{},
	}
	if err := o.host.AddSession(s); err != nil {
		end()
		return nil, err
	}
	return s, nil
}

// Session is a member of a share group, in this process.
type Session struct {
	sessions *Sessions
	ctx      context.Context // ends when closing begins
	end      context.CancelFunc
	cfg      share.Config
	member   string
	signal   chan struct{} // holds a token after something has happened
	turn     chan struct{} // holds a token while a goroutine acquires
	calls    sync.WaitGroup
	ended    chan struct{} // closed when closing has ended

	// The acquiring goroutine's.
	seen  <-chan struct{} // the state of the topics that it knows
	line  []*source       // in the order in which they are visited
	first int             // the one to visit first
	last  int64           // the number of the latest acquisition

	mu      sync.Mutex
	closed  bool
	failure error // of closing; read it only when ended is closed
	sources map[record.TopicPartition]*source
}

// source is a partition of which the session acquires records.
type source struct {
	session *Session
	tp      record.TopicPartition
	key     internal.Key
	topic   *host.Topic
	waiter  coordinator.Waiter // of the coordinator
	pending int64              // the number of an acquisition whose outcome is not known; 0 if there is none

	waiting bool // the partition will call Wake. Guarded by session.mu
}

// wake makes a waiting Acquire look again. It does not block.
func (s *Session) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// MetadataChanged implements host.Watcher.
func (s *Session) MetadataChanged() { s.wake() }

// Wake implements partition.Waker.
func (src *source) Wake() {
	src.session.mu.Lock()
	src.waiting = false
	src.session.mu.Unlock()
	src.session.wake()
}

// enter begins a call, which Close waits for, with a ctx that ends with the session.
func (s *Session) enter(ctx context.Context) (context.Context, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fault.Closed
	}
	s.calls.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		s.calls.Done()
	}, nil
}

// Acquire acquires records of one partition. See share.Session.
func (s *Session) Acquire(ctx context.Context, most int) (acquired []share.Acquired, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inner, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
		acquired, err = s.await(inner, most)
	case <-inner.Done():
		err = inner.Err()
	}
	if err != nil && inner.Err() != nil {
		if err = ctx.Err(); err == nil {
			err = fault.Closed // the session's ctx has ended
		}
	}
	return acquired, err
}

// await visits the sources until one has records.
func (s *Session) await(ctx context.Context, most int) ([]share.Acquired, error) {
	for {
		if err := s.update(); err != nil {
			return nil, err
		}
		acquired, next, err := s.visit(ctx, most)
		if len(acquired) > 0 || err != nil {
			return acquired, err
		}
		if err := s.wait(ctx, next); err != nil {
			return nil, err
		}
	}
}

// wait waits until something happens, or a time.
func (s *Session) wait(ctx context.Context, next time.Time) error {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-s.signal:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// update brings the sources up to date with the topics.
func (s *Session) update() error {
	h := s.sessions.host
	changed := h.MetadataChanged()
	if changed == s.seen {
		return nil
	}
	now := map[record.TopicPartition]*source{}
	s.line = s.line[:0]
	for _, name := range s.cfg.Topics {
		if _, exists := h.Lookup(name); !exists {
			continue
		}
		t, err := h.Topic(name)
		if errors.Is(err, fault.UnknownTopic) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		for n := range int32(len(t.Partitions())) {
			src := s.source(t, n)
			now[src.tp] = src
			s.line = append(s.line, src)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources, s.seen = now, changed
	return nil
}

// source returns the source of a partition: the one that there is, or a new one.
func (s *Session) source(t *host.Topic, n int32) *source {
	tp := record.TopicPartition{Topic: t.Name, Partition: n}
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.sources[tp]; src != nil && src.key.Topic == t.ID {
		return src
	}
	src := &source{session: s, tp: tp, topic: t, key: internal.Key{Group: s.cfg.Group, Topic: t.ID, Partition: n}}
	src.waiter.Wake = s.wake
	return src
}

// visit asks one source after the other, beginning behind the one that was asked last, until
// one has records. next is when to ask again if nothing happens.
func (s *Session) visit(ctx context.Context, most int) (acquired []share.Acquired, next time.Time, err error) {
	for i := range s.line {
		src := s.line[(s.first+i)%len(s.line)]
		acquired, at, err := src.acquire(ctx, most)
		if len(acquired) > 0 || err != nil {
			s.first = (s.first + i + 1) % len(s.line)
			return acquired, next, err
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return nil, next, nil
}

// Settle settles acquired records. See share.Session.
func (s *Session) Settle(ctx context.Context, all []share.Settlement) ([]error, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	errs := make([]error, len(all))
	byKey := map[internal.Key][]int{}
	for i, one := range all {
		src := s.at(record.TopicPartition{Topic: one.Position.Topic, Partition: one.Position.Partition})
		if src == nil {
			errs[i] = fault.At(fault.InvalidRecordState, one.Position.Topic, one.Position.Partition, one.Position.Offset)
			continue
		}
		byKey[src.key] = append(byKey[src.key], i)
	}
	for k, numbers := range byKey {
		some := make([]internal.Settlement, len(numbers))
		for j, i := range numbers {
			one := all[i]
			some[j] = internal.Settlement{First: one.Position.Offset, Last: one.Position.Offset, Acquisition: one.Acquisition, Kind: internal.Kind(one.Kind), At: one.At}
		}
		outcome, err := s.sessions.shares.Settle(ctx, k, s.member, some)
		if err != nil {
			return nil, err
		}
		for j, i := range numbers {
			if outcome[j] != nil {
				errs[i] = fault.At(fault.CodeOf(outcome[j]), all[i].Position.Topic, all[i].Position.Partition, all[i].Position.Offset)
			}
		}
	}
	return errs, nil
}

func (s *Session) at(tp record.TopicPartition) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sources[tp]
}

// isolation returns what the session sees of transactions.
func (s *Session) isolation() partition.Isolation {
	if s.cfg.ReadCommitted {
		return partition.ReadCommitted
	}
	return partition.ReadUncommitted
}

// leaveFor is how long closing waits for the coordinators to take back what is acquired.
const leaveFor = 5 * time.Second

// Close ends the session. See share.Session.
func (s *Session) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if !first {
		<-s.ended
		return s.failure
	}
	defer close(s.ended)
	s.end()
	s.calls.Wait()
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	for _, src := range s.sources { // which no one changes any more
		errs = append(errs, src.leave(ctx))
	}
	s.failure = errors.Join(errs...)
	s.sessions.host.RemoveSession(s)
	return s.failure
}

// leave gives back what is acquired of a partition. Where replicas have no leader meanwhile,
// locks end by themselves.
func (src *source) leave(ctx context.Context) error {
	s := src.session
	if p, err := src.topic.Partition(src.tp.Partition); err == nil {
		p.At(s.isolation()).CancelWait(src)
	}
	err := s.sessions.shares.Leave(ctx, src.key, s.member, &src.waiter)
	if s.sessions.host.IsReplicated() {
		return nil
	}
	return err
}
