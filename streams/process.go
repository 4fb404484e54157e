package streams

import (
	"fmt"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Record is a record with its key and value decoded. If HasKey or HasValue is false,
// the record has null there.
type Record[K, V any] struct {
	Key      K
	Value    V
	HasKey   bool
	HasValue bool
	At       time.Time       // the timestamp
	Headers  []record.Header // must not be changed in place: give a copy to a record with others
}

// Processor handles the records that reach a node in one task, one after the other. An
// error is handled like a panic: see OnProcessingError.
type Processor[K, V any] func(r Record[K, V]) error

// Process sends each record through a processor of the program, which may forward any
// number of records, with other keys and values and at other times. The result is
// repartitioned before an operator that groups by key.
//
// The processor may use the stores that are given, and no others: its start opens them
// with In.
//
// start is called in each task, once its stores are restored and before the first
// record, and again when the task starts elsewhere. It returns the task's processor,
// whose state is what start's variables hold. Processors of different tasks run at
// once.
func Process[K, V, K2, V2 any](
	s *KStream[K, V], start func(c *ProcessorContext[K2, V2]) (Processor[K, V], error), stores ...ProcessOption,
) *KStream[K2, V2] {
	n := s.topology.process("KSTREAM-PROCESSOR-", s.out.node)
	processed := rekey[K2, V2](s.topology, n, nil, nil)
	s.topology.processing(n, start != nil, stores)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		c := &ProcessorContext[K2, V2]{TaskContext: TaskContext{step: w.step(n)}, children: processed.out.children}
		c.opens(w, n, stores)
		c.each, c.all = processed.out.wireEach(w)
		return startLater(w, &c.TaskContext, func() (Processor[K, V], error) { return start(c) })
	})
	return processed
}

// ProcessValues is Process for a processor that keeps the keys: it forwards values
// alone. Keys and partitions do not change.
func ProcessValues[K, V, V2 any](
	s *KStream[K, V], start func(c *ValueContext[V2]) (Processor[K, V], error), stores ...ProcessOption,
) *KStream[K, V2] {
	n := s.topology.process("KSTREAM-PROCESSVALUES-", s.out.node)
	processed := derive[K, V, V2](s, n, nil)
	s.topology.processing(n, start != nil, stores)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		p := &valueProcessor[K, V, V2]{context: &ValueContext[V2]{TaskContext: TaskContext{step: w.step(n)}}, next: processed.out.wire(w)}
		p.context.opens(w, n, stores)
		p.context.forward = p.forward
		p.processor = startLater(w, &p.context.TaskContext, func() (Processor[K, V], error) { return start(p.context) })
		return p
	})
	return processed
}

// processor is the node of a Processor.
type processor[K, V any] struct {
	step
	handle Processor[K, V]
}

// startLater returns the node's processor. The program's part of it starts when the
// task's stores are there.
func startLater[K, V any](w *wiring, c *TaskContext, start func() (Processor[K, V], error)) *processor[K, V] {
	p := &processor[K, V]{step: c.step}
	w.starts(c, func() (err error) {
		if p.handle, err = start(); err == nil && p.handle == nil {
			err = fault.Newf(fault.InvalidRequest, "no processor was returned")
		}
		return err
	})
	return p
}

func (p *processor[K, V]) receive(m message[K, V]) error {
	p.enter()
	return p.returned(p.handle(recordOf(p.task, &m)))
}

// recordOf returns m, in the task's context, as the program sees it.
func recordOf[K, V any](t *task, m *message[K, V]) Record[K, V] {
	return Record[K, V]{
		Key: m.key, Value: m.value, HasKey: m.hasKey, HasValue: m.hasValue, At: time.UnixMilli(t.ms), Headers: t.headers,
	}
}

// returned handles what a function of the program returned. An error of a node that it
// forwarded to, which no handler has resolved, ends the task, whatever the function
// made of it.
func (s *step) returned(err error) error {
	if s.task.broken != nil {
		return s.task.broken
	}
	return s.handle(Processing, err)
}

// ProcessorContext is the context of a processor that forwards records with keys of
// type K and values of type V. It belongs to the task's goroutine: it must not be used
// outside of the processor and its punctuations.
type ProcessorContext[K, V any] struct {
	TaskContext
	all      receiver[K, V]
	each     []receiver[K, V]
	children []*node
}

// Emit forwards a key and a value to all children, with the timestamp and the headers
// of the record that is being processed, or the time of the punctuation.
func (c *ProcessorContext[K, V]) Emit(key K, value V) error {
	return c.forward(c.all, message[K, V]{key, value, true, true}, c.task.recordContext)
}

// Forward forwards a record to all children, in the order of their declaration, and
// returns when they have processed it. If At is zero it gets the timestamp of the record
// that is being processed. A time before 1970 is fault.InvalidTimestamp.
//
// An error is one that no handler resolved: return it.
func (c *ProcessorContext[K, V]) Forward(r Record[K, V]) error { return c.send(c.all, r) }

