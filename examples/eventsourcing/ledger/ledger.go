// Package ledger keeps accounts by event sourcing: it stores the events, and
// computes the balances from them.
//
// Events are records of one topic with one partition, and so in one order. A
// command is checked against the current State and results in one Event. The
// event is appended on the condition that nothing was appended since the Ledger
// has read: so any number of Ledgers, in any number of processes, may share the
// accounts. One that finds others' events first applies them, and checks the
// command again.
//
// Every other view of the accounts is a fold of the same events, a projection:
// the State at a number or at a time, the statement of one account. Now and then
// the State is stored as a snapshot, so that opening a Ledger need not apply all
// events. A snapshot is derived: without it, opening takes longer.
package ledger

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

var (
	events    = serde.For("ledger-events", serde.String, serde.JSON[Event]())
	snapshots = serde.For("ledger-snapshots", serde.String, serde.JSON[snapshot]())
)

// Backend is what a ledger runs on: a broker in this process or in another one.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}

// Ledger is the accounts with their writer. It is used by one goroutine.
type Ledger struct {
	backend  Backend
	producer *producer.Producer
	snapshot
}

// snapshot is the result of the events before an offset.
type snapshot struct {
	State State `json:"state"`
	Next  int64 `json:"next"` // the number of the next event
	End   int64 `json:"end"`  // its offset
}

// everySnapshot is after how many events a snapshot is stored, under this key.
const (
	everySnapshot = 100
	snapshotKey   = "accounts"
)

// Entry is an event with its number, from 0 on, and its time.
type Entry struct {
	Number int64
	Time   time.Time
	Event
}

// Open opens the ledger of a backend, creates it if there is none, and applies
// the events behind the latest snapshot. The caller must close it.
func Open(ctx context.Context, backend Backend) (*Ledger, error) {
	found, err := topic.Ensure(ctx, backend,
		topic.Spec{Name: events.Name, Partitions: 1, Config: topic.Config{Retention: topic.Forever}},
		topic.Spec{Name: snapshots.Name, Partitions: 1, Config: topic.Config{Cleanup: topic.Compact, KeyIndex: true}})
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if err := f.Err(); err != nil {
			return nil, err // a ledger needs one order, and keeps everything
		}
	}
	p, err := producer.New(backend)
	if err != nil {
		return nil, err
	}
	l := &Ledger{backend: backend, producer: p, snapshot: snapshot{State: State{}}}
	for r, err := range consumer.History(ctx, backend, snapshots, snapshotKey) {
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		l.snapshot = r.Value // the last one counts
	}
	if err := l.catchUp(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return l, nil
}

// catchUp applies the events that are there and not applied yet.
func (l *Ledger) catchUp(ctx context.Context) error {
	return l.read(ctx, &l.snapshot, func(e Entry) bool {
		l.snapshot.State.Apply(e.Event)
		return true
	})
}

// Close closes the ledger's producer.
func (l *Ledger) Close() error { return l.producer.Close() }

// State returns the present state, which is read-only.
func (l *Ledger) State() State { return l.snapshot.State }

// Next returns the number that the next event gets.
func (l *Ledger) Next() int64 { return l.snapshot.Next }

// Refused is the error of a command that the state does not allow. No event was
// stored then.
type Refused struct{ Reason error }

// Error returns the reason.
func (r Refused) Error() string { return "refused: " + r.Reason.Error() }

// Do executes a command and returns its event. After a Refused, nothing has
// been stored. After fault.UnknownOutcome the event may have been stored: the next
// command finds out, because it finds it among the events.
func (l *Ledger) Do(ctx context.Context, c Command) (Entry, error) {
	for {
		e, err := l.State().Decide(c)
		if err != nil {
			return Entry{}, Refused{err}
		}
		r, err := producer.To(l.producer, events).Record(e.Account, e)
		if err != nil {
			return Entry{}, err
		}
		r.Timestamp = time.Now()
		at, err := l.producer.SendIf(ctx, r, producer.IfEndAt(l.End))
		if errors.Is(err, fault.PreconditionFailed) { // another ledger was faster
			if err := l.catchUp(ctx); err != nil {
				return Entry{}, err
			}
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		l.snapshot.State.Apply(e)
		l.snapshot.Next, l.End = l.Next()+1, at.Offset+1
		if l.Next()%everySnapshot == 0 {
			_, err = producer.To(l.producer, snapshots).Send(ctx, snapshotKey, l.snapshot)
		}
		return Entry{Number: l.Next() - 1, Time: r.Timestamp, Event: e}, err
	}
}

// History yields all events that have happened so far, in their order.
func (l *Ledger) History(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := l.read(ctx, &snapshot{}, func(e Entry) bool { return yield(e, nil) }); err != nil {
			yield(Entry{}, err)
		}
	}
}

// read passes on the events from where s ends up to the topic's current end, and moves s's
// end. Offsets do not number them: what a cluster writes for itself into a topic takes
// offsets, too, and is not delivered.
func (l *Ledger) read(ctx context.Context, s *snapshot, apply func(Entry) bool) error {
	tp := record.TopicPartition{Topic: events.Name, Partition: 0}
	ends, err := l.backend.ListOffsets(ctx, topic.Latest(), tp)
	if err != nil {
		return err
	}
	c, err := consumer.New(l.backend, consumer.Assign(tp), consumer.FromOffset(s.End))
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		at, err := c.Position(ctx, tp)
		if err != nil || at >= ends[tp].Offset {
			s.End = max(s.End, min(at, ends[tp].Offset))
			return err
		}
		batch, err := poll(ctx, consumer.Of(c, events))
		if err != nil {
			return err
		}
		for _, r := range batch {
			if r.Offset >= ends[tp].Offset || !apply(Entry{Number: s.Next, Time: r.Timestamp, Event: r.Value}) {
				s.End = r.Offset
				return nil
			}
			s.Next++
		}
	}
}

// poll returns the next events, or after a moment none.
func poll(ctx context.Context, c *consumer.Typed[string, Event]) ([]consumer.Record[string, Event], error) {
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	batch, err := c.Poll(soon)
	if soon.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return batch, err
}

// Project folds the events, from the first one on, into a view of them, until apply returns
// false. Nothing is stored of it: a view that was not thought of before has the whole past.
func Project[V any](ctx context.Context, l *Ledger, view V, apply func(V, Entry) (V, bool)) (V, error) {
	for e, err := range l.History(ctx) {
		if err != nil {
			return view, err
		}
		next, more := apply(view, e)
		if view = next; !more {
			break
		}
	}
	return view, nil
}

// Before returns the state before the event of that number: the same fold,
// ended earlier.
func (l *Ledger) Before(ctx context.Context, number int64) (State, error) {
	return l.until(ctx, func(e Entry) bool { return e.Number >= number })
}

// At returns the state at a time.
func (l *Ledger) At(ctx context.Context, t time.Time) (State, error) {
	return l.until(ctx, func(e Entry) bool { return e.Time.After(t) })
}

func (l *Ledger) until(ctx context.Context, isLater func(Entry) bool) (State, error) {
	return Project(ctx, l, State{}, func(s State, e Entry) (State, bool) {
		if isLater(e) {
			return s, false
		}
		s.Apply(e.Event)
		return s, true
	})
}
