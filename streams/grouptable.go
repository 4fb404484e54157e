package streams

import (
	"bytes"

	"github.com/runnel-go/runnel/serde"
)

// KGroupedTable is a table whose rows are grouped by keys that were chosen from
// the rows. An aggregation of it is a table again: when a row changes, the old
// one is subtracted from its group and the new one added to its own.
type KGroupedTable[K, V any] struct {
	group grouping[K, change[V]]
	value serde.Serde[V]
}

// GroupTable groups a table's rows by the keys that f returns for them, with
// the values that it returns. The rows of a group come together through a
// repartition topic, which has the name of the aggregation's store. A change
// that leaves a row in its group is one record with the old and the new value
// (KIP-904), so that the aggregation makes one step of it; one that moves the row
// to another group is two records, first to the old group. A row for which f
// returns a key that its serde treats as null is in no group.
func GroupTable[K, V, K2, V2 any](t *KTable[K, V], f func(key K, value V) (K2, V2)) *KGroupedTable[K2, V2] {
	n := t.topology.process("KTABLE-SELECT-", t.out.node)
	t.topology.need(n, f != nil)
	g := &KGroupedTable[K2, V2]{}
	g.group = grouping[K2, change[V2]]{topology: t.topology, out: &outlet[K2, change[V2]]{node: n}, rekeyed: true}
	t.topology.demands = append(t.topology.demands, t.view.sendOld)
	t.out.to(n, func(w *wiring) receiver[K, change[V]] {
		key := serdeFor(t.topology, n, "keys", g.group.key)
		return &regrouper[K, V, K2, V2]{step: w.step(n), f: f, key: newCodec(key), value: newCodec(g.value), next: g.group.out.wire(w)}
	})
	return g
}

// Named names the grouping's repartition topic: <application>-name-repartition.
// Without Named, each aggregation has its own, named after its store.
func (g *KGroupedTable[K, V]) Named(name string) *KGroupedTable[K, V] {
	g.group.name = name
	return g
}

// WithSerdes sets the serdes that write the grouped keys and values, for this
// grouping. A nil serde changes nothing.
func (g *KGroupedTable[K, V]) WithSerdes(key serde.Serde[K], value serde.Serde[V]) *KGroupedTable[K, V] {
	if key != nil {
		g.group.key = key
	}
	if value != nil {
		g.value = value
	}
	return g
}

// regrouper turns the changes of a table into changes of groups.
type regrouper[K, V, K2, V2 any] struct {
	step
	f        func(K, V) (K2, V2)
	key      codec[K2]
	value    codec[V2]
	next     receiver[K2, change[V2]]
	old, new []byte
}

func (r *regrouper[K, V, K2, V2]) receive(m message[K, change[V]]) (err error) {
	r.enter()
	var from, to message[K2, change[V2]]
	from.hasValue, to.hasValue = true, true
	if m.value.hasOld {
		from.key, from.value.old = r.f(m.key, m.value.old)
		from.hasKey, from.value.hasOld = r.key.present(from.key, true), r.value.present(from.value.old, true)
	}
	if m.value.hasNew {
		to.key, to.value.new = r.f(m.key, m.value.new)
		to.hasKey, to.value.hasNew = r.key.present(to.key, true), r.value.present(to.value.new, true)
	}
	leaves, comes := from.hasKey && from.value.hasOld, to.hasKey && to.value.hasNew
	if leaves && comes {
		if r.old, err = r.key.Append(r.old[:0], from.key); err == nil {
			r.new, err = r.key.Append(r.new[:0], to.key)
		}
		if err != nil {
			return r.handle(Processing, err)
		}
		if bytes.Equal(r.old, r.new) {
			to.value.old, to.value.hasOld = from.value.old, true
			return r.next.receive(to)
		}
	}
	if leaves {
		if err := r.next.receive(from); err != nil {
			return err
		}
	}
	if comes {
		return r.next.receive(to)
	}
	return nil
}

// Count counts the rows of each group in a store of that name. A group whose
// last row is deleted has a count of 0.
func (g *KGroupedTable[K, V]) Count(store string) *KTable[K, int64] {
	step := func(by int64) func(K, V, int64) int64 { return func(_ K, _ V, n int64) int64 { return n + by } }
	return newTable(regathered(g, "KTABLE-AGGREGATE-", store, serde.Int64, true, tableAggregator[K, V, int64]{
		initial: func() int64 { return 0 }, add: step(1), subtract: step(-1),
	}))
}

// Reduce combines the values of each group in a store of that name. The first
// value is the first result; add then returns the next result from the current
// one and a value that comes to the group, subtract from one that leaves it. A
// null result deletes the group.
func (g *KGroupedTable[K, V]) Reduce(store string, add, subtract func(result, value V) V) *KTable[K, V] {
	return newTable(regathered(g, "KTABLE-REDUCE-", store, g.value, add != nil && subtract != nil, tableAggregator[K, V, V]{
		add:      func(_ K, value, result V) V { return add(result, value) },
		subtract: func(_ K, value, result V) V { return subtract(result, value) },
		first:    func(value V) V { return value },
	}))
}

// AggregateTable combines the values of each group in a store of that name into
// a value of another type, starting with the result of initial: add is called
// for a value that comes to the group, subtract for one that leaves it. A null
// aggregate deletes the group.
func AggregateTable[K, V, A any](
	g *KGroupedTable[K, V], store string, initial func() A, add, subtract func(key K, value V, aggregate A) A, options ...ValueOption[A],
) *KTable[K, A] {
	given := initial != nil && add != nil && subtract != nil
	return newTable(regathered(g, "KTABLE-AGGREGATE-", store, valueSerde(options), given, tableAggregator[K, V, A]{
		initial: initial, add: add, subtract: subtract,
	}))
}

// regathered declares the node of an aggregation of a grouped table.
func regathered[K, V, A any](
	g *KGroupedTable[K, V], prefix, store string, value serde.Serde[A], given bool, how tableAggregator[K, V, A],
) changes[K, A] {
	t, from := g.group.topology, g.group.out.node
	if g.group.value == nil { // once, behind the last WithSerdes
		g.group.value = changeSerde[V]{serdeFor(t, from, "values", g.value)}
	}
	return aggregate(&g.group, prefix, store, value, given, func(f folding[K, A], in gatherer[K, change[V]]) receiver[K, change[V]] {
		at := how
		at.folding, at.gatherer = f, in
		return &at
	})
}

// tableAggregator is an aggregation of the rows of a table.
type tableAggregator[K, V, A any] struct {
	folding[K, A]
	gatherer[K, change[V]]
	initial       func() A
	first         func(V) A // of Reduce: the first value's result; nil: add to initial
	add, subtract func(K, V, A) A
}

func (a *tableAggregator[K, V, A]) receive(m message[K, change[V]]) error {
	a.enter()
	key, ok, err := a.bytes(&m)
	if !ok || err != nil {
		return a.handle(Processing, err)
	}
	e, err := a.store.Entry(key)
	if err != nil {
		return a.failed(err)
	}
	defer a.store.Release(e) // if it stays empty
	c, result, has := &m.value, e.Value, e.Present
	if !c.hasNew && !has {
		return nil // nothing is known of what is subtracted
	}
	a.enter()
	if c.hasOld && has {
		result = a.subtract(m.key, c.old, result)
		has = a.folding.value.present(result, true)
	}
	switch {
	case !c.hasNew:
	case has:
		result = a.add(m.key, c.new, result)
	case a.first != nil:
		result = a.first(c.new)
	default:
		result = a.add(m.key, c.new, a.initial())
	}
	e.Value = result
	return a.changed(e)
}
