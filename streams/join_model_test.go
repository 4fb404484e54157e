package streams

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// joined is a topology of tables over the topics a and b, and what a key's row
// must be, given those of a and b: empty if there is none.
type joined struct {
	declare func(a, b *KTable[string, string]) *KTable[string, string]
	row     func(a, b string) string
}

func plus(_, l, r string) string { return l + "+" + r }

func leftPlus(_, l string, r *string) string { return l + "+" + orNone(r) }

func orNone(r *string) string {
	if r == nil {
		return "none"
	}
	return *r
}

func outerPlus(_ string, l, r *string) string { return orNone(l) + "+" + orNone(r) }

func inner(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	return a + "+" + b
}

func outer(a, b string) string {
	if a == "" && b == "" {
		return ""
	}
	none := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	return none(a) + "+" + none(b)
}

func lefter(a, b string) string {
	if a == "" {
		return ""
	}
	return outer(a, b)
}

func notOne(_, v string) bool { return !strings.HasSuffix(v, "1") }

func kept(v string) string {
	if !notOne("", v) {
		return ""
	}
	return v
}

var joinedShapes = map[string]joined{
	"inner": {func(a, b *KTable[string, string]) *KTable[string, string] { return JoinTables(a, b, plus) }, inner},
	"left":  {func(a, b *KTable[string, string]) *KTable[string, string] { return LeftJoinTables(a, b, leftPlus) }, lefter},
	"outer": {func(a, b *KTable[string, string]) *KTable[string, string] { return OuterJoinTables(a, b, outerPlus) }, outer},
	"kept": {
		func(a, b *KTable[string, string]) *KTable[string, string] {
			return OuterJoinTables(a, b, outerPlus).Materialized("kept")
		}, outer,
	},
	"filtered": {
		func(a, b *KTable[string, string]) *KTable[string, string] {
			return JoinTables(a.Filter(notOne), MapTable(b, strings.ToUpper), plus)
		},
		func(a, b string) string { return inner(kept(a), strings.ToUpper(b)) },
	},
	"filtered and kept": {
		func(a, b *KTable[string, string]) *KTable[string, string] {
			return OuterJoinTables(a.Filter(notOne).Materialized("some"), b, outerPlus).FilterNot(func(_, v string) bool { return strings.HasPrefix(v, "none") })
		},
		func(a, b string) string { return lefter(kept(a), b) },
	},
	"twice the same": {
		func(a, b *KTable[string, string]) *KTable[string, string] {
			return JoinTables(JoinTables(a, b, plus), b, plus)
		},
		func(a, b string) string { return inner(inner(a, b), b) },
	},
	"with itself": {func(a, _ *KTable[string, string]) *KTable[string, string] { return JoinTables(a, a, plus) }, func(a, _ string) string { return inner(a, a) }},
	"with what it lacks": {func(a, _ *KTable[string, string]) *KTable[string, string] {
		return LeftJoinTables(a, a.Filter(notOne), leftPlus)
	}, func(a, _ string) string { return lefter(a, kept(a)) }},
	"with its own changes": {
		func(a, _ *KTable[string, string]) *KTable[string, string] {
			return OuterJoinTables(a, a.ToStream().ToTable(), outerPlus)
		},
		func(a, _ string) string { return outer(a, a) },
	},
	"three": {
		func(a, b *KTable[string, string]) *KTable[string, string] {
			return LeftJoinTables(OuterJoinTables(a, b, outerPlus), a, leftPlus)
		},
		func(a, b string) string { return lefter(outer(a, b), a) },
	},
}

// Whatever is joined with whatever, and whether stores hold changes back or not:
// each change of the result takes away what was there before, and in the end the
// results are those of the rows. An aggregation checks it, whose subtractor
// refuses a value that it does not have.
func TestJoinsOfTablesSendTheirOldResults(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(joinedShapes)) {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached %t", name, cached), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { joinedShapes[name].check(t, cached) })
			})
		}
	}
}

