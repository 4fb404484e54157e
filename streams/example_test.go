package streams_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

// show runs a topology over records of the topic lines, key=value each, and
// prints the records of the topic out.
func show(define func(*streams.Topology), records ...string) {
	s, err := streams.NewSimulation("app", define)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		key, value, _ := strings.Cut(r, "=")
		if err := s.Send(record.Record{Topic: "lines", Key: []byte(key), Value: []byte(value)}); err != nil {
			fmt.Println(err)
		}
	}
	for _, r := range s.Records("out") {
		fmt.Printf("%s=%s\n", r.Key, r.Value)
	}
}

var out = serde.For("out", serde.String, serde.String)

func ExampleStream() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).
			Filter(func(_, line string) bool { return line != "" }).
			Peek(func(key, _ string) { fmt.Println("seen", key) }).
			To(out)
	}, "a=one", "b=")
	// Output:
	// seen a
	// a=one
}

func ExampleMap() {
	show(func(t *streams.Topology) {
		streams.Map(streams.Stream(t, lines), func(k, v string) (string, string) { return v, k }).To(out)
	}, "a=one")
	// Output: one=a
}

func ExampleMapValues() {
	show(func(t *streams.Topology) {
		streams.MapValues(streams.Stream(t, lines), strings.ToUpper).To(out)
	}, "a=one")
	// Output: a=ONE
}

func ExampleFlatMap() {
	show(func(t *streams.Topology) {
		streams.FlatMap(streams.Stream(t, lines), func(k, v string) (both []streams.KeyValue[string, string]) {
			return append(both, streams.KeyValue[string, string]{Key: k, Value: v}, streams.KeyValue[string, string]{Key: v, Value: k})
		}).To(out)
	}, "a=one")
	// Output:
	// a=one
	// one=a
}

func ExampleFlatMapValues() {
	show(func(t *streams.Topology) {
		streams.FlatMapValues(streams.Stream(t, lines), strings.Fields).To(out)
	}, "a=one two")
	// Output:
	// a=one
	// a=two
}

func ExampleSelectKey() {
	show(func(t *streams.Topology) {
		streams.SelectKey(streams.Stream(t, lines), func(_, line string) string { return line[:1] }).To(out)
	}, "a=one")
	// Output: o=one
}

func ExampleKStream_Split() {
	show(func(t *streams.Topology) {
		split := streams.Stream(t, lines).Split()
		short := split.Branch(func(_, line string) bool { return len(line) < 4 })
		long := streams.MapValues(split.Default(), func(line string) string { return line[:3] + "…" })
		short.Merge(long).To(out)
	}, "a=one", "b=three")
	// Output:
	// a=one
	// b=thr…
}

// Keys of a custom type need a serde wherever they are written.
func ExampleGroupBy() {
	type size struct{ Runes int }
	show(func(t *streams.Topology) {
		bySize := streams.GroupBy(streams.Stream(t, lines),
			func(_, line string) size { return size{len(line)} },
			streams.KeySerde(serde.JSON[size]()))
		counts := streams.MapValues(streams.Count(bySize, "sizes").ToStream(), func(n int64) string { return fmt.Sprint(n) })
		counts.To(serde.For("out", serde.JSON[size](), serde.String))
	}, "a=one", "b=two", "c=three")
	// Output:
	// {"Runes":3}=1
	// {"Runes":3}=2
	// {"Runes":5}=1
}

func ExampleCount() {
	show(func(t *streams.Topology) {
		counts := streams.Count(streams.Stream(t, lines).GroupByKey(), "counts").ToStream()
		streams.MapValues(counts, func(n int64) string { return fmt.Sprint(n, " lines") }).To(out)
	}, "a=one", "a=two")
	// Output:
	// a=1 lines
	// a=2 lines
}

func ExampleReduce() {
	show(func(t *streams.Topology) {
		longest := func(a, b string) string {
			if len(b) > len(a) {
				return b
			}
			return a
		}
		streams.Reduce(streams.Stream(t, lines).GroupByKey(), "longest", longest).ToStream().To(out)
	}, "a=one", "a=three", "a=four")
	// Output:
	// a=one
	// a=three
	// a=three
}

func ExampleAggregate() {
	show(func(t *streams.Topology) {
		lengths := streams.Aggregate(streams.Stream(t, lines).GroupByKey(), "lengths",
			func() []int { return nil },
			func(_, line string, lengths []int) []int { return append(lengths, len(line)) },
			streams.ValueSerde(serde.JSON[[]int]()))
		lengths.ToStream().To(serde.For("out", serde.String, serde.JSON[[]int]()))
	}, "a=one", "a=three")
	// Output:
	// a=[3]
	// a=[3,5]
}

func ExampleNewSimulation() {
	s, err := streams.NewSimulation("wordcount", wordCount)
	if err != nil {
		fmt.Println(err)
		return
	}
	s.Advance(time.Hour)
	s.Send(record.Record{Topic: "lines", Value: []byte("all streams lead to Kafka")})
	for _, r := range s.Records("wordcount-counts-repartition") {
		fmt.Println(string(r.Key), r.Timestamp.UTC().Format(time.TimeOnly))
	}
	// Output:
	// all 01:00:00
	// streams 01:00:00
	// lead 01:00:00
	// to 01:00:00
	// kafka 01:00:00
}

func ExampleApp_Describe() {
	app, err := streams.New(unused{}, "upper", func(t *streams.Topology) {
		streams.MapValues(streams.Stream(t, lines), strings.ToUpper).Named("upper").To(out)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(strings.TrimSpace(app.Describe()))
	// Output:
	// Topologies:
	//    Sub-topology: 0
	//     Source: KSTREAM-SOURCE-0000000000 (topics: [lines])
	//       --> upper
	//     Processor: upper (stores: [])
	//       --> KSTREAM-SINK-0000000002
	//       <-- KSTREAM-SOURCE-0000000000
	//     Sink: KSTREAM-SINK-0000000002 (topic: out)
	//       <-- upper
}
