//go:build go1.27

package streams_test

import (
	"fmt"
	"strings"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

func chainedWordCount(t *streams.Topology) {
	streams.Stream(t, lines).
		FlatMapValues(func(line string) []string { return strings.Fields(strings.ToLower(line)) }).
		GroupBy(func(_, word string) string { return word }).
		Count("counts").
		ToStream().
		To(totals)
}

// With Go 1.27, word count is one chain.
func Example() {
	showCounts(chainedWordCount,
		record.Record{Topic: "lines", Value: []byte("all streams lead to Kafka")},
		record.Record{Topic: "lines", Value: []byte("hello Kafka streams")})
	// Output:
	// all 1
	// streams 1
	// lead 1
	// to 1
	// kafka 1
	// hello 1
	// kafka 2
	// streams 2
}

// showCounts runs a topology over records and prints the counts that it writes.
func showCounts(define func(*streams.Topology), records ...record.Record) {
	s, err := streams.NewSimulation("app", define)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		if err := s.Send(r); err != nil {
			fmt.Println(err)
		}
	}
	for _, r := range append(s.Records("totals"), s.Records("orders-per-customer")...) {
		n, err := serde.Int64.Decode(r.Value)
		if err != nil {
			fmt.Println(err)
		}
		fmt.Println(string(r.Key), n)
	}
}

func ExampleKStream_Map() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).Map(func(k, v string) (string, string) { return v, k }).To(out)
	}, "a=one")
	// Output: one=a
}

func ExampleKStream_MapValues() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).MapValues(strings.ToUpper).To(out)
	}, "a=one")
	// Output: a=ONE
}

func ExampleKStream_FlatMap() {
	type word = streams.KeyValue[string, string]
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).FlatMap(func(k, v string) []word { return []word{{k, v}, {v, k}} }).To(out)
	}, "a=one")
	// Output:
	// a=one
	// one=a
}

func ExampleKStream_FlatMapValues() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).FlatMapValues(strings.Fields).To(out)
	}, "a=one two")
	// Output:
	// a=one
	// a=two
}

func ExampleKStream_SelectKey() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).SelectKey(func(_, line string) string { return line[:1] }).To(out)
	}, "a=one")
	// Output: o=one
}

func ExampleKStream_GroupBy() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).
			GroupBy(func(_, line string) int32 { return int32(len(line)) }).
			Count("sizes").
			ToStream().
			Map(func(size int32, n int64) (string, string) { return fmt.Sprint(size), fmt.Sprint(n) }).
			To(out)
	}, "a=one", "b=two", "c=three")
	// Output:
	// 3=1
	// 3=2
	// 5=1
}

var perCustomer = serde.For("orders-per-customer", serde.String, serde.Int64)

func countOrders(t *streams.Topology) {
	streams.Stream(t, orders).GroupByKey().Count("per-customer").ToStream().To(perCustomer)
}

func ExampleKGroupedStream_Count() {
	showCounts(countOrders,
		record.Record{Topic: "orders", Key: []byte("ann"), Value: []byte(`{}`)},
		record.Record{Topic: "orders", Key: []byte("bob"), Value: []byte(`{}`)},
		record.Record{Topic: "orders", Key: []byte("ann"), Value: []byte(`{}`)})
	// Output:
	// ann 1
	// bob 1
	// ann 2
}

func ExampleKGroupedStream_Reduce() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).
			GroupByKey().
			Reduce("lines", func(all, line string) string { return all + " " + line }).
			ToStream().
			To(out)
	}, "a=one", "a=two")
	// Output:
	// a=one
	// a=one two
}

func ExampleKGroupedStream_Aggregate() {
	show(func(t *streams.Topology) {
		streams.Stream(t, lines).
			GroupByKey().
			Aggregate("lengths",
				func() []int { return nil },
				func(_, line string, lengths []int) []int { return append(lengths, len(line)) },
				streams.ValueSerde(serde.JSON[[]int]())).
			ToStream().
			To(serde.For("out", serde.String, serde.JSON[[]int]()))
	}, "a=one", "a=three")
	// Output:
	// a=[3]
	// a=[3,5]
}

func ExampleKStream_Process() {
	show(func(t *streams.Topology) { streams.Stream(t, lines).Process(swapping).To(out) }, "a=one")
	// Output: one=a
}

func ExampleKStream_ProcessValues() {
	show(func(t *streams.Topology) { streams.Stream(t, lines).ProcessValues(shouting).To(out) }, "a=one")
	// Output: a=ONE
}
