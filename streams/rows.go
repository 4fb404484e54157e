package streams

import (
	"slices"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// rows is how other nodes get the rows of a table. A table that is in a store
// reads it, and one that is not computes its rows from those of the tables it
// comes from.
type rows[K, V any] interface {
	// sendOld asks for the old values in the table's changes.
	sendOld()

	// stores returns the stores that the rows are read from. The caller connects
	// its node to them. A table that cannot compute its rows gets a store.
	stores() []*storeDecl

	// open returns the rows in a task.
	open(w *wiring) getter[K, V]
}

// getter reads the rows of a table in a task.
type getter[K, V any] interface {
	get(key K, as age) (row[V], error)
}

// row is a row of a table. Without a row, ok is false and the value is zero.
type row[V any] struct {
	value V
	ms    int64
	ok    bool
}

// pointer returns the row's value, and nil without a row.
func (r *row[V]) pointer() *V {
	if !r.ok {
		return nil
	}
	return &r.value
}

// age says which state of a row to get, while a store holds changes back.
type age bool

const (
	// newest is the state after everything that was processed.
	newest age = false

	// forwarded is the state as the nodes after the table have it. A join of two
	// tables needs it: what it computes from a change of one table and the newest
	// state of the other one would be neither what it sent before nor what it
	// sends next.
	forwarded age = true
)

// view is the rows of a declared table, and its store if it has one. All
// questions about it are asked at the end of the declaration, when each table
// has been given its name and its store.
type view[K, V any] struct {
	topology *Topology
	node     *node
	key      serde.Serde[K]
	value    serde.Serde[V]

	store    *storeDecl          // nil: none
	windows  *state.TimedKeys[K] // nil: keys have no windows
	fallback string              // the name of a store that the program does not name; empty: the node's name
	own      bool                // the node writes the store itself: it aggregates
	quiet    bool                // deletions of rows that are not in the store are not forwarded
	computed rows[K, V]          // nil: the rows must be stored to be known
	old      bool                // changes carry old values
}

func (v *view[K, V]) sendOld() {
	if v.old {
		return
	}
	v.old = true
	if v.store != nil {
		return
	}
	if v.computed == nil {
		v.keep("")
		return
	}
	v.computed.sendOld()
}

func (v *view[K, V]) stores() []*storeDecl {
	if v.store == nil && v.computed != nil {
		return v.computed.stores()
	}
	if v.store == nil {
		v.keep("")
	}
	return []*storeDecl{v.store}
}

func (v *view[K, V]) open(w *wiring) getter[K, V] {
	if v.store == nil {
		return v.computed.open(w)
	}
	s := v.inTask(w)
	return &storedRows[K, V]{cache: s.cache, timed: s.timed, key: newCodec(v.key)}
}

// keep declares the table's store. An empty name is replaced by the fallback.
func (v *view[K, V]) keep(name string) {
	if v.store == nil {
		v.key = serdeFor(v.topology, v.node, "keys", v.key)
		v.value = serdeFor(v.topology, v.node, "values", v.value)
		v.store = v.topology.addStore(v.node, name)
	}
	switch {
	case name != "":
		v.store.name = name
	case v.store.name == "" && v.fallback != "":
		v.store.name = v.fallback
	case v.store.name == "":
		v.store.name = v.node.name
	}
}

// opened returns the store of a table without windows in a task, and its changelog.
func (v *view[K, V]) opened(w *wiring) (*state.KeyValue[K, V], state.Changelog) {
	s := v.inTask(w)
	return s.store, s.log
}

// inTask opens the store in a task.
func (v *view[K, V]) inTask(w *wiring) *openedStore[K, V] {
	if s, ok := w.opened[v.store].(*openedStore[K, V]); ok {
		return s
	}
	s := new(openedStore[K, V])
	var kept state.Store
	if v.windows != nil {
		s.timed = state.NewTimed(v.store.name, *v.windows, v.value, w.keep(v.store)...)
		s.cache, kept = s.timed.Cache, s.timed
	} else {
		s.store = state.NewKeyValue(v.store.name, v.key, v.value, w.keep(v.store)...)
		s.cache, kept = s.store.Cache, s.store
	}
	if v.old || w.guarded && any(v.value) != any(serde.Int64) { // which cannot fail to be written
		s.cache.KeepOld()
	}
	s.log = w.changelog(v.store, kept)
	w.opened[v.store] = s
	return s
}

// openedStore is a store in a task: a KeyValue or, of windowed keys, a Timed.
type openedStore[K, V any] struct {
	cache *state.Cache[K, V]
	store *state.KeyValue[K, V]
	timed *state.Timed[K, V]
	log   state.Changelog
}

// storedRows reads rows from a store.
type storedRows[K, V any] struct {
	cache   *state.Cache[K, V]
	timed   *state.Timed[K, V] // nil: keys have no windows
	key     codec[K]
	scratch []byte
}

func (s *storedRows[K, V]) get(key K, as age) (r row[V], err error) {
	if s.scratch, err = s.key.Append(s.scratch[:0], key); err != nil {
		return r, err
	}
	at := s.scratch
	if s.timed != nil {
		plain, start := splitWindowed(at)
		at = s.timed.KeyAt(plain, start, 0)
	}
	if as == forwarded {
		r.value, r.ms, r.ok, err = s.cache.Forwarded(at)
	} else {
		r.value, r.ms, r.ok, err = s.cache.Lookup(at)
	}
	return r, err
}

// computedRows are the rows of a table that an operator makes from the rows of
// another one.
type computedRows[K, V, V2 any] struct {
	from rows[K, V]
	node *node
	f    func(key K, value V) (V2, bool) // false: there is no row
}

func (c *computedRows[K, V, V2]) sendOld()             { c.from.sendOld() }
func (c *computedRows[K, V, V2]) stores() []*storeDecl { return c.from.stores() }
func (c *computedRows[K, V, V2]) open(w *wiring) getter[K, V2] {
	return &computingRows[K, V, V2]{step: w.step(c.node), from: c.from.open(w), f: c.f}
}

type computingRows[K, V, V2 any] struct {
	step
	from getter[K, V]
	f    func(K, V) (V2, bool)
}

func (c *computingRows[K, V, V2]) get(key K, as age) (r row[V2], err error) {
	from, err := c.from.get(key, as)
	if err != nil || !from.ok {
		return r, err
	}
	c.enter()
	r.ms = from.ms
	r.value, r.ok = c.f(key, from.value)
	return r, nil
}

// meet reports whether the rows of a table are read from a store whose changes
// reach the node b, too.
func meet(rows []*storeDecl, b *node) bool {
	from := ancestors(b, nil)
	return slices.ContainsFunc(rows, func(s *storeDecl) bool { return slices.Contains(from, s.owner()) })
}

// ancestors adds to found n and the nodes that its records come from, within its
// sub-topology.
func ancestors(n *node, found []*node) []*node {
	if slices.Contains(found, n) {
		return found
	}
	found = append(found, n)
	for _, p := range n.parents {
		found = ancestors(p, found)
	}
	return found
}