func (j joined) check(t *rapid.T, cached bool) {
	s, err := NewSimulation("app", func(topology *Topology) {
		results := j.declare(Table(topology, text("a")), Table(topology, text("b")))
		observe(results)
	})
	require.NoError(t, err)
	if cached {
		s.hold()
	}
	rows := map[string]map[string]string{"a": {}, "b": {}}
	for range rapid.IntRange(1, 30).Draw(t, "records") {
		topic, key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "topic"), rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
		value := rapid.SampledFrom([]string{"", "x1", "x2", "x3"}).Draw(t, "value")
		r := record.Record{Topic: topic, Key: []byte(key), Timestamp: time.UnixMilli(1)}
		if value != "" {
			r.Value = []byte(topic + value)
		}
		rows[topic][key] = string(r.Value)
		s.append(r)
		require.NoError(t, s.forward())
		if rapid.IntRange(0, 2).Draw(t, "flush") == 0 {
			j.compare(t, s, rows)
		}
	}
	j.compare(t, s, rows)
}

// compare flushes everything and compares the results with those of the rows.
func (j joined) compare(t *rapid.T, s *Simulation, rows map[string]map[string]string) {
	require.NoError(t, s.drain())
	require.NoError(t, s.settle())
	want, list := make(map[string]string), []string{}
	for _, k := range []string{"k", "l"} {
		if v := j.row(rows["a"][k], rows["b"][k]); v != "" {
			want[k] = v
			list = append(list, k+"="+v+";")
		}
	}
	observed(t, s, want, list)
}

// observed compares what observe wrote with the rows that must be there, also as
// a list.
func observed(t *rapid.T, s *Simulation, want map[string]string, list []string) {
	got := make(map[string]string)
	for _, r := range s.Records("out") {
		got[string(r.Key)] = string(r.Value)
		if r.Value == nil {
			delete(got, string(r.Key))
		}
	}
	require.Equal(t, want, got)
	aggregate := ""
	for _, r := range s.Records("aggregate") {
		aggregate = string(r.Value)
	}
	require.ElementsMatch(t, list, strings.SplitAfter(aggregate, ";")[:strings.Count(aggregate, ";")])
}

// hold makes the simulation's stores hold their changes back.
func (s *Simulation) hold() {
	for i, sub := range s.plan.subs {
		t, err := newTask(s.plan, TaskID{SubTopology: sub.id}, s, true, s.handling)
		if err != nil {
			panic(err)
		}
		s.tasks[i] = t
	}
}

// forward processes what is pending, without a flush.
func (s *Simulation) forward() error {
	for len(s.pending) > 0 {
		r := s.pending[0]
		s.pending = s.pending[1:]
		if err := s.tasks[s.plan.byTopic[r.Topic].id].process(r.Topic, []record.Record{r}); err != nil {
			return err
		}
	}
	return nil
}

// settle flushes until nothing is held back.
func (s *Simulation) settle() error {
	for range s.tasks {
		for _, t := range s.tasks {
			if err := t.flush(); err != nil {
				return err
			}
		}
		if err := s.forward(); err != nil {
			return err
		}
	}
	return nil
}

// observe writes a table to the topic out, and an aggregation of all of it to the
// topic aggregate. The aggregation panics if it is to subtract what it does not
// have.
func observe(results *KTable[string, string]) {
	results.ToStream().To(text("out"))
	all := GroupTable(results, func(k, v string) (string, string) { return "all", k + "=" + v }).WithSerdes(serde.String, serde.String)
	AggregateTable(all, "all", func() string { return "" },
		func(_, v, all string) string { return all + v + ";" },
		func(_, v, all string) string {
			before, after, found := strings.Cut(all, v+";")
			if !found {
				panic(fmt.Sprintf("%s is not in %s", v, all))
			}
			return before + after
		}).ToStream().To(text("aggregate"))
}

