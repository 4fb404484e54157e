package streams

import "github.com/runnel-go/runnel/serde"

// KTable is a table: a stream of changes, of which the last one for each key
// counts. A null value deletes the key.
type KTable[K, V any] struct{ changes[K, V] }

// changes is the output of a table's node, and how it is written.
//
// It is separate from KTable because of tables with windowed keys. Go rejects
// types whose methods lead to ever larger instances of themselves. If a method
// of KStream[K, V] led to KTable[Windowed[K], V], through grouping and
// windowing, then its ToStream and GroupByKey would lead to
// KTable[Windowed[Windowed[K]], V], and so on. So a windowed table and a
// windowed stream are types of their own, with the parameter K alone.
// Everything that their methods call (aggregate, valuesOf, mapRecords,
// selectKey) uses grouping, changes and outlet, which do not lead to a KStream
// or KTable of the same key.
type changes[K, V any] struct {
	topology *Topology
	out      *outlet[K, change[V]]
	key      serde.Serde[K]
	value    serde.Serde[V]
	view     *view[K, V]
}

// tabled returns the table that n emits. computed is how its rows follow from
// those of other tables, and nil if they do not.
func tabled[K, V any](t *Topology, n *node, key serde.Serde[K], value serde.Serde[V], computed rows[K, V]) changes[K, V] {
	return changes[K, V]{
		topology: t, out: &outlet[K, change[V]]{node: n}, key: key, value: value,
		view: &view[K, V]{topology: t, node: n, key: key, value: value, computed: computed},
	}
}

// wire creates the children of the table's node for a task, and in front of
// them the processor that keeps the rows, if the table has a store that its node
// does not write.
func (c *changes[K, V]) wire(w *wiring) receiver[K, change[V]] {
	next := c.out.wire(w)
	if c.view.store == nil || c.view.own {
		return next
	}
	return newKeeper(w, c.view, next)
}

func newTable[K, V any](c changes[K, V]) *KTable[K, V] { return &KTable[K, V]{c} }

// Named names the operator that emits the table and returns the table. The name
// must be unique within the topology.
func (t *KTable[K, V]) Named(name string) *KTable[K, V] {
	t.out.node.name = name
	return t
}

// Materialized keeps the table's rows in a store of that name, and returns the
// table. Its changes then leave it as those of any store do, between two commits
// one for each key. A table that Count, Reduce or Aggregate made is in a store
// already. A table without a store takes no memory: if a join needs its rows
// they are computed from those of the tables that it comes from.
func (t *KTable[K, V]) Materialized(store string) *KTable[K, V] {
	if t.view.store != nil {
		t.topology.fail(t.out.node, "the table is in the store %q already", t.view.store.name)
		return t
	}
	t.view.keep(store)
	return t
}

// Filter returns the table of the rows for which keep returns true. A row that
// changes to one that is left out is deleted.
func (t *KTable[K, V]) Filter(keep func(key K, value V) bool) *KTable[K, V] {
	return newTable(filtered(t.changes, keep, true))
}

// FilterNot returns the table without the rows for which drop returns true.
func (t *KTable[K, V]) FilterNot(drop func(key K, value V) bool) *KTable[K, V] {
	return newTable(filtered(t.changes, drop, false))
}

func filtered[K, V any](c changes[K, V], test func(K, V) bool, keep bool) changes[K, V] {
	f := func(key K, value V) (V, bool) { return value, test(key, value) == keep }
	return derived(c, "KTABLE-FILTER-", c.value, test != nil, true, f)
}

// MapTable returns the table with the value of each row replaced by f's
// result. A deletion passes as it is. If the result's serde treats a result as
// null, there is no such row.
func MapTable[K, V, V2 any](t *KTable[K, V], f func(value V) V2, options ...ValueOption[V2]) *KTable[K, V2] {
	return newTable(mappedValues(t.changes, f, options))
}

// mappedValues is MapTable for the output of a node: see changes.
func mappedValues[K, V, V2 any](c changes[K, V], f func(V) V2, options []ValueOption[V2]) changes[K, V2] {
	value := valueSerde(options)
	codec := newCodec(value)
	return derived(c, "KTABLE-MAPVALUES-", value, f != nil, false, func(_ K, v V) (V2, bool) {
		mapped := f(v)
		return mapped, codec.present(mapped, true)
	})
}

// derived declares the node of a table whose rows are those of another one, as f
// returns them. If some rows are left out, changes that are neither from nor to a
// row that is in the table are not forwarded, where that can be known.
func derived[K, V, V2 any](c changes[K, V], prefix string, value serde.Serde[V2], given, some bool, f func(K, V) (V2, bool)) changes[K, V2] {
	n := c.topology.process(prefix, c.out.node)
	c.topology.need(n, given)
	results := tabled(c.topology, n, c.key, value, &computedRows[K, V, V2]{from: c.view, node: n, f: f})
	c.out.to(n, func(w *wiring) receiver[K, change[V]] {
		return &deriver[K, V, V2]{step: w.step(n), f: f, next: results.wire(w), quiet: some && results.view.old && results.view.store == nil}
	})
	return results
}

type deriver[K, V, V2 any] struct {
	step
	f     func(K, V) (V2, bool)
	next  receiver[K, change[V2]]
	quiet bool // a change without a new and an old value is not forwarded
}

func (d *deriver[K, V, V2]) receive(m message[K, change[V]]) error {
	d.enter()
	var c change[V2]
	if m.value.hasNew {
		c.new, c.hasNew = d.f(m.key, m.value.new)
	}
	if m.value.hasOld {
		c.old, c.hasOld = d.f(m.key, m.value.old)
	}
	if d.quiet && !c.hasNew && !c.hasOld {
		return nil
	}
	return d.next.receive(message[K, change[V2]]{key: m.key, hasKey: m.hasKey, value: c, hasValue: true})
}

// ToStream returns the table's changes as a stream of its new values. For a
// deleted key the value is null. SelectKey on the stream gives it other keys.
func (t *KTable[K, V]) ToStream() *KStream[K, V] {
	return &KStream[K, V]{topology: t.topology, out: valuesOf(t.changes), key: t.key, value: t.value}
}

// valuesOf declares the node that emits a table's new values.
func valuesOf[K, V any](c changes[K, V]) *outlet[K, V] {
	n := c.topology.process("KTABLE-TOSTREAM-", c.out.node)
	out := &outlet[K, V]{node: n}
	c.out.to(n, func(w *wiring) receiver[K, change[V]] {
		return &newValues[K, V]{next: out.wire(w)}
	})
	return out
}

type newValues[K, V any] struct {
	next receiver[K, V]
}

func (n *newValues[K, V]) receive(m message[K, change[V]]) error {
	return n.next.receive(message[K, V]{key: m.key, hasKey: m.hasKey, value: m.value.new, hasValue: m.value.hasNew})
}
