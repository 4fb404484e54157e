package streams_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/streams/streamstest"
)

var (
	lines  = serde.For("lines", serde.String, serde.String)
	totals = serde.For("totals", serde.String, serde.Int64)
	words  = serde.For("words", serde.String, serde.String)
)

func wordCount(t *streams.Topology) {
	words := streams.FlatMapValues(streams.Stream(t, lines), func(line string) []string {
		return strings.Fields(strings.ToLower(line))
	})
	byWord := streams.GroupBy(words, func(_, word string) string { return word })
	streams.Count(byWord, "counts").ToStream().To(totals)
}

// row is what most tests compare: a record without its time and headers.
type row[K, V any] struct {
	Key      K
	Value    V
	HasValue bool
}

func rows[K, V any](out *streamstest.TestOutput[K, V]) (all []row[K, V]) {
	for _, r := range out.ReadAll() {
		all = append(all, row[K, V]{r.Key, r.Value, r.HasValue})
	}
	return all
}

func some[K, V any](k K, v V) row[K, V] { return row[K, V]{k, v, true} }

func TestSplitGoesToTheFirstMatchElseToTheDefault(t *testing.T) {
	big, even, rest := totals, totals, totals
	big.Name, even.Name, rest.Name = "big", "even", "rest"
	in := totals
	d := streamstest.New(t, func(t *streams.Topology) {
		split := streams.Stream(t, in).Split()
		split.Branch(func(_ string, n int64) bool { return n > 10 }).To(big)
		split.Branch(func(_ string, n int64) bool { return n%2 == 0 }).To(even)
		split.Default().To(rest)
	})
	send := streamstest.Input(d, in)
	for _, n := range []int64{11, 12, 2, 3} {
		send.Send("k", n)
	}
	require.Equal(t, []row[string, int64]{some("k", int64(11)), some("k", int64(12))}, rows(streamstest.Output(d, big)))
	require.Equal(t, []row[string, int64]{some("k", int64(2))}, rows(streamstest.Output(d, even)))
	require.Equal(t, []row[string, int64]{some("k", int64(3))}, rows(streamstest.Output(d, rest)))
}

func TestSideEffectsSeeEveryRecordInOrder(t *testing.T) {
	var seen []string
	d := streamstest.New(t, func(t *streams.Topology) {
		streams.Stream(t, words).
			Peek(func(k, v string) { seen = append(seen, "peek "+k+v) }).
			FilterNot(func(k, _ string) bool { return k == "b" }).
			ForEach(func(k, v string) { seen = append(seen, "each "+k+v) })
	})
	in := streamstest.Input(d, words)
	in.Send("a", "1")
	in.Send("b", "2")
	require.Equal(t, []string{"peek a1", "each a1", "peek b2"}, seen)
}

func TestEveryUseOfAStreamGetsEveryRecord(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		s := streams.Stream(t, lines)
		upper := streams.MapValues(s, strings.ToUpper)
		s.Merge(upper, s.Filter(func(_, v string) bool { return v == "b" })).To(words)
	})
	in, out := streamstest.Input(d, lines), streamstest.Output(d, words)
	in.Send("k", "a")
	in.Send("k", "b")
	require.ElementsMatch(t, []row[string, string]{some("k", "a"), some("k", "A"), some("k", "b"), some("k", "B"), some("k", "b")}, rows(out))
}

func TestReduceTakesTheFirstValueAsItIs(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		streams.Reduce(streams.Stream(t, lines).GroupByKey(), "joined", func(a, b string) string { return a + "+" + b }).ToStream().To(words)
	})
	in, out := streamstest.Input(d, lines), streamstest.Output(d, words)
	in.Send("k", "a")
	in.Send("k", "b")
	in.Delete("k")
	in.SendValue("no key")
	require.Equal(t, []row[string, string]{some("k", "a"), some("k", "a+b")}, rows(out))
}

