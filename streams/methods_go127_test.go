//go:build go1.27

package streams_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

// TestChainsAndFunctionsBuildOneTopology declares each topology in both forms.
// Kafka's description has every node's name, number, store and neighbours, so
// equal descriptions mean that the same operators were called in the same order;
// that the results are equal says that they got the same functions and serdes.
func TestChainsAndFunctionsBuildOneTopology(t *testing.T) {
	type pair = streams.KeyValue[string, string]
	both := func(k, v string) []pair { return []pair{{k, v}, {v, k}} }
	swap := func(k, v string) (string, string) { return v, k }
	initial := func(_, v string) string { return v[:1] }
	join := func(a, b string) string { return a + "," + b }
	none := func() []string { return nil }
	add := func(_, v string, all []string) []string { return append(all, v) }
	list := serde.JSON[[]string]()
	lists := serde.For("out", serde.String, list)
	quoted := streams.ValueSerde[string](quotedSerde{})

	for name, form := range map[string]struct{ functions, chain func(*streams.Topology) }{
		"word count": {
			functions: wordCount,
			chain:     chainedWordCount,
		},
		"records": {
			functions: func(t *streams.Topology) {
				streams.SelectKey(streams.FlatMap(streams.Map(streams.Stream(t, lines), swap), both), initial).To(out)
			},
			chain: func(t *streams.Topology) {
				streams.Stream(t, lines).Map(swap).FlatMap(both).SelectKey(initial).To(out)
			},
		},
		"values, with serdes": {
			functions: func(t *streams.Topology) {
				split := streams.FlatMapValues(streams.Stream(t, lines), strings.Fields)
				streams.MapValues(split, strings.ToUpper, quoted).To(serde.Topic[string, string]{Name: "out"})
			},
			chain: func(t *streams.Topology) {
				streams.Stream(t, lines).FlatMapValues(strings.Fields).MapValues(strings.ToUpper, quoted).To(serde.Topic[string, string]{Name: "out"})
			},
		},
		"processors": {
			functions: func(t *streams.Topology) {
				streams.ProcessValues(streams.Process(streams.Stream(t, lines), swapping), shouting).To(out)
			},
			chain: func(t *streams.Topology) {
				streams.Stream(t, lines).Process(swapping).ProcessValues(shouting).To(out)
			},
		},
		"reduced": {
			functions: func(t *streams.Topology) {
				streams.Reduce(streams.GroupBy(streams.Stream(t, lines), initial), "joined", join).ToStream().To(out)
			},
			chain: func(t *streams.Topology) {
				streams.Stream(t, lines).GroupBy(initial).Reduce("joined", join).ToStream().To(out)
			},
		},
		"aggregated": {
			functions: func(t *streams.Topology) {
				grouped := streams.GroupBy(streams.Stream(t, lines), initial).Named("initials")
				streams.Aggregate(grouped, "lists", none, add, streams.ValueSerde(list)).Named("listed").ToStream().To(lists)
			},
			chain: func(t *streams.Topology) {
				streams.Stream(t, lines).
					GroupBy(initial).Named("initials").
					Aggregate("lists", none, add, streams.ValueSerde(list)).Named("listed").
					ToStream().
					To(lists)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, newApp(t, form.functions).Describe(), newApp(t, form.chain).Describe())
			results := func(define func(*streams.Topology)) (all []string) {
				d := streamstest.New(t, define)
				in := streamstest.Input(d, lines)
				in.Send("k", "all streams lead to Kafka")
				in.Send("l", "hello Kafka Streams")
				in.Send("k", "all")
				for _, topic := range []string{"out", "totals"} {
					for _, r := range d.Records(topic) {
						all = append(all, string(r.Key)+"="+string(r.Value))
					}
				}
				return all
			}
			want := results(form.functions)
			require.NotEmpty(t, want)
			require.Equal(t, want, results(form.chain))
		})
	}
}

func swapping(c *streams.ProcessorContext[string, string]) (streams.Processor[string, string], error) {
	return func(r streams.Record[string, string]) error { return c.Emit(r.Value, r.Key) }, nil
}

func shouting(c *streams.ValueContext[string]) (streams.Processor[string, string], error) {
	return func(r streams.Record[string, string]) error { return c.Emit(strings.ToUpper(r.Value)) }, nil
}

// quotedSerde writes strings as no default serde does, so that a result tells
// whether the option arrived.
type quotedSerde struct{}

func (quotedSerde) Append(dst []byte, s string) ([]byte, error) {
	return strconv.AppendQuote(dst, s), nil
}

func (quotedSerde) Decode(src []byte) (string, error) { return strconv.Unquote(string(src)) }
