package streams_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

// graph is a random topology as data: declare turns it into operators, evaluate
// into a plain loop over all records at once.
type graph []operator

// operator is one node. from and with are the numbers of the nodes that it
// reads.
type operator struct {
	op         string
	from, with int
	arg        int64

	table    bool // a stream of a table's updates: of each key, the last is the largest
	repeated bool // the same, however often a record is processed
	direct   bool // records with equal keys are in one partition, so they can be grouped
	final    bool // a table whose rows may go up and down: nothing but an output reads it
}

type pair struct {
	key   string
	value int64
}

// plant returns a graph of about size operators.
func plant(r *rand.Rand, size int) graph {
	var g graph
	for range 1 + r.IntN(3) {
		g = append(g, operator{op: "input", arg: 1 + r.Int64N(4), direct: true})
	}
	if len(g) > 1 { // tasks that read topics of different sizes, beside stores of their own
		g = append(g, operator{op: "merge", from: 0, with: 1}, operator{op: "count", from: r.IntN(2), table: true, direct: true})
	}
	for len(g) < size {
		g.grow(r)
	}
	for range r.IntN(3) {
		g.tabulate(r)
	}
	for i, o := range slices.Clone(g) { // what is not read by others
		if !slices.ContainsFunc(g, func(other operator) bool { return other.op != "input" && other.from == i }) || o.table {
			g = append(g, operator{op: "out", from: i, arg: 1 + r.Int64N(3), table: o.table, repeated: o.repeated, final: o.final})
		}
	}
	return g
}

// tabulate adds an operator on tables. They are read from inputs, whose last
// record of a key is its row.
func (g *graph) tabulate(r *rand.Rand) {
	var inputs []int
	for i, o := range *g {
		if o.op == "input" {
			inputs = append(inputs, i)
		}
	}
	o := operator{from: inputs[r.IntN(len(inputs))], with: inputs[r.IntN(len(inputs))], arg: 1 + r.Int64N(5), table: true, final: true}
	switch o.op = []string{"groups", "beside", "refer"}[r.IntN(3)]; o.op {
	case "beside":
		o.with, o.repeated = o.from, true
	case "refer":
		o.repeated = true
	}
	*g = append(*g, o)
}

func (g *graph) grow(r *rand.Rand) {
	from := r.IntN(len(*g))
	in := (*g)[from]
	o := operator{from: from, arg: 1 + r.Int64N(5), table: in.table, repeated: in.repeated, direct: in.direct}
	if in.table { // updates are merged and gathered so that the last ones decide
		o.op = []string{"add", "max"}[r.IntN(2)]
		o.repeated = in.repeated
		*g = append(*g, o)
		return
	}
	switch o.op = []string{"values", "filter", "flat", "select", "repartition", "merge", "even", "count", "count", "sum", "max"}[r.IntN(11)]; o.op {
	case "repartition":
		o.arg, o.direct = r.Int64N(4), true
	case "select":
		o.direct = true // the next gathering has a repartition topic
	case "merge":
		o.with, o.direct = r.IntN(len(*g)), false
		if (*g)[o.with].table {
			return
		}
	case "even":
		*g = append(*g, o)
		o.op, o.with = "odd", len(*g)-1
	case "count", "sum", "max":
		o.table, o.repeated = true, o.op == "max"
	}
	*g = append(*g, o)
}

// mayGrow reports whether an input feeds no store by its own partitions.
func (g graph) mayGrow(input int) bool {
	for _, o := range g {
		if o.final && o.op != "out" && (o.from == input || o.with == input) {
			return false
		}
		if o.op != "count" && o.op != "sum" && o.op != "max" || !o.direct {
			continue
		}
		from := o.from
		for slices.Contains([]string{"values", "filter", "flat", "even", "odd"}, g[from].op) {
			from = g[from].from
		}
		if from == input {
			return false
		}
	}
	return true
}

