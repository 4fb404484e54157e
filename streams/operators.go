package streams

import "github.com/runnel-go/runnel/serde"

// KeyValue is a record's key and value, as FlatMap's function returns them.
type KeyValue[K, V any] struct {
	Key   K
	Value V
}

// Stream opens a topic as a stream. A topology opens a topic once. A new
// application starts at the topic's start; one that ran before continues where
// it stopped. Records that retention deletes before they are read are skipped.
// Types that have no serde in from must be strings, byte slices, integers or
// floats.
func Stream[K, V any](t *Topology, from serde.Topic[K, V], options ...SourceOption[K, V]) *KStream[K, V] {
	return openTopic(t, from, options)
}

// openTopic declares the source of a topic.
func openTopic[K, V any](t *Topology, from serde.Topic[K, V], options []SourceOption[K, V]) *KStream[K, V] {
	n := t.add(sourceNode, t.generate("KSTREAM-SOURCE-"))
	n.topic = from.Name
	t.open(n)
	s := &KStream[K, V]{
		topology: t, out: &outlet[K, V]{node: n},
		key: serdeFor(t, n, "keys", from.Key), value: serdeFor(t, n, "values", from.Value),
	}
	extract := sourceOptions(options).extract
	n.open = func(w *wiring) source { return newReader(w, n, s.key, s.value, s.out, extract) }
	return s
}

// open notes that n reads its topic, which no other node may.
func (t *Topology) open(n *node) {
	t.checkTopic(n)
	if other, taken := t.sources[n.topic]; taken {
		t.fail(n, "the topic %q is read by %s already: use that stream or table again", n.topic, other.name)
	}
	t.sources[n.topic] = n
}

// Map returns the stream of the results of f for each record. The result is
// repartitioned before an operator that groups by key.
func Map[K, V, K2, V2 any](s *KStream[K, V], f func(key K, value V) (K2, V2)) *KStream[K2, V2] {
	return mapRecords(s.topology, s.out, f)
}

// mapRecords is Map for the output of a node. It takes an outlet instead of a
// KStream so that a stream with windowed keys can have a method that calls it:
// see KTable.
func mapRecords[K, V, K2, V2 any](t *Topology, from *outlet[K, V], f func(key K, value V) (K2, V2)) *KStream[K2, V2] {
	n := t.process("KSTREAM-MAP-", from.node)
	t.need(n, f != nil)
	mapped := rekey[K2, V2](t, n, nil, nil)
	from.to(n, func(w *wiring) receiver[K, V] {
		return &mapper[K, V, K2, V2]{step: w.step(n), f: f, next: mapped.out.wire(w)}
	})
	return mapped
}

// MapValues returns the stream with each value replaced by f's result. Keys and
// partitions do not change.
func MapValues[K, V, V2 any](s *KStream[K, V], f func(value V) V2, options ...ValueOption[V2]) *KStream[K, V2] {
	n := s.topology.process("KSTREAM-MAPVALUES-", s.out.node)
	s.topology.need(n, f != nil)
	mapped := derive(s, n, valueSerde(options))
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &valueMapper[K, V, V2]{step: w.step(n), f: f, next: mapped.out.wire(w)}
	})
	return mapped
}

// FlatMap returns the stream of the records that f returns for each record, in
// their order, all with its timestamp and headers. The result is repartitioned
// before an operator that groups by key.
func FlatMap[K, V, K2, V2 any](s *KStream[K, V], f func(key K, value V) []KeyValue[K2, V2]) *KStream[K2, V2] {
	n := s.topology.process("KSTREAM-FLATMAP-", s.out.node)
	s.topology.need(n, f != nil)
	mapped := rekey[K2, V2](s.topology, n, nil, nil)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &flatMapper[K, V, K2, V2]{step: w.step(n), f: f, next: mapped.out.wire(w)}
	})
	return mapped
}

