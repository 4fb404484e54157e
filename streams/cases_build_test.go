package streams_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/streams"
)

// The kinds of nodes that a case's operators make.
type (
	dataStream       = *streams.KStream[datum, datum]
	dataTable        = *streams.KTable[datum, datum]
	dataGroup        = *streams.KGroupedStream[datum, datum]
	dataGroupedTable = *streams.KGroupedTable[datum, datum]
	dataGlobalTable  = *streams.GlobalKTable[datum, datum]
)

// caseNode is a node of a case's topology. Each operator uses some of the
// fields.
type caseNode struct {
	ID, Op, Topic, Store string
	Topics               []string
	From                 json.RawMessage
	Left, Right          string
	Kind                 string
	Pred                 function
	Fn                   json.RawMessage
	FkFn                 function  `json:"fk_fn"`
	KeyFn                function  `json:"key_fn"`
	TopicFn              *function `json:"topic_fn"`
	Joiner               function
	Branches             []struct {
		ID   string
		Pred function
	}
	Default           json.RawMessage
	Init              datum
	Adder, Subtractor function
	Merger            *function
	Windows, Emit     json.RawMessage
	Until             string
	Ms                int64
	MaxRecords        int64  `json:"max_records"`
	Grace             *int64 `json:"grace_ms"`
	History           *int64 `json:"versioned_history_ms"`
	Extractor         string `json:"timestamp_extractor"`
	Processor         json.RawMessage
	Inputs            json.RawMessage
}

// caseBuilder declares a case's topology with the public DSL.
type caseBuilder struct {
	*testing.T
	topology *streams.Topology
	nodes    map[string]any
	stores   map[string]bool // their names, and whether they hold counts
	untimed  map[string]bool // the stores of processors, whose rows have no time in the cases
}

// operators declares the nodes of each operator.
var operators = map[string]func(b *caseBuilder, n caseNode) any{
	"stream":          (*caseBuilder).stream,
	"table":           (*caseBuilder).table,
	"filter":          (*caseBuilder).filter,
	"filter_not":      (*caseBuilder).filter,
	"map":             (*caseBuilder).mapped,
	"map_values":      (*caseBuilder).mapValues,
	"select_key":      (*caseBuilder).selectKey,
	"flat_map":        (*caseBuilder).flatMap,
	"flat_map_values": (*caseBuilder).flatMapValues,
	"peek":            (*caseBuilder).peek,
	"merge":           (*caseBuilder).merge,
	"split":           (*caseBuilder).split,
	"repartition":     (*caseBuilder).repartition,
	"to":              (*caseBuilder).to,
	"to_table":        (*caseBuilder).toTable,
	"to_stream":       (*caseBuilder).toStream,
	"group_by_key":    (*caseBuilder).groupByKey,
	"group_by":        (*caseBuilder).groupBy,
	"count":           (*caseBuilder).count,
	"reduce":          (*caseBuilder).reduce,
	"aggregate":       (*caseBuilder).aggregate,

	"stream_table_join": (*caseBuilder).streamTableJoin,
	"table_table_join":  (*caseBuilder).tableTableJoin,
	"table_fk_join":     (*caseBuilder).tableForeignJoin,

	"global_table":       (*caseBuilder).globalTable,
	"stream_global_join": (*caseBuilder).streamGlobalJoin,
}

func (b *caseBuilder) declare(t *streams.Topology, nodes []caseNode) {
	b.topology, b.nodes = t, make(map[string]any)
	for _, n := range nodes {
		declare, known := operators[n.Op]
		require.True(b, known, "unknown operator %s", n.Op)
		if made := declare(b, n); n.ID != "" {
			b.nodes[n.ID] = made
		}
	}
}

// at returns the node that another one reads, which must be of a kind.
func at[N any](b *caseBuilder, id string) N {
	n, ok := b.nodes[id].(N)
	require.True(b, ok, "%q is a %T", id, b.nodes[id])
	return n
}

func parent[N any](b *caseBuilder, n caseNode) N {
	var id string
	strictly(b, n.From, &id)
	return at[N](b, id)
}

// source is the node that n reads, whatever it is.
func (b *caseBuilder) source(n caseNode) any { return parent[any](b, n) }

func (b *caseBuilder) fn(n caseNode) (f function) {
	strictly(b, n.Fn, &f)
	return f
}

// store returns the name of a node's store.
func (b *caseBuilder) store(n caseNode, counts bool) string {
	name := n.Store
	if name == "" {
		name = n.ID
	}
	b.stores[name] = counts
	return name
}

// materialized keeps a table in a store if the case names one.
func (b *caseBuilder) materialized(n caseNode, t dataTable) dataTable {
	if n.Store == "" {
		return t
	}
	return t.Materialized(b.store(n, false))
}