func TestANullAggregateDeletesItsKey(t *testing.T) {
	sums := serde.For("sums", serde.String, serde.Serde[*int64](serde.Nullable(serde.Int64)))
	d := streamstest.New(t, func(t *streams.Topology) {
		sum := streams.Aggregate(streams.Stream(t, totals).GroupByKey(), "sum",
			func() *int64 { return new(int64) },
			func(_ string, n int64, sum *int64) *int64 {
				if next := *sum + n; next != 0 {
					return &next
				}
				return nil
			}, streams.ValueSerde(sums.Value))
		sum.ToStream().To(sums)
	})
	in, out := streamstest.Input(d, totals), streamstest.Output(d, sums)
	store := streamstest.Store[string, *int64](d, "sum")
	in.Send("k", 5)
	require.Equal(t, 1, length(t, store))
	in.Send("k", -5)
	require.Zero(t, length(t, store))
	in.Send("k", 0) // null again: each update is emitted, as by Kafka's stores without a cache
	in.Send("k", 7)
	in.Send("never seen", 0)
	require.Equal(t, 1, length(t, store))

	all := out.ReadAll()
	require.Len(t, all, 5)
	require.Equal(t, int64(5), *all[0].Value)
	require.False(t, all[1].HasValue)
	require.False(t, all[2].HasValue)
	require.Equal(t, int64(7), *all[3].Value)
	require.Equal(t, "never seen", all[4].Key)
	require.False(t, all[4].HasValue)

	log := d.Records("test-sum-changelog")
	require.Len(t, log, 5)
	require.Nil(t, log[1].Value)
	require.Equal(t, []byte("k"), log[1].Key)
}

func TestNullsReachFunctionsThatCanSeeThem(t *testing.T) {
	text := serde.Serde[*string](serde.Nullable(serde.String))
	in, out := serde.For("in", text, text), serde.For("out", text, text)
	d := streamstest.New(t, func(t *streams.Topology) {
		streams.Map(streams.Stream(t, in), func(k, v *string) (*string, *string) { return v, k }).To(out)
	})
	a := "a"
	send, read := streamstest.Input(d, in), streamstest.Output(d, out)
	send.Send(&a, nil)
	r, ok := read.Read()
	require.True(t, ok)
	require.False(t, r.HasKey)
	require.Equal(t, "a", *r.Value)
}

func TestATombstonePassesThroughWhatKeepsValues(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		s := streams.Stream(t, lines).Filter(func(k, _ string) bool { return k != "" }).Peek(func(_, _ string) {})
		streams.SelectKey(s, func(k, _ string) string { return k + k }).Repartition("doubled", 0).To(words)
	})
	in, out := streamstest.Input(d, lines), streamstest.Output(d, words)
	in.Delete("k")
	require.Equal(t, []row[string, string]{{Key: "kk"}}, rows(out))
}

func TestRepartitionKeepsTimesAndHeadersAndDropsNullKeys(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		streams.Stream(t, lines).Repartition("again", 3).To(words)
	})
	headers := []record.Header{{Key: "trace", Value: []byte("1")}, {Key: "none"}}
	in, out := streamstest.Input(d, lines), streamstest.Output(d, words)
	sent := streamstest.Record[string, string]{Key: "k", HasKey: true, Value: "v", HasValue: true, At: time.UnixMilli(42), Headers: headers}
	require.NoError(t, in.Try(sent))
	in.SendValue("dropped")
	require.Equal(t, []streamstest.Record[string, string]{sent}, out.ReadAll())
	require.Len(t, d.Records("test-again-repartition"), 1)
}

func TestNamedGroupingsShareOneRepartitionTopic(t *testing.T) {
	count := func(name string) (topics []string) {
		p := newApp(t, func(t *streams.Topology) {
			g := streams.GroupBy(streams.Stream(t, lines), func(_, v string) string { return v })
			if name != "" {
				g.Named(name)
			}
			streams.Count(g, "one").ToStream().To(totals)
			streams.Count(g, "two").ToStream().To(totals)
		})
		for _, line := range strings.Split(p.Describe(), "\n") {
			if at := strings.Index(line, "topic: "); at >= 0 && strings.Contains(line, "repartition") {
				topics = append(topics, strings.TrimSuffix(line[at+len("topic: "):], ")"))
			}
		}
		return topics
	}
	require.Equal(t, []string{"one-repartition", "two-repartition"}, count(""))
	require.Equal(t, []string{"by-line-repartition"}, count("by-line"))
}

// newApp returns an App that is never run.
func newApp(t *testing.T, define func(*streams.Topology)) *streams.App {
	app, err := streams.New(unused{}, "app", define)
	require.NoError(t, err)
	return app
}

// unused is a backend that panics when it is used.
type unused struct{ streams.Backend }