// FlatMapValues returns the stream of the values that f returns for each value,
// in their order, all with its key, timestamp and headers. Keys and partitions
// do not change.
func FlatMapValues[K, V, V2 any](s *KStream[K, V], f func(value V) []V2, options ...ValueOption[V2]) *KStream[K, V2] {
	n := s.topology.process("KSTREAM-FLATMAPVALUES-", s.out.node)
	s.topology.need(n, f != nil)
	mapped := derive(s, n, valueSerde(options))
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &valueFlatMapper[K, V, V2]{step: w.step(n), f: f, next: mapped.out.wire(w)}
	})
	return mapped
}

// SelectKey returns the stream with the keys that f returns. It is
// repartitioned before an operator that groups by key.
func SelectKey[K, V, K2 any](s *KStream[K, V], f func(key K, value V) K2, options ...KeyOption[K2]) *KStream[K2, V] {
	return selectKey(s.topology, s.out, s.value, f, options)
}

// selectKey is SelectKey for the output of a node, for the reason given at
// mapRecords.
func selectKey[K, V, K2 any](
	t *Topology, from *outlet[K, V], value serde.Serde[V], f func(key K, value V) K2, options []KeyOption[K2],
) *KStream[K2, V] {
	n := t.process("KSTREAM-KEY-SELECT-", from.node)
	t.need(n, f != nil)
	selected := rekey(t, n, keySerde(options), value)
	from.to(n, func(w *wiring) receiver[K, V] {
		return &keySelector[K, V, K2]{step: w.step(n), f: f, next: selected.out.wire(w)}
	})
	return selected
}

// need reports an operator without its function as a mistake.
func (t *Topology) need(n *node, given bool) {
	if !given {
		t.fail(n, "no function")
	}
}

// The processors. Each records its node in the task before it calls a function
// of the program, so that a panic can be attributed to that node.

type filter[K, V any] struct {
	step
	test func(K, V) bool
	keep bool
	next receiver[K, V]
}

func (f *filter[K, V]) receive(m message[K, V]) error {
	f.enter()
	if f.test(m.key, m.value) != f.keep {
		return nil
	}
	return f.next.receive(m)
}

type peek[K, V any] struct {
	step
	see  func(K, V)
	next receiver[K, V]
}

func (p *peek[K, V]) receive(m message[K, V]) error {
	p.enter()
	p.see(m.key, m.value)
	return p.next.receive(m)
}

type mapper[K, V, K2, V2 any] struct {
	step
	f    func(K, V) (K2, V2)
	next receiver[K2, V2]
}

func (f *mapper[K, V, K2, V2]) receive(m message[K, V]) error {
	f.enter()
	key, value := f.f(m.key, m.value)
	return f.next.receive(message[K2, V2]{key, value, true, true})
}

type valueMapper[K, V, V2 any] struct {
	step
	f    func(V) V2
	next receiver[K, V2]
}

func (f *valueMapper[K, V, V2]) receive(m message[K, V]) error {
	f.enter()
	return f.next.receive(message[K, V2]{m.key, f.f(m.value), m.hasKey, true})
}

type flatMapper[K, V, K2, V2 any] struct {
	step
	f    func(K, V) []KeyValue[K2, V2]
	next receiver[K2, V2]
}

func (f *flatMapper[K, V, K2, V2]) receive(m message[K, V]) error {
	f.enter()
	for _, kv := range f.f(m.key, m.value) {
		if err := f.next.receive(message[K2, V2]{kv.Key, kv.Value, true, true}); err != nil {
			return err
		}
	}
	return nil
}

type valueFlatMapper[K, V, V2 any] struct {
	step
	f    func(V) []V2
	next receiver[K, V2]
}

func (f *valueFlatMapper[K, V, V2]) receive(m message[K, V]) error {
	f.enter()
	for _, value := range f.f(m.value) {
		if err := f.next.receive(message[K, V2]{m.key, value, m.hasKey, true}); err != nil {
			return err
		}
	}
	return nil
}

type keySelector[K, V, K2 any] struct {
	step
	f    func(K, V) K2
	next receiver[K2, V]
}

func (f *keySelector[K, V, K2]) receive(m message[K, V]) error {
	f.enter()
	return f.next.receive(message[K2, V]{f.f(m.key, m.value), m.value, true, m.hasValue})
}
