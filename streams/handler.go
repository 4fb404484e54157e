package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Phase is the phase of processing in which an error happened.
type Phase int

// The phases. Each has a Handler.
const (
	Processing      Phase = iota // a function of the topology panicked, or a store could not write its result
	Deserialization              // the bytes that were read are not what the serde expects, or the timestamp is before 1970
	Production                   // a result could not be encoded, or its topic refused it
)

const phases = 3

// String returns the phase in lower case.
func (p Phase) String() string {
	switch p {
	case Processing:
		return "processing"
	case Deserialization:
		return "deserialization"
	case Production:
		return "production"
	}
	return fmt.Sprintf("Phase(%d)", int(p))
}

// Handler says what to do with a record that cannot be processed: Fail, Skip,
// DeadLetter, or what a function of the program decides. The zero Handler is
// Fail.
type Handler struct {
	action action
	topic  string // of dead letters
	decide func(*ProcessingError) Handler
}

type action uint8

const (
	failing action = iota
	skipping
	deadLettering
	deciding
)

// Fail ends the application: Run returns the ProcessingError. The next Run
// processes the record again.
func Fail() Handler { return Handler{} }

// Skip drops the record at the node where it failed, and counts it. Effects
// that the record already had, in stores and on other branches, remain.
func Skip() Handler { return Handler{action: skipping} }

// DeadLetter is Skip, and also writes the record to a topic: with the bytes,
// the timestamp and the headers it was read with, and headers that say where it
// comes from and why it failed (see HeaderException and the others).
//
// The topic must exist when the application runs, and the topology must not
// read it. Offsets are committed only after dead letters are acknowledged. A
// dead letter that cannot be written ends the application. A dead letter is
// larger than its record by the headers, which include a stack: its topic needs
// a MaxMessageBytes with room for that.
//
// A row of a table that fails while it is forwarded at a commit has no record:
// its key and value are written as in its changelog, under the changelog's name
// and without an offset. A result that its topic refused is written as it was
// sent.
func DeadLetter(topic string) Handler { return Handler{action: deadLettering, topic: topic} }

// Decide asks f about each error. f runs in the task, so several goroutines may
// call it at once. f may keep the error and its record. Dead-letter topics that
// it returns must exist. If f panics or returns another Decide, the application
// fails.
func Decide(f func(*ProcessingError) Handler) Handler {
	return Handler{action: deciding, decide: f}
}

// OnDeserializationError sets the handler for records whose bytes are not what
// their serde expects, or whose timestamps are before 1970. The default is
// Fail.
func OnDeserializationError(h Handler) Option { return on(h, Deserialization) }

// OnProcessingError sets the handler for records on which a function of the
// topology panics (with panic(err) a program rejects a record), and for updates
// that a store's serde cannot write. The default is Fail.
//
// If an aggregator changes its aggregate in place and then panics, the change
// remains.
func OnProcessingError(h Handler) Option { return on(h, Processing) }

// OnProductionError sets the handler for results that their serde cannot write,
// and for those that their topic refuses because of their content, such as with
// fault.RecordTooLarge. The default is Fail. A topic refuses whole batches: all
// records of one are treated alike. The application always fails if a topic
// cannot be written at all, and if a store's changelog refuses an update, which
// the store would lose.
func OnProductionError(h Handler) Option { return on(h, Production) }

// OnError is OnDeserializationError, OnProcessingError and OnProductionError in
// one.
func OnError(h Handler) Option { return on(h, Deserialization, Processing, Production) }

func on(h Handler, phases ...Phase) Option {
	return option(func(c *config) {
		for _, p := range phases {
			c.handling.handlers[p] = h
		}
	})
}

// Logger makes the application log a warning for each record that is skipped or
// dead-lettered.
func Logger(l *slog.Logger) Option { return option(func(c *config) { c.handling.logger = l }) }

// ErrorCounts says how many records were skipped and dead-lettered, by the phase
// in which they failed.
type ErrorCounts struct {
	Deserialization, Processing, Production ErrorCount

	// Late is how often a record was left out of a window because the window was
	// closed.
	Late int64
}

// ErrorCount holds the counts of one phase.
type ErrorCount struct {
	Skipped      int64 // by Skip, or because a source's EventTime said so
	DeadLettered int64 // by DeadLetter
}

// handling is an application's error handling and its counts. It is safe for
// concurrent use.
type handling struct {
	app      string
	handlers [phases]Handler
	logger   *slog.Logger
	counts   [phases]struct{ skipped, deadLettered atomic.Int64 }
	lateness atomic.Int64
}

// set reports whether any handler is other than Fail.
func (h *handling) set() bool {
	for _, handler := range h.handlers {
		if handler.action != failing {
			return true
		}
	}
	return false
}

// check returns what is wrong with the handlers of an application that reads
// topics.
func (h *handling) check(reads map[string]*subTopology) error {
	var errs []error
	for phase, handler := range h.handlers {
		switch handler.action {
		case deadLettering:
			if err := topic.ValidateName(handler.topic); err != nil {
				errs = append(errs, fault.Newf(fault.InvalidConfig, "the dead-letter topic of %v errors", Phase(phase)).Because(err))
			} else if reads[handler.topic] != nil {
				errs = append(errs, fault.Newf(fault.InvalidConfig, "the dead-letter topic %s is one that the topology reads: its records would fail again", handler.topic))
			}
		case deciding:
			if handler.decide == nil {
				errs = append(errs, fault.Newf(fault.InvalidConfig, "no function that decides about %v errors", Phase(phase)))
			}
		}
	}
	return errors.Join(errs...)
}

