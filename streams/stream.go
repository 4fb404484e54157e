package streams

import (
	"slices"

	"github.com/runnel-go/runnel/serde"
)

// KStream is a stream of records: each is an event of its own. Operators that
// keep the types are methods, those that change one are functions of this
// package, and methods too with Go 1.27. A KStream may be used several times: each
// use gets every record.
//
// Functions see the zero value where a record has null, and what they return is
// there, unless the serde that writes it says that it stands for null
// (serde.Nullable). They run in the task that the record belongs to, so several
// tasks may call one at once; they may not block for long. A panic in one ends
// the application with a ProcessingError, not the program.
type KStream[K, V any] struct {
	topology *Topology
	out      *outlet[K, V]
	key      serde.Serde[K] // nil: not given
	value    serde.Serde[V]

	// rekeyed: the key is not the one that the records were partitioned by, so
	// a repartition topic comes before anything that gathers records by key.
	rekeyed bool

	// asRead: key is the serde of the internal topic that out.node reads, whose
	// bytes are canonical: equal keys have equal bytes.
	asRead bool
}

// derive returns the stream that n, a new child of s, emits. Key and partitions
// stay.
func derive[K, V, V2 any](s *KStream[K, V], n *node, value serde.Serde[V2]) *KStream[K, V2] {
	return &KStream[K, V2]{topology: s.topology, out: &outlet[K, V2]{node: n}, key: s.key, value: value, rekeyed: s.rekeyed}
}

// rekey returns the stream that n emits: its keys are not those that the records
// were partitioned by.
func rekey[K, V any](t *Topology, n *node, key serde.Serde[K], value serde.Serde[V]) *KStream[K, V] {
	return &KStream[K, V]{topology: t, out: &outlet[K, V]{node: n}, key: key, value: value, rekeyed: true}
}

// Named gives the operator that made s a name, which must be unique within the
// topology, and returns s. Names appear in descriptions and errors; those of
// internal topics come from stores and repartitions, which always have names,
// so that a topology may change without losing them.
func (s *KStream[K, V]) Named(name string) *KStream[K, V] {
	s.out.node.name = name
	return s
}

// WithSerdes returns s with the serdes that write its keys and values from here
// on. A nil one leaves what was.
func (s *KStream[K, V]) WithSerdes(key serde.Serde[K], value serde.Serde[V]) *KStream[K, V] {
	other := *s
	if key != nil {
		other.key, other.asRead = key, false
	}
	if value != nil {
		other.value, other.asRead = value, false
	}
	return &other
}

// Filter keeps the records that keep is true for.
func (s *KStream[K, V]) Filter(keep func(key K, value V) bool) *KStream[K, V] {
	return s.filter(keep, true)
}

// FilterNot drops the records that drop is true for.
func (s *KStream[K, V]) FilterNot(drop func(key K, value V) bool) *KStream[K, V] {
	return s.filter(drop, false)
}

func (s *KStream[K, V]) filter(test func(K, V) bool, keep bool) *KStream[K, V] {
	n := s.topology.process("KSTREAM-FILTER-", s.out.node)
	s.topology.need(n, test != nil)
	kept := derive(s, n, s.value)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &filter[K, V]{step: w.step(n), test: test, keep: keep, next: kept.out.wire(w)}
	})
	return kept
}

// Peek calls see for each record and passes it on.
func (s *KStream[K, V]) Peek(see func(key K, value V)) *KStream[K, V] {
	n := s.topology.process("KSTREAM-PEEK-", s.out.node)
	s.topology.need(n, see != nil)
	seen := derive(s, n, s.value)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &peek[K, V]{step: w.step(n), see: see, next: seen.out.wire(w)}
	})
	return seen
}

// ForEach calls do for each record, and ends the branch.
func (s *KStream[K, V]) ForEach(do func(key K, value V)) {
	n := s.topology.process("KSTREAM-FOREACH-", s.out.node)
	s.topology.need(n, do != nil)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		return &peek[K, V]{step: w.step(n), see: do, next: discard[K, V]{}}
	})
}

// Merge returns the records of s and of others, in the order in which they are
// processed; nothing is promised between records of different streams. The
// serdes are those of s.
func (s *KStream[K, V]) Merge(others ...*KStream[K, V]) *KStream[K, V] {
	streams := append([]*KStream[K, V]{s}, others...)
	streams = slices.DeleteFunc(streams, func(o *KStream[K, V]) bool { return o == nil || o.topology != s.topology })
	parents := make([]*node, len(streams))
	for i, o := range streams {
		parents[i] = o.out.node
	}
	n := s.topology.process("KSTREAM-MERGE-", parents...)
	if len(streams) <= len(others) {
		s.topology.fail(n, "merges a stream that is not of this topology")
	}
	merged := derive(s, n, s.value)
	for _, o := range streams {
		merged.rekeyed = merged.rekeyed || o.rekeyed
		o.out.to(n, func(w *wiring) receiver[K, V] {
			return once(w, n, func() receiver[K, V] { return merged.out.wire(w) })
		})
	}
	return merged
}

// To writes the stream to a topic, which must exist when the application runs.
// Where the topic has no serdes, the stream's are used. The partition is that of
// the key's hash, as for any producer.
func (s *KStream[K, V]) To(to serde.Topic[K, V]) {
	t := s.topology
	n := t.add(sinkNode, t.generate("KSTREAM-SINK-"), s.out.node)
	n.topic = to.Name
	t.checkTopic(n)
	key := serdeFor(t, n, "keys", to.Key, s.key)
	value := serdeFor(t, n, "values", to.Value, s.value)
	s.out.to(n, func(w *wiring) receiver[K, V] { return newSink(w, n, key, value) })
}

// Repartition writes the stream to an internal topic, <application>-name-repartition,
// and reads it again from there, so that records with equal keys are in one
// partition and one task. Records with a null key are dropped. Partitions may be
// 0: as many as the largest topic that the stream comes from.
func (s *KStream[K, V]) Repartition(name string, partitions int) *KStream[K, V] {
	if partitions < 0 {
		s.topology.fail(s.out.node, "repartition %q with %d partitions", name, partitions)
	}
	return repartition(s, name, partitions)
}
