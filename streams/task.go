package streams

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams/state"
)

// task runs a sub-topology on one partition of each of its topics. It owns that
// partition's part of every store. A task belongs to one goroutine at a time.
type task struct {
	id       TaskID
	plan     *plan
	sources  map[string]source // by topic
	stores   []taskStore
	bytes    []state.Bytes // what the stores are in, if not in memory
	flushers []flushing    // parents before children
	handling *handling
	out      outbox

	// What is being processed.
	recordContext
	origin origin // the source of a change that has no record; nil: none
	exited error  // a function called runtime.Goexit
	at     int    // the node that last called a function of the program, or failed

	// Processors, and what they have scheduled.
	starting     []starting
	processors   []*TaskContext
	punctuations []*Punctuation
	due          [2]int64 // when the next punctuation is due, by Clock; in milliseconds
	now          func() time.Time
	urgent       bool  // a processor asked for a commit
	broken       error // of a node that a processor forwarded to: it ends the task

	// streamTime is the largest timestamp of what the task has read, in
	// milliseconds; -1 before the first record. It never goes back.
	streamTime int64
	memories   []memory // times of nodes, which are committed with the offsets
}

// recordContext is what nodes pass on beside a record's key and value. A node
// that forwards something with another one saves the task's context, changes it
// and puts it back.
type recordContext struct {
	ms      int64           // the timestamp, in milliseconds
	headers []record.Header // not to be changed
	input   *record.Record  // the record that was read; nil: what is forwarded was held back, and has none
}

// taskStore is a store of a task and the topic from which it is restored.
type taskStore struct {
	state.Store
	changelog string
}

// origin is a store that forwards a change that it held back, which has no
// record.
type origin interface {
	// raw returns the forwarded change as its changelog has it, without an
	// offset.
	raw() record.Record
}

// flusher is a node that holds changes back until the next commit.
type flusher interface{ flush() error }

type flushing struct {
	node int
	flusher
}

// TaskID names a task: a sub-topology and a partition.
type TaskID struct {
	SubTopology int
	Partition   int32
}

// String returns Kafka's spelling, such as 0_3.
func (id TaskID) String() string { return fmt.Sprintf("%d_%d", id.SubTopology, id.Partition) }

// step is a node's place in a task.
type step struct {
	task *task
	node int
}

// enter records that the node is about to call a function of the program, so
// that a panic in it is reported under the node's name.
func (s *step) enter() { s.task.at = s.node }

// failed attributes err, if there is one, to this node, and returns it.
func (s *step) failed(err error) error {
	if err != nil {
		s.enter()
	}
	return err
}

// handle passes an error of this node to the handler for its phase, and returns
// nil if the task continues without the record.
func (s *step) handle(phase Phase, err error) error {
	if err == nil {
		return nil
	}
	s.enter()
	e := s.task.failure(phase, err)
	return s.task.handling.resolve(e, s.task.out)
}

// skip leaves out the current record, and counts it.
func (s *step) skip(phase Phase, why error) {
	s.enter()
	s.task.handling.skipped(s.task.failure(phase, why))
}

// wiring is a task under construction: processors are created from declared
// nodes, each after its children.
type wiring struct {
	task    *task
	out     outbox
	cached  bool
	guarded bool               // an error handler is set
	made    map[*node]any      // nodes with several parents
	opened  map[*storeDecl]any // stores, which are opened by the first node that uses them
	err     error
}

// newTask creates a task with its processors. Its stores are empty.
func newTask(p *plan, id TaskID, out outbox, cached bool, h *handling) (*task, error) {
	t := &task{id: id, plan: p, sources: make(map[string]source), at: -1, handling: h, out: out, now: time.Now, streamTime: -1}
	t.reschedule()
	w := &wiring{task: t, out: out, cached: cached, guarded: h.set(), made: make(map[*node]any), opened: make(map[*storeDecl]any)}
	for _, n := range p.subs[id.SubTopology].sources {
		t.sources[p.topicOf(n)] = n.open(w)
	}
	slices.SortFunc(t.flushers, func(a, b flushing) int { return cmp.Compare(a.node, b.node) })
	if w.err != nil {
		t.close()
	}
	return t, w.err
}