// topics returns the dead-letter topics that are known in advance.
func (h *handling) topics() []string {
	var names []string
	for _, handler := range h.handlers {
		if handler.action == deadLettering {
			names = append(names, handler.topic)
		}
	}
	return names
}

// resolve applies the handler for a record that failed. It returns nil if the
// application continues without the record.
func (h *handling) resolve(e *ProcessingError, out outbox) error {
	handler, err := h.choose(e)
	if err != nil {
		return err
	}
	count := &h.counts[e.Phase]
	switch handler.action {
	case skipping:
		h.skipped(e)
		return nil
	case deadLettering:
		if err := writeDeadLetter(e, out, handler.topic); err != nil {
			return errors.Join(e, fmt.Errorf("the dead-letter topic %s: %w", handler.topic, err))
		}
		count.deadLettered.Add(1)
		h.log(e, "record dead-lettered", slog.String("to", handler.topic))
		return nil
	case deciding:
		err := fault.Newf(fault.InvalidRequest, "the function that decides about %v errors returned another that decides", e.Phase)
		return errors.Join(e, err)
	}
	return e
}

// skipped counts a record that is left out.
func (h *handling) skipped(e *ProcessingError) {
	h.counts[e.Phase].skipped.Add(1)
	h.log(e, "record skipped")
}

// late counts a record that is left out of a closed window.
func (h *handling) late(t *task, node int, start int64) {
	h.lateness.Add(1)
	if h.logger == nil {
		return
	}
	t.at = node
	e := t.failure(Processing, errLate)
	h.log(e, "late record left out", slog.Time("window", time.UnixMilli(start)), slog.Time("timestamp", time.UnixMilli(t.ms)))
}

// closing calls a function that a processor gave to OnClose. The task has ended, so
// a panic is only logged.
func (h *handling) closing(c *TaskContext, f func()) {
	defer func() {
		if p := recover(); p != nil {
			h.log(c.task.failure(Processing, panicked(p)), "a processor failed when it was closed")
		}
	}()
	c.enter()
	f()
}

// choose returns the handler for e, and calls the program's function if that
// decides.
func (h *handling) choose(e *ProcessingError) (chosen Handler, err error) {
	chosen = h.handlers[e.Phase]
	if chosen.action != deciding {
		e.hinted = chosen.action == failing
		return chosen, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(e, fmt.Errorf("the function that decides about it: %w", panicked(p)))
		}
	}()
	return chosen.decide(e), nil
}

func (h *handling) log(e *ProcessingError, what string, more ...slog.Attr) {
	if h.logger == nil {
		return
	}
	h.logger.LogAttrs(context.Background(), slog.LevelWarn, what, append([]slog.Attr{
		slog.String("application", h.app), slog.String("phase", e.Phase.String()), slog.String("node", e.Node),
		slog.String("task", e.Task.String()), slog.String("topic", e.At.Topic), slog.Int("partition", int(e.At.Partition)),
		slog.Int64("offset", e.At.Offset), slog.String("error", e.Err.Error()),
	}, more...)...)
}

func (h *handling) counted() ErrorCounts {
	count := func(p Phase) ErrorCount {
		return ErrorCount{Skipped: h.counts[p].skipped.Load(), DeadLettered: h.counts[p].deadLettered.Load()}
	}
	return ErrorCounts{
		Deserialization: count(Deserialization), Processing: count(Processing), Production: count(Production), Late: h.lateness.Load(),
	}
}

// refusals are the errors with which a topic refuses a batch because of its
// records, not because of the topic's own state.
var refusals = []fault.Code{fault.RecordTooLarge, fault.RecordListTooLarge, fault.InvalidTimestamp, fault.InvalidRecord}

// refusedForItself reports whether err, for a batch that was sent, is about its
// records.
func refusedForItself(err error) bool {
	for _, code := range refusals {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// guard precedes a node if there are handlers, and passes a panic in the node
// to the handler for its phase. The nodes after it have guards of their own, so
// what failed is this node.
type guard[K, V any] struct {
	step
	phase Phase
	next  receiver[K, V]
}

// guarded returns r, the processor of n, with a guard if it needs one.
func guarded[K, V any](w *wiring, n *node, r receiver[K, V]) receiver[K, V] {
	if !w.guarded {
		return r
	}
	return &guard[K, V]{step: w.step(n), phase: n.phase(), next: r}
}

func (g *guard[K, V]) receive(m message[K, V]) (err error) {
	defer g.catch(g.phase, &err)
	return g.next.receive(m)
}

func (g *guard[K, V]) receiveBytes(key, value []byte) (err error) {
	defer g.catch(g.phase, &err)
	return g.next.(bytesReceiver).receiveBytes(key, value)
}

// gathersBytes reports whether the guarded node takes keys as bytes.
func (g *guard[K, V]) gathersBytes() bool {
	b, ok := g.next.(bytesGatherer)
	return ok && b.gathersBytes()
}

// guardedSource is a guard before a source.
type guardedSource struct {
	step
	next source
}

func (g *guardedSource) process(r *record.Record) (err error) {
	defer g.catch(Deserialization, &err)
	return g.next.process(r)
}

func (g *guardedSource) peek(r *record.Record) int64 { return g.next.peek(r) }

func (g *guardedSource) time() int64 { return g.next.time() }

func (g *guardedSource) resume(ms int64) { g.next.resume(ms) }

// catch is deferred. It passes a panic to the handler of a phase.
func (s *step) catch(phase Phase, err *error) {
	switch p := recover(); {
	case p == nil:
	case s.task.broken != nil: // it came first, and ends the task
		*err = s.task.broken
	default:
		*err = s.handle(phase, panicked(p))
	}
}
