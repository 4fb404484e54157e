package streams

import (
	"errors"

	"github.com/runnel-go/runnel/serde"
)

// errNullKey says why a table takes no notice of a record.
var errNullKey = errors.New("a table has no row without a key")

// Table opens a topic as a table: a record is the new row of its key, and one
// with a null value deletes the row. The row that was written last counts, even
// if its timestamp is older. Records with a null key are skipped, and counted by
// App.ErrorCounts. As with Stream, a topology opens a topic once.
//
// Every update leaves the table, also one that changes nothing. The rows are
// kept in a store if Materialized gives it a name, or if an operator after the
// table needs them; such a store is named like the topic.
func Table[K, V any](t *Topology, from serde.Topic[K, V], options ...SourceOption[K, V]) *KTable[K, V] {
	in := openTopic(t, from, options)
	c := latest(t, in.out, "KTABLE-SOURCE-", in.key, in.value)
	c.view.fallback = from.Name
	return newTable(c)
}

// ToTable reads the stream as a table: a record is the new row of its key, and
// one with a null value deletes the row. If the keys have changed, the stream is
// repartitioned before; the repartition topic is named after the table's node:
// see Named. Records with a null key are skipped, and counted by
// App.ErrorCounts.
func (s *KStream[K, V]) ToTable() *KTable[K, V] {
	var c changes[K, V]
	gathered := gatheredFor(s, func() string { return c.out.node.name })
	c = latest(s.topology, gathered.out, "KSTREAM-TOTABLE-", gathered.key, gathered.value)
	return newTable(c)
}

// gatheredFor returns the stream whose equal keys are in the same task: s, or
// what is read back from a repartition topic, whose name is asked for at the end
// of the declaration.
func gatheredFor[K, V any](s *KStream[K, V], name func() string) *KStream[K, V] {
	if !s.rekeyed {
		return s
	}
	return repartition(s, name, 0)
}

// latest declares the node of a table whose rows are the last values of a
// stream's keys.
func latest[K, V any](t *Topology, from *outlet[K, V], prefix string, key serde.Serde[K], value serde.Serde[V]) changes[K, V] {
	n := t.process(prefix, from.node)
	c := tabled[K, V](t, n, key, value, nil)
	from.to(n, func(w *wiring) receiver[K, V] {
		return &updater[K, V]{step: w.step(n), key: newCodec(key), value: newCodec(value), next: c.wire(w)}
	})
	return c
}

// updater turns records into changes of rows.
type updater[K, V any] struct {
	step
	key   codec[K]
	value codec[V]
	next  receiver[K, change[V]]
}

func (u *updater[K, V]) receive(m message[K, V]) error {
	if !u.key.present(m.key, m.hasKey) {
		u.skip(Processing, errNullKey)
		return nil
	}
	c := change[V]{new: m.value, hasNew: u.value.present(m.value, m.hasValue)}
	return u.next.receive(message[K, change[V]]{key: m.key, hasKey: true, value: c, hasValue: true})
}

// keeper keeps a table's rows in a store. It stands between the table's node and
// the nodes after it.
type keeper[K, V any] struct {
	folding[K, V]
	key     codec[K]
	quiet   bool
	scratch []byte
}

func newKeeper[K, V any](w *wiring, v *view[K, V], next receiver[K, change[V]]) receiver[K, change[V]] {
	k := &keeper[K, V]{folding: newFolding(w, v, next), key: newCodec(v.key), quiet: v.quiet}
	w.flushes(v.node, k)
	return k
}

func (k *keeper[K, V]) receive(m message[K, change[V]]) (err error) {
	k.enter()
	if k.scratch, err = k.key.Append(k.scratch[:0], m.key); err != nil {
		return k.handle(Processing, err)
	}
	e, err := k.store.Entry(k.scratch)
	if err != nil {
		return err
	}
	if k.quiet && !e.Present && !m.value.hasNew {
		k.store.Release(e)
		return nil
	}
	e.Value = m.value.new
	return k.put(e, m.value.hasNew, k.task.ms)
}
