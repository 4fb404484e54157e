package streams

import (
	"slices"

	"github.com/runnel-go/runnel/serde"
)

// KStream is a stream of records: each is an independent event. Operators that
// keep the types are methods. Those that change a type are functions of this
// package, and with Go 1.27 also methods. A KStream may be used several times:
// each use gets every record.
//
// Functions get the zero value if a record has null. What they return is not
// null, unless the serde that writes it treats it as null (serde.Nullable).
// They run in the task that the record belongs to, so several tasks may call
// one at once, and they must not block for long. A panic in one ends the
// application with a ProcessingError, not the program.
type KStream[K, V any] struct {
	topology *Topology
	out      *outlet[K, V]
	key      serde.Serde[K] // nil: not set
	value    serde.Serde[V]

	// rekeyed: the key is not the one by which the records were partitioned, so
	// a repartition topic comes before any operator that groups by key.
	rekeyed bool

	// asRead: key is the serde of the internal topic that out.node reads, whose
	// bytes are canonical: equal keys have equal bytes.
	asRead bool
}

// derive returns the stream that n, a new child of s, emits. Key and partitions
// do not change.
func derive[K, V, V2 any](s *KStream[K, V], n *node, value serde.Serde[V2]) *KStream[K, V2] {
	return &KStream[K, V2]{topology: s.topology, out: &outlet[K, V2]{node: n}, key: s.key, value: value, rekeyed: s.rekeyed}
}

// rekey returns the stream that n emits, whose keys are not those by which the
// records were partitioned.
func rekey[K, V any](t *Topology, n *node, key serde.Serde[K], value serde.Serde[V]) *KStream[K, V] {
	return &KStream[K, V]{topology: t, out: &outlet[K, V]{node: n}, key: key, value: value, rekeyed: true}
}

// Named names the operator that emits s and returns s. A name must be unique
// within the topology. It appears in descriptions and errors. Internal topics
// are named after stores and repartitions, which always have names, so a
// topology can change without losing its internal topics.
func (s *KStream[K, V]) Named(name string) *KStream[K, V] {
	s.out.node.name = name
	return s
}

// WithSerdes returns s with the serdes that write its keys and values from here
// on. A nil serde changes nothing.
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

// Filter keeps the records for which keep returns true.
func (s *KStream[K, V]) Filter(keep func(key K, value V) bool) *KStream[K, V] {
	return s.filter(keep, true)
}

// FilterNot drops the records for which drop returns true.
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
// processed. There is no guaranteed order between records of different streams.
// The serdes are those of s.
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
// If the topic has no serdes, the stream's are used. The key's hash chooses the
// partition, as in any producer.
func (s *KStream[K, V]) To(to serde.Topic[K, V]) { sinkOf(s.topology, s.out, s.key, s.value, to) }

// sinkOf is To for the output of a node, for the reason given at changes.
func sinkOf[K, V any](t *Topology, from *outlet[K, V], key serde.Serde[K], value serde.Serde[V], to serde.Topic[K, V]) {
	n := t.add(sinkNode, t.generate("KSTREAM-SINK-"), from.node)
	n.topic = to.Name
	t.checkTopic(n)
	key = serdeFor(t, n, "keys", to.Key, key)
	value = serdeFor(t, n, "values", to.Value, value)
	from.to(n, func(w *wiring) receiver[K, V] { return newSink(w, n, key, value) })
}

// ToTopics writes each record to the topic that choose returns for it, with the
// stream's serdes: Kafka's to with a TopicNameExtractor. A topic that does not exist is a
// production error of the record (fault.UnknownTopic). A task keeps a batch for each
// partition of each topic that it has written to.
func (s *KStream[K, V]) ToTopics(choose func(r Record[K, V]) string) {
	t := s.topology
	n := t.add(sinkNode, t.generate("KSTREAM-SINK-"), s.out.node)
	t.need(n, choose != nil)
	key, value := serdeFor(t, n, "keys", s.key), serdeFor(t, n, "values", s.value)
	s.out.to(n, func(w *wiring) receiver[K, V] {
		at, outbox := w.step(n), w.out
		return &chooser[K, V]{step: at, choose: choose, sinks: make(map[string]*sink[K, V]), open: func(topic string) (*sink[K, V], error) {
			out, err := outbox.output(n, topic)
			return sinkTo(at, n, key, value, out), err
		}}
	})
}

// Repartition writes the stream to an internal topic,
// <application>-name-repartition, and reads it back from there, so that records
// with equal keys are in one partition and one task. Records with a null key
// are dropped. With 0 partitions the topic gets as many as the largest topic
// upstream.
func (s *KStream[K, V]) Repartition(name string, partitions int) *KStream[K, V] {
	if partitions < 0 {
		s.topology.fail(s.out.node, "repartition %q with %d partitions", name, partitions)
	}
	return repartition(s, called(name), partitions)
}
