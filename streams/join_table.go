package streams

import "errors"

// errNotJoined says why a join leaves out a record.
var errNotJoined = errors.New("a null key or a null value joins nothing")

// JoinTable joins each record of a stream with the row that the table has for
// its key at that moment, and leaves out records without a row. Only records of
// the stream make results, with their own timestamps. Records with a null key or
// a null value are skipped, and counted by App.ErrorCounts.
//
// The stream's topic and the table's must have the same number of partitions. If
// the stream's keys have changed, it is repartitioned before; the repartition
// topic is named after the join: see Named.
func JoinTable[K, V, T, R any](s *KStream[K, V], table *KTable[K, T], join func(key K, value V, row T) R, options ...ValueOption[R]) *KStream[K, R] {
	return joinTable(s, table.changes, "KSTREAM-JOIN-", false, func(key K, value V, row *T) R { return join(key, value, *row) }, join != nil, options)
}

// LeftJoinTable is JoinTable that keeps records without a row, for which join
// gets nil, and records with a null key, which have none.
func LeftJoinTable[K, V, T, R any](s *KStream[K, V], table *KTable[K, T], join func(key K, value V, row *T) R, options ...ValueOption[R]) *KStream[K, R] {
	return joinTable(s, table.changes, "KSTREAM-LEFTJOIN-", true, join, join != nil, options)
}

func joinTable[K, V, T, R any](
	s *KStream[K, V], table changes[K, T], prefix string, left bool, join func(K, V, *T) R, given bool, options []ValueOption[R],
) *KStream[K, R] {
	t := s.topology
	var n *node
	keyless := left && !s.rekeyed // a repartition topic takes no null keys
	from := gatheredFor(s, func() string { return n.name })
	n = t.process(prefix, from.out.node)
	t.need(n, given)
	t.reads(n, table.topology, func() []*storeDecl { return table.view.stores() })
	joined := derive(from, n, valueSerde(options))
	from.out.to(n, func(w *wiring) receiver[K, V] {
		return &tableLookup[K, V, T, R]{
			step: w.step(n), key: newCodec(from.key), value: newCodec(from.value), rows: table.view.open(w),
			join: join, left: left, keyless: keyless, next: joined.out.wire(w),
		}
	})
	return joined
}

// reads connects n, at the end of the declaration, with stores of tables that
// must be of the same topology.
func (t *Topology) reads(n *node, of *Topology, stores func() []*storeDecl) {
	if of != t {
		t.fail(n, "joins a table that is not of this topology")
		return
	}
	t.demands = append(t.demands, func() { t.connect(n, stores()...) })
}

// tableLookup joins the records of a stream with a table's rows.
type tableLookup[K, V, T, R any] struct {
	step
	key     codec[K]
	value   codec[V]
	rows    getter[K, T]
	join    func(K, V, *T) R
	left    bool
	keyless bool // records with a null key are joined, with nothing
	next    receiver[K, R]
}

func (l *tableLookup[K, V, T, R]) receive(m message[K, V]) error {
	hasKey := l.key.present(m.key, m.hasKey)
	if !hasKey && !l.keyless || !l.value.present(m.value, m.hasValue) {
		l.skip(Processing, errNotJoined)
		return nil
	}
	var found row[T]
	if hasKey {
		l.enter()
		var err error
		if found, err = l.rows.get(m.key, newest); err != nil {
			return l.handle(Processing, err)
		}
	}
	if !found.ok && !l.left {
		return nil
	}
	l.enter()
	return l.next.receive(message[K, R]{m.key, l.join(m.key, m.value, found.pointer()), m.hasKey, true})
}