func (b *caseBuilder) stream(n caseNode) any {
	s := streams.Stream(b.topology, caseTopic(n.Topics[0]), b.extractor(n)...)
	for _, more := range n.Topics[1:] {
		s = s.Merge(streams.Stream(b.topology, caseTopic(more), b.extractor(n)...))
	}
	return s
}

func (b *caseBuilder) table(n caseNode) any {
	require.Nil(b, n.History, "unknown: versioned tables")
	return b.materialized(n, streams.Table(b.topology, caseTopic(n.Topic)))
}

func (b *caseBuilder) filter(n caseNode) any {
	test, keep := n.Pred.predicate(b), n.Op == "filter"
	switch from := b.source(n).(type) {
	case dataStream:
		if keep {
			return from.Filter(test)
		}
		return from.FilterNot(test)
	case dataTable:
		if keep {
			return b.materialized(n, from.Filter(test))
		}
		return b.materialized(n, from.FilterNot(test))
	default:
		require.Fail(b, "no stream and no table", "%T", from)
		return nil
	}
}

func (b *caseBuilder) pair(n caseNode) func(k, v datum) (datum, datum) {
	var f struct{ Key, Value function }
	strictly(b, n.Fn, &f)
	key, value := f.Key.of(b), f.Value.of(b)
	return func(k, v datum) (datum, datum) { return key(k, v), value(k, v) }
}

func (b *caseBuilder) mapped(n caseNode) any {
	return streams.Map(parent[dataStream](b, n), b.pair(n)).WithSerdes(data{}, data{})
}

func (b *caseBuilder) mapValues(n caseNode) any {
	f := b.fn(n).of(b)
	onValue := func(v datum) datum { return f(datum{}, v) }
	if table, ok := b.source(n).(dataTable); ok {
		return b.materialized(n, streams.MapTable(table, onValue, streams.ValueSerde[datum](data{})))
	}
	return streams.MapValues(parent[dataStream](b, n), onValue, streams.ValueSerde[datum](data{}))
}

func (b *caseBuilder) selectKey(n caseNode) any {
	return streams.SelectKey(parent[dataStream](b, n), b.fn(n).of(b), streams.KeySerde[datum](data{}))
}

func (b *caseBuilder) flatMap(n caseNode) any {
	require.Equal(b, "number_keys", b.fn(n).Fn)
	return streams.FlatMap(parent[dataStream](b, n), func(k, v datum) (out []streams.KeyValue[datum, datum]) {
		for i := range k.n {
			out = append(out, streams.KeyValue[datum, datum]{Key: integer(10*k.n + i), Value: v})
		}
		return out
	}).WithSerdes(data{}, data{})
}

func (b *caseBuilder) flatMapValues(n caseNode) any {
	return streams.FlatMapValues(parent[dataStream](b, n), b.fn(n).splitter(b), streams.ValueSerde[datum](data{}))
}

func (b *caseBuilder) peek(n caseNode) any {
	return parent[dataStream](b, n).Peek(func(datum, datum) {})
}

func (b *caseBuilder) merge(n caseNode) any {
	var parents []string
	strictly(b, n.From, &parents)
	s := at[dataStream](b, parents[0])
	for _, p := range parents[1:] {
		s = s.Merge(at[dataStream](b, p))
	}
	return s
}

func (b *caseBuilder) split(n caseNode) any {
	split := parent[dataStream](b, n).Split()
	for _, branch := range n.Branches {
		b.nodes[branch.ID] = split.Branch(branch.Pred.predicate(b))
	}
	var rest *string
	strictly(b, n.Default, &rest)
	if rest != nil {
		b.nodes[*rest] = split.Default()
	}
	return nil
}

func (b *caseBuilder) repartition(n caseNode) any {
	return parent[dataStream](b, n).Repartition(n.ID, 0)
}

func (b *caseBuilder) to(n caseNode) any {
	if n.TopicFn != nil {
		topic := n.TopicFn.of(b)
		parent[dataStream](b, n).ToTopics(func(r streams.Record[datum, datum]) string { return topic(r.Key, r.Value).String() })
		return nil
	}
	parent[dataStream](b, n).To(caseTopic(n.Topic))
	return nil
}

func (b *caseBuilder) toTable(n caseNode) any {
	return b.materialized(n, parent[dataStream](b, n).ToTable())
}

func (b *caseBuilder) toStream(n caseNode) any {
	s := parent[dataTable](b, n).ToStream()
	if n.Fn != nil {
		return streams.SelectKey(s, b.fn(n).of(b), streams.KeySerde[datum](data{}))
	}
	return s
}

func (b *caseBuilder) groupByKey(n caseNode) any { return parent[dataStream](b, n).GroupByKey() }

func (b *caseBuilder) groupBy(n caseNode) any {
	if table, ok := b.source(n).(dataTable); ok {
		return streams.GroupTable(table, b.pair(n)).WithSerdes(data{}, data{})
	}
	return streams.GroupBy(parent[dataStream](b, n), b.fn(n).of(b), streams.KeySerde[datum](data{}))
}

