package streams

import "github.com/runnel-go/runnel/serde"

// KTable is a table: a stream of changes, of which the last one for each key
// counts. A null value deletes the key.
type KTable[K, V any] struct {
	topology *Topology
	out      *outlet[K, change[V]]
	key      serde.Serde[K]
	value    serde.Serde[V]
}

// Named gives the operator that made the table a name, which must be unique
// within the topology, and returns the table.
func (t *KTable[K, V]) Named(name string) *KTable[K, V] {
	t.out.node.name = name
	return t
}

// ToStream returns the table's changes as a stream of its new values; where a
// key was deleted, the value is null.
func (t *KTable[K, V]) ToStream() *KStream[K, V] {
	n := t.topology.process("KTABLE-TOSTREAM-", t.out.node)
	s := &KStream[K, V]{topology: t.topology, out: &outlet[K, V]{node: n}, key: t.key, value: t.value}
	t.out.to(n, func(w *wiring) receiver[K, change[V]] {
		return &newValues[K, V]{next: s.out.wire(w)}
	})
	return s
}

type newValues[K, V any] struct {
	next receiver[K, V]
}

func (n *newValues[K, V]) receive(m message[K, change[V]]) error {
	return n.next.receive(message[K, V]{key: m.key, hasKey: m.hasKey, value: m.value.new, hasValue: m.value.hasNew})
}