func (w *wiring) step(n *node) step { return step{task: w.task, node: n.id} }

// once returns the processor of n, which the first of its parents creates.
func once[K, V any](w *wiring, n *node, make func() receiver[K, V]) receiver[K, V] {
	if made, ok := w.made[n]; ok {
		return made.(receiver[K, V])
	}
	made := make()
	w.made[n] = made
	return made
}

// output opens the topic that n writes.
func (w *wiring) output(n *node) output {
	out, err := w.out.output(n, w.task.plan.topicOf(n))
	w.note(n, err)
	return out
}

// changelog opens a store's changelog and adds the store to the task.
func (w *wiring) changelog(decl *storeDecl, s state.Store) state.Changelog {
	topic := w.task.plan.changelogOf(decl)
	log, err := w.out.changelog(topic, w.task.id.Partition)
	w.note(decl.owner(), err)
	if _, none := log.(noChangelog); !none {
		w.task.stores = append(w.task.stores, taskStore{s, topic})
	}
	return log
}

// flushes registers f to be flushed at each commit.
func (w *wiring) flushes(n *node, f flusher) {
	w.task.flushers = append(w.task.flushers, flushing{n.id, f})
}

func (w *wiring) note(n *node, err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", n.name, err)
	}
}

// process sends records of one partition through the task, in order. It stops
// at the first that fails and that no handler resolves, with a ProcessingError.
func (t *task) process(topic string, records []record.Record) error {
	src := t.sources[topic]
	defer func() { t.input = nil }()
	return t.run(func() error {
		for i := range records {
			t.input = &records[i]
			if err := src.process(t.input); err != nil {
				return err
			}
			if t.streamTime >= t.due[StreamTime] {
				if err := t.punctuate(StreamTime, t.streamTime); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// flush writes and forwards everything that was held back.
func (t *task) flush() error {
	t.headers = nil
	defer func() { t.origin = nil }()
	return t.run(func() error {
		for _, f := range t.flushers {
			if err := f.flush(); err != nil {
				return err
			}
		}
		return nil
	})
}

// run calls do, which calls functions of the program, and returns a panic or an
// error in them as a ProcessingError.
//
// A function may also call runtime.Goexit. That cannot be recovered: deferred
// functions run and the goroutine ends, so run returns nothing. back stays
// false then, and exited keeps the error for the goroutine that waits for this
// one.
func (t *task) run(do func() error) (err error) {
	back := false
	defer func() {
		p := recover()
		switch at := (*ProcessingError)(nil); {
		case p != nil:
			e := t.failure(t.phase(), panicked(p))
			e.hinted = t.handling.handlers[e.Phase].action == failing
			err = e
		case !back:
			t.exited = t.failure(t.phase(), errExited)
		case err != nil && !errors.As(err, &at):
			err = t.failure(t.phase(), err)
		}
	}()
	err = do()
	back = true
	return err
}

// phase returns the phase of the node that is running.
func (t *task) phase() Phase {
	if t.at < 0 {
		return Processing
	}
	return t.plan.topology.nodes[t.at].phase()
}

// failure returns err with the place where it happened. The error outlives the
// batch, whose buffer is reused, so it gets its own copy of the record.
func (t *task) failure(phase Phase, err error) *ProcessingError {
	e := &ProcessingError{Task: t.id, Phase: phase, At: record.Position{Offset: -1}, Err: err}
	if t.at >= 0 {
		e.Node = t.plan.topology.nodes[t.at].name
	}
	switch {
	case t.input != nil:
		e.Raw = t.input.Clone()
		e.At = e.Raw.Position()
	case t.origin != nil:
		e.Raw = t.origin.raw()
		e.At = e.Raw.Position()
	}
	return e
}