// ForwardTo is Forward to one child: the one that Named gave that name, else
// fault.InvalidRequest.
func (c *ProcessorContext[K, V]) ForwardTo(child string, r Record[K, V]) error {
	var names []string
	for i, n := range c.children {
		if n.name == child {
			return c.send(c.each[i], r)
		}
		names = append(names, n.name)
	}
	return fault.Newf(fault.InvalidRequest, "no child %q to forward to; there are: %s", child, strings.Join(names, ", "))
}

func (c *ProcessorContext[K, V]) send(to receiver[K, V], r Record[K, V]) error {
	with, err := c.context(r.At, r.Headers)
	if err != nil {
		return err
	}
	return c.forward(to, message[K, V]{r.Key, r.Value, r.HasKey, r.HasValue}, with)
}

func (c *ProcessorContext[K, V]) forward(to receiver[K, V], m message[K, V], with recordContext) error {
	return c.forwarding(with, func() error { return to.receive(m) })
}

// context returns the context of a record that is forwarded.
func (c *TaskContext) context(at time.Time, headers []record.Header) (recordContext, error) {
	with := c.task.recordContext
	if with.headers = headers; !at.IsZero() {
		with.ms = at.UnixMilli()
	}
	if with.ms < 0 {
		return with, fault.Newf(fault.InvalidTimestamp, "%s forwards a record with a timestamp before 1970", c.task.plan.topology.nodes[c.node].name)
	}
	return with, nil
}

// forwarding calls do, which passes a record on, in its context.
func (c *TaskContext) forwarding(with recordContext, do func() error) error {
	if !c.started {
		return fault.Newf(fault.InvalidRequest, "a processor cannot forward before it has started or after it has ended")
	}
	t := c.task
	saved := t.recordContext
	t.recordContext = with
	err := do()
	t.recordContext = saved
	if err != nil {
		t.broken = err
		return err
	}
	c.enter() // what panics from here on is the processor
	return nil
}

// Value is what a processor of values forwards. If HasValue is false it is null.
type Value[V any] struct {
	Value    V
	HasValue bool
	At       time.Time
	Headers  []record.Header
}

// ValueContext is the context of a processor that keeps the keys. It belongs to the
// task's goroutine: it must not be used outside of the processor.
type ValueContext[V any] struct {
	TaskContext
	forward func(value V, has bool, with recordContext) error
}

// Emit forwards a value with the key, the timestamp and the headers of the record that
// is being processed.
func (c *ValueContext[V]) Emit(value V) error { return c.forward(value, true, c.task.recordContext) }

// Forward is Emit with a timestamp and headers of its own. If At is zero, the timestamp
// is that of the record that is being processed.
func (c *ValueContext[V]) Forward(v Value[V]) error {
	with, err := c.context(v.At, v.Headers)
	if err != nil {
		return err
	}
	return c.forward(v.Value, v.HasValue, with)
}

// valueProcessor is the node of a processor that keeps the keys.
type valueProcessor[K, V, V2 any] struct {
	processor *processor[K, V]
	context   *ValueContext[V2]
	next      receiver[K, V2]
	key       K
	hasKey    bool
	busy      bool // key is that of the record that is being processed
}

func (p *valueProcessor[K, V, V2]) receive(m message[K, V]) error {
	p.key, p.hasKey, p.busy = m.key, m.hasKey, true
	defer func() { p.busy = false }()
	return p.processor.receive(m)
}

func (p *valueProcessor[K, V, V2]) forward(value V2, has bool, with recordContext) error {
	if !p.busy {
		return fault.Newf(fault.InvalidRequest, "%s has no key to forward with: it is not processing a record", p.context.task.plan.topology.nodes[p.context.node].name)
	}
	return p.context.forwarding(with, func() error { return p.next.receive(message[K, V2]{p.key, value, p.hasKey, has}) })
}

// start starts the processors of a task whose stores are restored.
func (t *task) start() error {
	return t.run(func() error {
		for _, s := range t.starting {
			s.context.enter()
			s.context.started = true
			if err := s.start(); err != nil {
				return fmt.Errorf("start: %w", err)
			}
		}
		t.starting = nil
		return nil
	})
}

// close ends the processors of a task, and closes what its stores are in.
func (t *task) close() {
	for _, c := range t.processors {
		c.started = false
		for _, f := range c.closers {
			t.handling.closing(c, f)
		}
		c.closers = nil
	}
	for _, b := range t.bytes {
		_ = b.Close() // the changelogs have what it may lose
	}
	t.bytes = nil
}

// starting is a processor that has not started.
type starting struct {
	context *TaskContext
	start   func() error
}

// starts registers a processor, to be started once the stores are there.
func (w *wiring) starts(c *TaskContext, start func() error) {
	w.task.starting = append(w.task.starting, starting{c, start})
	w.task.processors = append(w.task.processors, c)
}