// References to rows that come and go, over topics that lag behind each other,
// lead to the rows that are there in the end.
func TestJoinsByReferenceEndAtTheRowsThatAreThere(t *testing.T) {
	reference := func(_, v string) (string, bool) {
		_, to, ok := strings.Cut(v, "|")
		return to, ok
	}
	for _, left := range []bool{false, true} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("left %t, cached %t", left, cached), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					s, err := NewSimulation("app", func(topology *Topology) {
						a, b := Table(topology, text("a")), Table(topology, text("b"))
						if left {
							observe(LeftJoinTablesBy(a, b, reference, leftPlus))
						} else {
							observe(JoinTablesBy(a, b, reference, plus))
						}
					})
					require.NoError(t, err)
					if cached {
						s.hold()
					}
					checkReferences(t, s, left)
				})
			})
		}
	}
}

func checkReferences(t *rapid.T, s *Simulation, left bool) {
	rows := map[string]map[string]string{"a": {}, "b": {}}
	keys := map[string][]string{"a": {"l1", "l2", "l3"}, "b": {"r1", "r2"}}
	values := map[string][]string{"a": {"", "x", "x|r1", "y|r1", "x|r2", "x|r3"}, "b": {"", "1", "2"}}
	t.Repeat(map[string]func(*rapid.T){
		"write": func(t *rapid.T) {
			topic := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "topic")
			key, value := rapid.SampledFrom(keys[topic]).Draw(t, "key"), rapid.SampledFrom(values[topic]).Draw(t, "value")
			r := record.Record{Topic: topic, Key: []byte(key), Timestamp: time.UnixMilli(1)}
			if value != "" {
				r.Value = []byte(value)
			}
			rows[topic][key] = value
			s.append(r)
		},
		"process": func(t *rapid.T) {
			if len(s.pending) > 0 {
				topic := rapid.SampledFrom(s.pending).Draw(t, "of the topic of").Topic
				require.NoError(t, s.processFirst(topic))
			}
		},
		"flush": func(t *rapid.T) { require.NoError(t, rapid.SampledFrom(s.tasks).Draw(t, "task").flush()) },
	})
	require.NoError(t, s.drain())
	require.NoError(t, s.settle())
	want, list := make(map[string]string), []string{}
	for k, v := range rows["a"] {
		_, to, _ := strings.Cut(v, "|")
		result := inner(v, rows["b"][to])
		if left {
			result = lefter(v, rows["b"][to])
		}
		if result != "" {
			want[k] = result
			list = append(list, k+"="+result+";")
		}
	}
	observed(t, s, want, list)
}

// A left row that is deleted and comes back with the same value takes an answer to
// the earlier one for its own. Its subscription is answered though the right row
// has gone by then, and that takes the result away again.
func TestALeftRowThatComesBackTakesNoResultFromBefore(t *testing.T) {
	s, err := NewSimulation("app", func(topology *Topology) {
		reference := func(_, v string) (string, bool) { return v, true }
		a, b := Table(topology, text("a")), Table(topology, text("b"))
		JoinTablesBy(a, b, reference, plus).Named("j").ToStream().To(text("out"))
	})
	require.NoError(t, err)
	write := func(topic, key, value string) {
		r := record.Record{Topic: topic, Key: []byte(key), Timestamp: time.UnixMilli(1)}
		if value != "" {
			r.Value = []byte(value)
		}
		s.append(r)
		require.NoError(t, s.processFirst(topic))
	}
	subscribe := func() { require.NoError(t, s.processFirst("app-j-subscription-repartition")) }

	write("b", "right", "1")
	write("a", "left", "right")
	subscribe()
	write("a", "left", "")
	write("a", "left", "right")
	subscribe() // which takes the first subscription away
	write("b", "right", "")
	subscribe()
	require.NoError(t, s.drain())

	var results []string
	for _, r := range s.Records("out") {
		results = append(results, string(r.Value))
	}
	require.Equal(t, []string{"", "right+1", ""}, results)
}

// processFirst processes the first record that is pending of a topic.
func (s *Simulation) processFirst(topic string) error {
	i := slices.IndexFunc(s.pending, func(r record.Record) bool { return r.Topic == topic })
	r := s.pending[i]
	s.pending = slices.Delete(slices.Clone(s.pending), i, i+1)
	return s.tasks[s.plan.byTopic[topic].id].process(topic, []record.Record{r})
}
