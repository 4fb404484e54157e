package streamstest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

var (
	lines  = serde.For("lines", serde.String, serde.String)
	totals = serde.For("totals", serde.String, serde.Int64)
)

func wordCount(t *streams.Topology) {
	words := streams.FlatMapValues(streams.Stream(t, lines), func(line string) []string {
		return strings.Fields(strings.ToLower(line))
	})
	byWord := streams.GroupBy(words, func(_, word string) string { return word })
	streams.Count(byWord, "counts").ToStream().To(totals)
}

func Example() {
	t := &testing.T{} // in a test, its own

	d := streamstest.New(t, wordCount)
	in, out := streamstest.Input(d, lines), streamstest.Output(d, totals)
	in.SendValue("all streams lead to Kafka")
	in.SendValue("Hello Kafka Streams")
	for _, r := range out.ReadAll() {
		fmt.Println(r.Key, r.Value)
	}
	kafka, _, _, _ := streamstest.Store[string, int64](d, "counts").Get("kafka")
	fmt.Println("kafka was counted", kafka, "times")

	// Output:
	// all 1
	// streams 1
	// lead 1
	// to 1
	// kafka 1
	// hello 1
	// kafka 2
	// streams 2
	// kafka was counted 2 times
}
