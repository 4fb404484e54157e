package streams

import (
	"iter"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// KeyValueStore is a declared store for processors, with one value for each key. Each
// task has a part of its own, which its processors share: what they store for a key is
// found again by those that get the same keys. It is backed by a changelog topic like
// every other store.
//
// It is given to Process or ProcessValues, and opened by In.
type KeyValueStore[K, V any] struct {
	view view[K, V]
}

// NewKeyValueStore declares a store of that name. Serdes may be nil for strings, byte
// slices, integers and floats. A store that no processor is given is an error of New.
func NewKeyValueStore[K, V any](t *Topology, name string, key serde.Serde[K], value serde.Serde[V]) *KeyValueStore[K, V] {
	s := &KeyValueStore[K, V]{view[K, V]{topology: t, key: key, value: value, store: &storeDecl{name: name}}}
	t.stores = append(t.stores, s.view.store)
	return s
}

// ProcessOption is an option of Process and ProcessValues: a store that the processor
// uses.
type ProcessOption interface {
	uses(n *node)
	open(w *wiring, n *node) (*storeDecl, any)
}

// uses implements ProcessOption.
func (s *KeyValueStore[K, V]) uses(n *node) {
	v := &s.view
	if v.node == nil {
		v.node = n
		v.key, v.value = serdeFor(v.topology, n, "keys", v.key), serdeFor(v.topology, n, "values", v.value)
	}
	v.topology.connect(n, v.store)
}

// open implements ProcessOption.
func (s *KeyValueStore[K, V]) open(w *wiring, n *node) (*storeDecl, any) {
	_, shared := w.opened[s.view.store]
	f := newFolding(w, &s.view, discard[K, change[V]]{})
	if !shared {
		// Behind every processor that may change the store while others flush.
		w.flushes(slices.MaxFunc(s.view.store.nodes, func(a, b *node) int { return a.id - b.id }), &f)
	}
	rows, _ := s.view.opened(w)
	return s.view.store, &TaskStore[K, V]{folding: f, rows: rows, key: newCodec(s.view.key), node: n.id}
}

// In opens the store in the task of c, within the function that starts a processor. It
// returns fault.InvalidRequest if the processor was not given the store.
func (s *KeyValueStore[K, V]) In(c Context) (*TaskStore[K, V], error) {
	of := c.taskContext()
	if opened, ok := of.stores[s.view.store]; ok {
		return opened.(*TaskStore[K, V]), nil
	}
	return nil, fault.Newf(fault.InvalidRequest, "%s uses the store %q without having been given it",
		of.task.plan.topology.nodes[of.node].name, s.view.store.name).Try("add it to the arguments of Process")
}

// Context is a ProcessorContext or a ValueContext.
type Context interface{ taskContext() *TaskContext }

func (c *TaskContext) taskContext() *TaskContext { return c }

// opens opens the stores that a processor is given.
func (c *TaskContext) opens(w *wiring, n *node, stores []ProcessOption) {
	c.stores = make(map[*storeDecl]any)
	for _, s := range stores {
		decl, opened := s.open(w, n)
		c.stores[decl] = opened
	}
}

// processing declares what a processor uses.
func (t *Topology) processing(n *node, given bool, stores []ProcessOption) {
	t.need(n, given && !slices.Contains(stores, nil))
	for _, s := range stores {
		if s != nil {
			s.uses(n)
		}
	}
}

// TaskStore is a task's part of a KeyValueStore. It belongs to the task's goroutine. A
// value that is a slice, a map or a pointer belongs to the store once it was put, and
// what Get returns must not be changed.
type TaskStore[K, V any] struct {
	folding[K, V]
	rows    *state.KeyValue[K, V] // the folding's
	key     codec[K]
	node    int // of the processor
	scratch []byte
}

// encode returns the key's bytes. From here on the store's serdes may fail, which is
// the processor's error.
func (s *TaskStore[K, V]) encode(key K) (err error) {
	s.scratch, err = s.key.Append(s.scratch[:0], key)
	return err
}

// Get returns a key's value, and false if it has none.
func (s *TaskStore[K, V]) Get(key K) (value V, ok bool, err error) {
	if err := s.encode(key); err != nil {
		return value, false, err
	}
	value, _, ok, err = s.store.Lookup(s.scratch)
	return value, ok, err
}

// Put sets a key's value; one that the serde treats as null deletes it. The change is
// written to the changelog with the next commit, with the timestamp of the record that
// is being processed.
func (s *TaskStore[K, V]) Put(key K, value V) error {
	return s.set(key, value, s.folding.value.present(value, true))
}

// Delete removes a key's value. Removing none changes nothing.
func (s *TaskStore[K, V]) Delete(key K) error {
	var none V
	return s.set(key, none, false)
}

func (s *TaskStore[K, V]) set(key K, value V, present bool) error {
	if err := s.encode(key); err != nil {
		return err
	}
	e, err := s.store.Entry(s.scratch)
	if err != nil {
		return err
	}
	if !present && !e.Present {
		s.store.Release(e)
		return nil
	}
	e.Value = value
	if err := s.put(e, present, s.task.ms); err != nil {
		s.task.broken = err // no handler has resolved it
		return err
	}
	s.task.at = s.node // changes are written under the name of the first node that uses the store
	return nil
}

// All returns the keys that have a value, in the order of their bytes, as of when the
// loop begins. It ends with the first error.
func (s *TaskStore[K, V]) All() iter.Seq2[state.Row[K, V], error] { return s.rows.All() }

// Range returns the keys from one, inclusive, to another, exclusive, in the order of
// their bytes or the reverse, as of when the loop begins. It ends with the first error.
func (s *TaskStore[K, V]) Range(from, to K, order state.Order) iter.Seq2[state.Row[K, V], error] {
	return s.rows.Range(from, to, order)
}
