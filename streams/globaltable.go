package streams

import (
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// GlobalKTable is a table of which every instance of an application has all
// rows, whatever partitions its tasks read. Streams join it by any key, with
// JoinGlobal and LeftJoinGlobal.
type GlobalKTable[K, V any] struct {
	topology *Topology
	global   *globalTable
	key      serde.Serde[K]
	value    serde.Serde[V]
}

// GlobalTable opens a topic as a global table. All of its partitions are read
// when the application starts, before any record is processed, and followed
// after that: of each key the record that was read last counts, a null value
// deletes the row, and a record without a key is skipped. The rows are in
// memory, once for all threads. A topology opens a topic once. Partitions that
// the topic gets while the application runs are read after its next start.
func GlobalTable[K, V any](t *Topology, from serde.Topic[K, V]) *GlobalKTable[K, V] {
	n := &node{kind: sourceNode, name: t.generate("KSTREAM-SOURCE-"), topic: from.Name}
	t.open(n)
	key, value := serdeFor(t, n, "keys", from.Key), serdeFor(t, n, "values", from.Value)
	g := &globalTable{source: n, name: t.generate("KTABLE-SOURCE-"), rows: make(map[string][]byte)}
	g.canonical = func(k, v []byte) ([]byte, error) {
		decoded, err := key.Decode(k)
		if err != nil {
			return nil, fault.Newf(fault.Serialization, "the key").Because(err)
		}
		if v != nil {
			if _, err := value.Decode(v); err != nil {
				return nil, fault.Newf(fault.Serialization, "the value").Because(err)
			}
		}
		return key.Append(nil, decoded)
	}
	t.globals = append(t.globals, g)
	return &GlobalKTable[K, V]{topology: t, global: g, key: key, value: value}
}

// globalTable is the rows of a global table: one goroutine applies records, the
// tasks of all threads read.
type globalTable struct {
	source    *node                                   // not one of Topology.nodes: no task reads it
	name      string                                  // of the processor that keeps the rows, in descriptions
	canonical func(key, value []byte) ([]byte, error) // the key as the serde writes it, if both can be read

	mu   sync.RWMutex
	rows map[string][]byte // guarded by mu; the values do not change
}

// apply takes a record into the table. It copies what it keeps.
func (g *globalTable) apply(r *record.Record, h *handling, out outbox) error {
	if r.Key == nil {
		h.skipped(g.failure(r, errNullKey))
		return nil
	}
	key, err := g.decoded(r)
	if err != nil {
		return h.resolve(g.failure(r, err), out)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Value == nil {
		delete(g.rows, string(key))
	} else {
		g.rows[string(key)] = append([]byte{}, r.Value...)
	}
	return nil
}

func (g *globalTable) decoded(r *record.Record) (key []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // of a serde
			err = panicked(p)
		}
	}()
	return g.canonical(r.Key, r.Value)
}

func (g *globalTable) failure(r *record.Record, err error) *ProcessingError {
	return &ProcessingError{Node: g.source.name, Task: TaskID{Partition: -1}, Phase: Deserialization, At: r.Position(), Raw: r.Clone(), Err: err}
}

func (g *globalTable) get(key []byte) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.rows[string(key)]
}

func (g *globalTable) clear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.rows)
}

// globalOf returns the global table that is read from a topic, and nil if there
// is none.
func (t *Topology) globalOf(topic string) *globalTable {
	for _, g := range t.globals {
		if g.source.topic == topic {
			return g
		}
	}
	return nil
}

// JoinGlobal joins each record of a stream with the row of a global table that
// it refers to: reference returns that row's key, and false if the record refers
// to none. Records without a row are left out. Only records of the stream make
// results, with their own keys and timestamps. The stream is not repartitioned,
// and the topics may have any numbers of partitions. Records with a null value or
// without a reference are skipped, and counted by App.ErrorCounts.
func JoinGlobal[K, V, GK, GV, R any](
	s *KStream[K, V], table *GlobalKTable[GK, GV], reference func(key K, value V) (GK, bool), join func(key K, value V, row GV) R, options ...ValueOption[R],
) *KStream[K, R] {
	both := func(key K, value V, row *GV) R { return join(key, value, *row) }
	return joinGlobal(s, table, "KSTREAM-JOIN-", false, reference, both, reference != nil && join != nil, options)
}

// LeftJoinGlobal is JoinGlobal that keeps records without a row, or without a
// reference to one, for which join gets nil.
func LeftJoinGlobal[K, V, GK, GV, R any](
	s *KStream[K, V], table *GlobalKTable[GK, GV], reference func(key K, value V) (GK, bool), join func(key K, value V, row *GV) R, options ...ValueOption[R],
) *KStream[K, R] {
	return joinGlobal(s, table, "KSTREAM-LEFTJOIN-", true, reference, join, reference != nil && join != nil, options)
}

func joinGlobal[K, V, GK, GV, R any](
	s *KStream[K, V], table *GlobalKTable[GK, GV], prefix string, left bool,
	reference func(K, V) (GK, bool), join func(K, V, *GV) R, given bool, options []ValueOption[R],
) *KStream[K, R] {
	t := s.topology
	n := t.process(prefix, s.out.node)
	t.need(n, given)
	t.reads(n, table.topology, func() []*storeDecl { return nil })
	joined := derive(s, n, valueSerde(options))
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &globalLookup[K, V, GK, GV, R]{
			step: w.step(n), value: newCodec(s.value), key: newCodec(table.key), rowValue: table.value, rows: table.global,
			reference: reference, join: join, left: left, next: joined.out.wire(w),
		}
	})
	return joined
}

// globalLookup joins the records of a stream with the rows of a global table.
type globalLookup[K, V, GK, GV, R any] struct {
	step
	value     codec[V]
	key       codec[GK]
	rowValue  serde.Serde[GV]
	rows      *globalTable
	reference func(K, V) (GK, bool)
	join      func(K, V, *GV) R
	left      bool
	next      receiver[K, R]
	scratch   []byte
}

func (l *globalLookup[K, V, GK, GV, R]) receive(m message[K, V]) (err error) {
	if !l.value.present(m.value, m.hasValue) {
		l.skip(Processing, errNotJoined)
		return nil
	}
	l.enter()
	var found row[GV]
	to, ok := l.reference(m.key, m.value)
	switch {
	case l.key.present(to, ok):
		if l.scratch, err = l.key.Append(l.scratch[:0], to); err != nil {
			return l.handle(Processing, err)
		}
		if b := l.rows.get(l.scratch); b != nil {
			if found.value, err = l.rowValue.Decode(b); err != nil {
				return l.handle(Processing, err)
			}
			found.ok = true
		}
	case !l.left:
		l.skip(Processing, errNotJoined)
		return nil
	}
	if !found.ok && !l.left {
		return nil
	}
	return l.next.receive(message[K, R]{m.key, l.join(m.key, m.value, found.pointer()), m.hasKey, true})
}
