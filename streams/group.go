package streams

import "github.com/runnel-go/runnel/serde"

// Grouped is a stream grouped by key, which Count, Reduce and Aggregate turn into
// a table.
type Grouped[K, V any] interface {
	grouping() *grouping[K, V]
}

// grouping is the information about a grouped stream that an aggregation needs.
// It must not refer to KStream or KTable: with windowed keys that would be an
// instantiation cycle.
type grouping[K, V any] struct {
	topology *Topology
	out      *outlet[K, V]
	key      serde.Serde[K]
	value    serde.Serde[V]
	name     string // of the repartition topic; empty: that of the store
	rekeyed  bool
	asRead   bool

	repartitioned *outlet[K, V] // shared by the aggregations of a named grouping

	windows *windowing[K, V] // nil: keys have no windows
}

// gatheredStream is a stream whose equal keys are in the same task.
type gatheredStream[K, V any] struct {
	node *node

	// to adds n as a child. The clock is that of the windows, and nil without any.
	to func(n *node, child func(w *wiring, clock *windowClock) receiver[K, V])
}

// KGroupedStream is a stream grouped by its keys. Aggregations skip records
// with a null key or a null value.
type KGroupedStream[K, V any] struct{ group grouping[K, V] }

func (g *KGroupedStream[K, V]) grouping() *grouping[K, V] { return &g.group }

// Named names the grouping's repartition topic, if it needs one:
// <application>-name-repartition. Without Named, each aggregation has its own,
// named after the aggregation's store.
func (g *KGroupedStream[K, V]) Named(name string) *KGroupedStream[K, V] {
	g.group.name = name
	return g
}

// GroupBy groups the records by the keys that f returns. It is SelectKey and
// GroupByKey in one.
func GroupBy[K, V, K2 any](s *KStream[K, V], f func(key K, value V) K2, options ...KeyOption[K2]) *KGroupedStream[K2, V] {
	return SelectKey(s, f, options...).GroupByKey()
}

// GroupByKey groups the records by their keys.
func (s *KStream[K, V]) GroupByKey() *KGroupedStream[K, V] {
	return &KGroupedStream[K, V]{grouping[K, V]{
		topology: s.topology, out: s.out, key: s.key, value: s.value, rekeyed: s.rekeyed, asRead: s.asRead,
	}}
}

// gathered returns the stream in which records with equal keys are in the same task.
// asRead is as in KStream.
func (g *grouping[K, V]) gathered(store string) (s gatheredStream[K, V], asRead bool) {
	if g.windows != nil {
		return g.windows.gathered(store), false
	}
	out, asRead := g.source(store)
	return gatheredStream[K, V]{out.node, func(n *node, child func(w *wiring, clock *windowClock) receiver[K, V]) {
		out.to(n, func(w *wiring) receiver[K, V] { return child(w, nil) })
	}}, asRead
}

// source returns the outlet of the grouping's own node, or that of the source of a
// repartition topic.
func (g *grouping[K, V]) source(store string) (out *outlet[K, V], asRead bool) {
	switch {
	case !g.rekeyed:
		return g.out, g.asRead
	case g.name == "":
		return repartitionTopic(g.topology, g.out, called(store), 0, g.key, g.value), true
	case g.repartitioned == nil:
		g.repartitioned = repartitionTopic(g.topology, g.out, called(g.name), 0, g.key, g.value)
	}
	return g.repartitioned, true
}

// check reports what is wrong with the windows of the node that aggregates.
func (g *grouping[K, V]) check(n *node) {
	if g.windows != nil && g.windows.mistake != "" {
		g.topology.fail(n, "%s", g.windows.mistake)
	}
}

// repartition is KStream.Repartition with a name that is asked for at the end of
// the declaration.
func repartition[K, V any](s *KStream[K, V], name func() string, partitions int) *KStream[K, V] {
	other := *s
	other.out = repartitionTopic(s.topology, s.out, name, partitions, s.key, s.value)
	other.rekeyed, other.asRead = false, true
	return &other
}

// called returns a name that is known already.
func called(name string) func() string { return func() string { return name } }

// repartitionTopic declares an internal topic with the nodes on both of its
// sides, and returns the outlet of the one that reads it. Kafka describes three
// nodes. At run time the filter that drops null keys and the sink are one.
func repartitionTopic[K, V any](
	t *Topology, from *outlet[K, V], name func() string, partitions int, key serde.Serde[K], value serde.Serde[V],
) *outlet[K, V] {
	for _, prefix := range []string{"KSTREAM-SINK-", "KSTREAM-FILTER-", "KSTREAM-SOURCE-"} {
		t.generate(prefix) // keeps the counter at Kafka's value, which generates names for these nodes
	}
	decl := &repartitionDecl{partitions: partitions}
	nulls := t.add(processorNode, "", from.node)
	into, back := t.add(sinkNode, "", nulls), t.add(sourceNode, "")
	into.internal, back.internal = decl, decl
	t.naming = append(t.naming, func() {
		topic := name() + repartitionSuffix
		nulls.name, into.name, back.name = topic+"-filter", topic+"-sink", topic+"-source"
		into.topic, back.topic = topic, topic
	})

	key = serdeFor(t, into, "keys", key)
	value = serdeFor(t, into, "values", value)
	out := &outlet[K, V]{node: back}
	from.to(into, func(w *wiring) receiver[K, V] { return newSink(w, into, key, value) })
	back.open = func(w *wiring) source { return newReader(w, back, key, value, out, nil) }
	return out
}