func chosen(value, arg int64) string { return fmt.Sprint("k", (value+arg)%5) }

func (g graph) String() string {
	var s strings.Builder
	for i, o := range g {
		fmt.Fprintf(&s, "%d: %s of %d, %d with %d\n", i, o.op, o.from, o.with, o.arg)
	}
	return s.String()
}

func topicAt(i int) serde.Topic[string, int64] {
	return serde.For(fmt.Sprint("t", i), serde.String, serde.Int64)
}

func larger(a, b int64) int64 { return max(a, b) }

// declare is the argument of streams.New.
func (g graph) declare(t *streams.Topology) {
	all := make([]*streams.KStream[string, int64], len(g))
	splits := make(map[int]*streams.BranchedKStream[string, int64])
	for i, o := range g {
		s, arg := all[o.from], o.arg
		grouped := func() *streams.KGroupedStream[string, int64] {
			if o.direct && !g[o.from].table {
				return s.GroupByKey()
			}
			return streams.GroupBy(s, regrouped(g[o.from].table, arg))
		}
		store := fmt.Sprint("s", i)
		switch o.op {
		case "input":
			all[i] = streams.Stream(t, topicAt(i))
		case "values":
			all[i] = streams.MapValues(s, func(v int64) int64 { return changed(v, arg) })
		case "add":
			all[i] = streams.MapValues(s, func(v int64) int64 { return v + arg })
		case "filter":
			all[i] = s.Filter(func(_ string, v int64) bool { return kept(v, arg) })
		case "flat":
			all[i] = streams.FlatMapValues(s, func(v int64) []int64 { return []int64{v, changed(v, arg)} })
		case "select":
			all[i] = streams.SelectKey(s, func(_ string, v int64) string { return chosen(v, arg) })
		case "repartition":
			all[i] = s.Repartition(fmt.Sprint("r", i), int(arg))
		case "merge":
			all[i] = s.Merge(all[o.with])
		case "even":
			splits[i] = s.Split()
			all[i] = splits[i].Branch(func(_ string, v int64) bool { return v%2 == 0 })
		case "odd":
			all[i] = splits[o.with].Default()
		case "count":
			all[i] = streams.Count(grouped(), store).ToStream()
		case "sum":
			all[i] = streams.Aggregate(grouped(), store, func() int64 { return 0 }, func(_ string, v, sum int64) int64 { return sum + v }).ToStream()
		case "max":
			all[i] = streams.Reduce(grouped(), store, larger).ToStream()
		case "groups":
			rows := streams.GroupTable(rowsOf(s, arg), func(_ string, v int64) (string, int64) { return chosen(v, arg), v })
			all[i] = rows.Reduce(store, func(sum, v int64) int64 { return sum + v }, func(sum, v int64) int64 { return sum - v }).ToStream()
		case "beside":
			all[i] = streams.OuterJoinTables(s.ToTable(), rowsOf(s, arg), func(_ string, l, r *int64) int64 { return both(l, r) }).ToStream()
		case "refer":
			to := func(_ string, v int64) (string, bool) { return chosen(v, arg), v%4 != 0 }
			all[i] = streams.LeftJoinTablesBy(s.ToTable(), rowsOf(all[o.with], arg), to, func(_ string, l int64, r *int64) int64 { return both(&l, r) }).ToStream()
		case "out":
			s.To(topicAt(i))
		}
	}
}

// rowsOf reads an input as a table without some of its rows.
func rowsOf(s *streams.KStream[string, int64], arg int64) *streams.KTable[string, int64] {
	return s.ToTable().Filter(func(_ string, v int64) bool { return kept(v, arg) })
}

// both is what joins make of two values, of which one may be missing.
func both(l, r *int64) int64 {
	var sum int64
	if l != nil {
		sum += 1000 * (*l + 1)
	}
	if r != nil {
		sum += *r + 1
	}
	return sum
}