func (b *caseBuilder) count(n caseNode) any {
	b.unwindowed(n)
	store := b.store(n, true)
	var counts *streams.KTable[datum, int64]
	if grouped, ok := b.source(n).(dataGroupedTable); ok {
		counts = grouped.Count(store)
	} else {
		counts = streams.Count(parent[dataGroup](b, n), store)
	}
	return streams.MapTable(counts, integer, streams.ValueSerde[datum](data{}))
}

func (b *caseBuilder) reduce(n caseNode) any {
	b.unwindowed(n)
	store, add := b.store(n, false), n.Adder.adder(b)
	if grouped, ok := b.source(n).(dataGroupedTable); ok {
		return grouped.Reduce(store, add, n.Subtractor.adder(b))
	}
	return streams.Reduce(parent[dataGroup](b, n), store, add)
}

func (b *caseBuilder) aggregate(n caseNode) any {
	b.unwindowed(n)
	store, initial := b.store(n, false), func() datum { return n.Init }
	step := func(f function) func(_, v, a datum) datum {
		add := f.adder(b)
		return func(_, v, a datum) datum { return add(a, v) }
	}
	if grouped, ok := b.source(n).(dataGroupedTable); ok {
		return streams.AggregateTable(grouped, store, initial, step(n.Adder), step(n.Subtractor), streams.ValueSerde[datum](data{}))
	}
	return streams.Aggregate(parent[dataGroup](b, n), store, initial, step(n.Adder), streams.ValueSerde[datum](data{}))
}

func (b *caseBuilder) unwindowed(n caseNode) {
	require.Empty(b, n.Windows, "unknown windows")
	require.Empty(b, n.Emit, "unknown: when to emit")
}

// orNull is what a pointer of an outer join stands for.
func orNull(d *datum) datum {
	if d == nil {
		return datum{}
	}
	return *d
}

func (b *caseBuilder) streamTableJoin(n caseNode) any {
	require.Nil(b, n.Grace, "unknown: grace")
	s, table, join, values := at[dataStream](b, n.Left), at[dataTable](b, n.Right), n.Joiner.joiner(b), streams.ValueSerde[datum](data{})
	switch n.Kind {
	case "inner":
		return streams.JoinTable(s, table, join, values)
	case "left":
		return streams.LeftJoinTable(s, table, func(k, l datum, r *datum) datum { return join(k, l, orNull(r)) }, values)
	}
	require.Fail(b, "unknown kind of join", n.Kind)
	return nil
}

func (b *caseBuilder) tableTableJoin(n caseNode) any {
	left, right, join, values := at[dataTable](b, n.Left), at[dataTable](b, n.Right), n.Joiner.joiner(b), streams.ValueSerde[datum](data{})
	switch n.Kind {
	case "inner":
		return b.materialized(n, streams.JoinTables(left, right, join, values))
	case "left":
		return b.materialized(n, streams.LeftJoinTables(left, right, func(k, l datum, r *datum) datum { return join(k, l, orNull(r)) }, values))
	case "outer":
		return b.materialized(n, streams.OuterJoinTables(left, right, func(k datum, l, r *datum) datum { return join(k, orNull(l), orNull(r)) }, values))
	}
	require.Fail(b, "unknown kind of join", n.Kind)
	return nil
}

func (b *caseBuilder) tableForeignJoin(n caseNode) any {
	left, right, join, values := at[dataTable](b, n.Left), at[dataTable](b, n.Right), n.Joiner.joiner(b), streams.ValueSerde[datum](data{})
	fk := n.FkFn.of(b)
	reference := func(k, v datum) (datum, bool) { to := fk(k, v); return to, !to.null() }
	switch n.Kind {
	case "inner":
		return b.materialized(n, streams.JoinTablesBy(left, right, reference, join, values))
	case "left":
		return b.materialized(n, streams.LeftJoinTablesBy(left, right, reference, func(k, l datum, r *datum) datum { return join(k, l, orNull(r)) }, values))
	}
	require.Fail(b, "unknown kind of join", n.Kind)
	return nil
}

func (b *caseBuilder) globalTable(n caseNode) any {
	return streams.GlobalTable(b.topology, caseTopic(n.Topic))
}

func (b *caseBuilder) streamGlobalJoin(n caseNode) any {
	s, table, join, values := at[dataStream](b, n.Left), at[dataGlobalTable](b, n.Right), n.Joiner.joiner(b), streams.ValueSerde[datum](data{})
	key := n.KeyFn.of(b)
	reference := func(k, v datum) (datum, bool) { to := key(k, v); return to, !to.null() }
	switch n.Kind {
	case "inner":
		return streams.JoinGlobal(s, table, reference, join, values)
	case "left":
		return streams.LeftJoinGlobal(s, table, reference, func(k, l datum, r *datum) datum { return join(k, l, orNull(r)) }, values)
	}
	require.Fail(b, "unknown kind of join", n.Kind)
	return nil
}