func TestNewTellsWhatIsWrongByNode(t *testing.T) {
	type order struct{ id int }
	orders := serde.For[string, order]("orders", serde.String, nil)
	for name, c := range map[string]struct {
		define func(*streams.Topology)
		want   []string
	}{
		"nothing":          {nil, []string{"no function"}},
		"no source":        {func(*streams.Topology) {}, []string{"reads no topic"}},
		"no serde to read": {func(t *streams.Topology) { streams.Stream(t, orders) }, []string{"KSTREAM-SOURCE-0000000000: no serde for its values of type streams_test.order"}},
		"no serde for a repartition topic": {func(t *streams.Topology) {
			g := streams.GroupBy(streams.Stream(t, lines), func(_, v string) order { return order{len(v)} })
			streams.Count(g, "counts")
		}, []string{"counts-repartition-sink: no serde for its keys", "KSTREAM-AGGREGATE-0000000002: no serde for its keys"}},
		"no serde for a sink": {func(t *streams.Topology) {
			streams.MapValues(streams.Stream(t, lines), func(string) order { return order{} }).To(orders)
		}, []string{"KSTREAM-SINK-0000000002: no serde for its values"}},
		"a topic twice": {func(t *streams.Topology) { streams.Stream(t, lines); streams.Stream(t, lines) }, []string{`KSTREAM-SOURCE-0000000001: the topic "lines" is read by KSTREAM-SOURCE-0000000000 already`}},
		"a name twice":  {func(t *streams.Topology) { streams.Stream(t, lines).Named("x").Peek(func(_, _ string) {}).Named("x") }, []string{"x: another node has this name"}},
		"a bad name":    {func(t *streams.Topology) { streams.Stream(t, lines).Named("a b") }, []string{"a b: not a name"}},
		"a bad topic":   {func(t *streams.Topology) { streams.Stream(t, serde.For("../x", serde.String, serde.String)) }, []string{"KSTREAM-SOURCE-0000000000: "}},
		"a store twice": {func(t *streams.Topology) {
			g := streams.Stream(t, lines).GroupByKey()
			streams.Count(g, "s")
			streams.Count(g, "s").Named("second")
		}, []string{`second: the store "s" belongs to KSTREAM-AGGREGATE-0000000001 already`}},
		"no store's name": {func(t *streams.Topology) { streams.Count(streams.Stream(t, lines).GroupByKey(), "") }, []string{`KSTREAM-AGGREGATE-0000000001: store ""`}},
		"no function":     {func(t *streams.Topology) { streams.Stream(t, lines).Filter(nil) }, []string{"KSTREAM-FILTER-0000000001: no function"}},
		"partitions":      {func(t *streams.Topology) { streams.Stream(t, lines).Repartition("r", -1) }, []string{"-1 partitions"}},
		"merging nothing": {func(t *streams.Topology) { streams.Stream(t, lines).Merge(nil) }, []string{"KSTREAM-MERGE-0000000001: merges a stream that is not of this topology"}},
		"merging another topology's": {func(t *streams.Topology) {
			mine := streams.Stream(t, lines)
			_, _ = streams.NewSimulation("other", func(t *streams.Topology) { mine.Merge(streams.Stream(t, lines)) })
		}, []string{"KSTREAM-MERGE-0000000001: merges a stream that is not of this topology"}},
		"several at a time": {func(t *streams.Topology) { s := streams.Stream(t, lines); s.ForEach(nil); s.Peek(nil) }, []string{"KSTREAM-FOREACH-0000000001: ", "KSTREAM-PEEK-0000000002: "}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := streams.New(unused{}, "app", c.define)
			require.ErrorIs(t, err, fault.InvalidRequest)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			_, err = streams.NewSimulation("app", c.define)
			require.ErrorIs(t, err, fault.InvalidRequest)
		})
	}
	for name, options := range map[string][]streams.Option{
		"threads":         {streams.Threads(0)},
		"commit interval": {streams.CommitInterval(0)},
	} {
		_, err := streams.New(unused{}, "app", wordCount, options...)
		require.ErrorIs(t, err, fault.InvalidConfig, name)
	}
	_, err := streams.New(unused{}, "a/b", wordCount)
	require.ErrorIs(t, err, fault.InvalidTopic)
	_, err = streams.New(nil, "app", wordCount)
	require.ErrorIs(t, err, fault.InvalidRequest)
}

func TestAPanicNamesItsNodeAndItsRecord(t *testing.T) {
	cause := errors.New("out of luck")
	topology := func(t *streams.Topology) {
		s := streams.Stream(t, lines)
		streams.MapValues(s, func(v string) string {
			if v == "bad" {
				panic(cause)
			}
			return v
		}).Named("unlucky").To(words)
	}
	d := streamstest.New(t, topology)
	in := streamstest.Input(d, lines)
	in.Send("k", "good")
	err := in.Try(streamstest.Record[string, string]{Value: "bad", HasValue: true})

	var failed *streams.ProcessingError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "unlucky", failed.Node)
	require.Equal(t, record.Position{Topic: "lines", Offset: 1}, failed.At)
	require.Equal(t, "0_0", failed.Task.String())
	require.ErrorIs(t, err, cause)
	var panicked *streams.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Contains(t, string(panicked.Stack), "dsl_test.go")
	require.Contains(t, err.Error(), "unlucky in task 0_0, at lines-0@1: panic: out of luck")
	require.Equal(t, err, in.Try(streamstest.Record[string, string]{}), "a simulation that failed stays so")
}