func changed(v, arg int64) int64 { return (2*v + arg) % 1000 }
func kept(v, arg int64) bool     { return (v+arg)%3 != 0 }

// regrouped returns the new grouping key. Updates of a table keep their keys,
// so that all updates of a key stay together.
func regrouped(table bool, arg int64) func(string, int64) string {
	if table {
		return func(k string, _ int64) string { return fmt.Sprint("of ", len(k)%2, k[len(k)-1]%2) }
	}
	return func(_ string, v int64) string { return chosen(v, arg) }
}

// evaluate returns the expected contents of each output: all of its records, or
// the last of each key.
func (g graph) evaluate(inputs map[int][]pair) map[int][]pair {
	all, outputs := make([][]pair, len(g)), make(map[int][]pair)
	for i, o := range g {
		from := all[o.from]
		each := func(f func(p pair) []pair) {
			for _, p := range from {
				all[i] = append(all[i], f(p)...)
			}
		}
		gather := func(f func(result, value int64) int64) {
			results := make(map[string]int64)
			key := func(k string, _ int64) string { return k }
			if !o.direct || g[o.from].table {
				key = regrouped(g[o.from].table, o.arg)
			}
			for _, p := range from {
				k := key(p.key, p.value)
				results[k] = f(results[k], p.value)
			}
			for k, v := range results {
				all[i] = append(all[i], pair{k, v})
			}
		}
		switch o.op {
		case "input":
			all[i] = inputs[i]
		case "values":
			each(func(p pair) []pair { return []pair{{p.key, changed(p.value, o.arg)}} })
		case "add":
			each(func(p pair) []pair { return []pair{{p.key, p.value + o.arg}} })
		case "filter":
			all[i] = slices.DeleteFunc(slices.Clone(from), func(p pair) bool { return !kept(p.value, o.arg) })
		case "flat":
			each(func(p pair) []pair { return []pair{p, {p.key, changed(p.value, o.arg)}} })
		case "select":
			each(func(p pair) []pair { return []pair{{chosen(p.value, o.arg), p.value}} })
		case "repartition":
			all[i] = from
		case "merge":
			all[i] = slices.Concat(from, all[o.with])
		case "even", "odd":
			all[i] = slices.DeleteFunc(slices.Clone(from), func(p pair) bool { return (p.value%2 == 0) != (o.op == "even") })
		case "count":
			gather(func(n, _ int64) int64 { return n + 1 })
		case "sum":
			gather(func(sum, v int64) int64 { return sum + v })
		case "max":
			gather(larger)
		case "groups", "beside", "refer":
			all[i] = g.rows(o, from, all[o.with])
		case "out":
			outputs[i] = from
		}
	}
	return outputs
}

// emptied reports whether the sum of a group may be that of no rows. A group that
// lost its last row is in the table if a store passed that row on.
func emptied(_ string, sum int64) bool { return sum == 0 }

// rows evaluates an operator on tables.
func (g graph) rows(o operator, from, with []pair) (results []pair) {
	last := func(all []pair) map[string]int64 {
		rows := make(map[string]int64)
		for _, p := range all {
			rows[p.key] = p.value
		}
		return rows
	}
	left, right, groups := last(from), last(with), make(map[string]int64)
	find := func(key string) *int64 {
		if v, ok := right[key]; ok && kept(v, o.arg) {
			return &v
		}
		return nil
	}
	for k, v := range left {
		switch {
		case o.op == "groups":
			if kept(v, o.arg) {
				groups[chosen(v, o.arg)] += v
			}
		case o.op == "beside":
			results = append(results, pair{k, both(&v, find(k))})
		case o.op == "refer" && v%4 == 0:
			results = append(results, pair{k, both(&v, nil)})
		case o.op == "refer":
			results = append(results, pair{k, both(&v, find(chosen(v, o.arg)))})
		}
	}
	maps.DeleteFunc(groups, emptied)
	for k, v := range groups {
		results = append(results, pair{k, v})
	}
	return results
}
