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
}

func newTable[K, V any](c changes[K, V]) *KTable[K, V] { return &KTable[K, V]{c} }

// Named names the operator that emits the table and returns the table. The name
// must be unique within the topology.
func (t *KTable[K, V]) Named(name string) *KTable[K, V] {
	t.out.node.name = name
	return t
}

// ToStream returns the table's changes as a stream of its new values. For a
// deleted key the value is null.
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