func TestBytesThatNoSerdeAcceptsNameTheSource(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) { streams.Stream(t, totals).Named("numbers") })
	for _, bad := range []record.Record{
		{Topic: "totals", Key: []byte("k"), Value: []byte("seven")},
		{Topic: "totals", Key: []byte("k"), Timestamp: time.UnixMilli(-1)},
	} {
		d, err := streams.NewSimulation("app", func(t *streams.Topology) { streams.Stream(t, totals).Named("numbers") })
		require.NoError(t, err)
		err = d.Send(bad)
		var failed *streams.ProcessingError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "numbers", failed.Node)
		require.True(t, errors.Is(err, fault.Serialization) || errors.Is(err, fault.InvalidTimestamp))
	}
	require.ErrorIs(t, d.Send(record.Record{Topic: "elsewhere"}), fault.UnknownTopic)
}

func TestAnAggregateWhoseBytesAreReadOnlyOnce(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		byLength := streams.GroupBy(streams.Stream(t, lines), func(_, v string) int { return len(v) })
		streams.Aggregate(byLength, "longest", func() string { return "" },
			func(n int, v, all string) string { return all + strings.Repeat("|", n) + v }).ToStream().
			To(serde.For("by-length", serde.Int, serde.String))
		streams.Reduce(streams.GroupBy(streams.Stream(t, words), func(_, v string) string { return v }), "reduced",
			func(a, b string) string { return a + b }).ToStream().To(serde.For("reduced", serde.String, serde.String))
	})
	in := streamstest.Input(d, lines)
	in.SendValue("a")
	in.SendValue("bc")
	in.SendValue("d")
	require.Equal(t, map[int]string{1: "|a|d", 2: "||bc"}, streamstest.Table(streamstest.Output(d, serde.For("by-length", serde.Int, serde.String))))
	other := streamstest.Input(d, words)
	other.SendValue("x")
	other.SendValue("x")
	require.Equal(t, map[string]string{"x": "xx"}, streamstest.Table(streamstest.Output(d, serde.For("reduced", serde.String, serde.String))))
}

func TestTheClockMovesOnlyByAdvance(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) { streams.Stream(t, lines).To(words) })
	in, out := streamstest.Input(d, lines), streamstest.Output(d, words)
	d.Advance(time.Hour)
	in.Send("k", "now")
	in.SendAt(time.UnixMilli(7), "k", "then")
	all := out.ReadAll()
	require.True(t, all[0].At.Equal(time.UnixMilli(0).Add(time.Hour)))
	require.True(t, all[1].At.Equal(time.UnixMilli(7)))
}

// An aggregation reads with the default serdes what a repartition topic was
// written with.
func TestAggregationsReadWhatWasRepartitionedWithDefaultSerdes(t *testing.T) {
	sums := serde.For("sums", serde.String, serde.Int64)
	d := streamstest.New(t, func(t *streams.Topology) {
		lengths := streams.MapValues(streams.Stream(t, words), func(w string) int64 { return int64(len(w)) })
		byParity := streams.GroupBy(lengths, func(_ string, n int64) string { return []string{"even", "odd"}[n%2] })
		streams.Reduce(byParity, "longest", func(a, b int64) int64 { return max(a, b) }).ToStream().To(totals)
		sum := func(_ string, n, sum int64) int64 { return sum + n }
		streams.Aggregate(byParity, "sum", func() int64 { return 0 }, sum).ToStream().To(sums)
	})
	in := streamstest.Input(d, words)
	for _, w := range []string{"all", "streams", "lead", "to", "kafka"} {
		in.Send("", w)
	}
	require.Equal(t, some("odd", int64(5+7+3)), last(rows(streamstest.Output(d, sums))))
	require.Equal(t, some("odd", int64(7)), last(rows(streamstest.Output(d, totals))))
}

func last[T any](all []T) T { return all[len(all)-1] }

func length(t *testing.T, s state.Store) int {
	n, err := s.Len()
	require.NoError(t, err)
	return n
}
