// Package ledger keeps accounts by event sourcing: it stores the events, and
// computes the balances from them.
//
// Events are records of one topic with one partition, and so in one order. A
// command is checked against the current State and results in one Event. The
// event is appended, and once it is acknowledged it is applied. Opening a
// Ledger applies all events again. Nothing else is stored: the State at any
// moment, and any other view of the accounts, is a fold of the same events.
//
// A Ledger must be the only writer: two Ledgers on one topic would not see each
// other's events when they check commands.
package ledger

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

var events = serde.For("ledger-events", serde.String, serde.JSON[Event]())

// Backend is what a ledger runs on: a broker in this process, or a Kafka
// cluster.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}

// Ledger is the accounts with their writer. It is used by one goroutine.
type Ledger struct {
	backend  Backend
	producer *producer.Producer
	state    State
	next     int64 // the number of the next event
}

// Entry is an event with its number, from 0 on, and its time.
type Entry struct {
	Number int64
	Time   time.Time
	Event
}

// Open opens the ledger of a backend, creates it if there is none, and applies
// all events. The caller must close it.
func Open(ctx context.Context, backend Backend) (*Ledger, error) {
	found, err := topic.Ensure(ctx, backend, topic.Spec{
		Name: events.Name, Partitions: 1, Config: topic.Config{Retention: topic.Forever},
	})
	if err != nil {
		return nil, err
	}
	if err := found[0].Err(); err != nil {
		return nil, err // a ledger needs one order, and keeps everything
	}
	p, err := producer.New(backend)
	if err != nil {
		return nil, err
	}
	l := &Ledger{backend: backend, producer: p, state: State{}}
	for e, err := range l.History(ctx) {
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		l.state.Apply(e.Event)
		l.next = e.Number + 1
	}
	return l, nil
}

// Close closes the ledger's producer.
func (l *Ledger) Close() error { return l.producer.Close() }

// State returns the present state, which is read-only.
func (l *Ledger) State() State { return l.state }

// Next returns the number that the next event gets.
func (l *Ledger) Next() int64 { return l.next }

// Refused is the error of a command that the state does not allow. No event was
// stored then.
type Refused struct{ Reason error }

// Error returns the reason.
func (r Refused) Error() string { return "refused: " + r.Reason.Error() }

// Do executes a command and returns its event. After a Refused, nothing has
// been stored. After any other error the outcome is unknown: open the ledger
// again and read its events.
func (l *Ledger) Do(ctx context.Context, c Command) (Entry, error) {
	e, err := l.state.Decide(c)
	if err != nil {
		return Entry{}, Refused{err}
	}
	r, err := producer.To(l.producer, events).Record(e.Account, e)
	if err != nil {
		return Entry{}, err
	}
	r.Timestamp = time.Now()
	if _, err := l.producer.Send(ctx, r); err != nil {
		return Entry{}, err
	}
	l.state.Apply(e)
	l.next++
	return Entry{Number: l.next - 1, Time: r.Timestamp, Event: e}, nil
}

// History yields all events that have happened so far, in their order.
func (l *Ledger) History(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := l.read(ctx, yield); err != nil {
			yield(Entry{}, err)
		}
	}
}

// read passes on the events up to the topic's current end. Offsets do not number them: what
// a cluster writes for itself into a topic takes offsets, too, and is not delivered.
func (l *Ledger) read(ctx context.Context, yield func(Entry, error) bool) error {
	tp := record.TopicPartition{Topic: events.Name, Partition: 0}
	ends, err := l.backend.ListOffsets(ctx, topic.Latest(), tp)
	if err != nil {
		return err
	}
	c, err := consumer.New(l.backend, consumer.Assign(tp))
	if err != nil {
		return err
	}
	defer c.Close()
	for number := int64(0); ; {
		at, err := c.Position(ctx, tp)
		if err != nil || at >= ends[tp].Offset {
			return err
		}
		batch, err := poll(ctx, consumer.Of(c, events))
		if err != nil {
			return err
		}
		for _, r := range batch {
			if r.Offset >= ends[tp].Offset || !yield(Entry{Number: number, Time: r.Timestamp, Event: r.Value}, nil) {
				return nil
			}
			number++
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

// Before returns the state before the event of that number: the same fold,
// ended earlier.
func (l *Ledger) Before(ctx context.Context, number int64) (State, error) {
	state := State{}
	for e, err := range l.History(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Number >= number {
			break
		}
		state.Apply(e.Event)
	}
	return state, nil
}
