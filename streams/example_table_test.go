package streams_test

import (
	"fmt"
	"strings"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

func ExampleTable() {
	show(func(t *streams.Topology) {
		streams.Table(t, lines).
			Filter(func(_, line string) bool { return line != "hidden" }).
			ToStream().To(out)
	}, "a=one", "b=two", "a=hidden")
	// Output:
	// a=one
	// b=two
	// a=
}

func ExampleMapTable() {
	show(func(t *streams.Topology) {
		streams.MapTable(streams.Table(t, lines), strings.ToUpper).ToStream().To(out)
	}, "a=one", "a=two")
	// Output:
	// a=ONE
	// a=TWO
}

func ExampleGroupTable() {
	show(func(t *streams.Topology) {
		byLetter := streams.GroupTable(streams.Table(t, lines), func(k, line string) (string, string) { return line[:1], k })
		counts := byLetter.Count("per-letter")
		streams.MapTable(counts, func(n int64) string { return strings.Repeat("|", int(n)) }).ToStream().To(out)
	}, "a=one", "b=over", "a=two")
	// Output:
	// o=|
	// o=||
	// o=|
	// t=|
}

func ExampleAggregateTable() {
	show(func(t *streams.Topology) {
		byLetter := streams.GroupTable(streams.Table(t, lines), func(k, line string) (string, string) { return line[:1], k })
		streams.AggregateTable(byLetter, "keys-by-letter",
			func() string { return "" },
			func(_, key, all string) string { return all + key },
			func(_, key, all string) string { return strings.Replace(all, key, "", 1) },
			streams.ValueSerde(serde.String)).ToStream().To(out)
	}, "a=one", "b=over", "a=two")
	// Output:
	// o=a
	// o=ab
	// o=b
	// t=a
}

func ExampleJoinTable() {
	show(func(t *streams.Topology) {
		lines := streams.Stream(t, lines)
		longest := streams.Reduce(lines.GroupByKey(), "longest", func(a, b string) string {
			if len(b) > len(a) {
				return b
			}
			return a
		})
		streams.JoinTable(lines, longest, func(_, line, longest string) string { return line + " of " + longest }).To(out)
	}, "a=one", "a=three", "b=four", "a=two")
	// Output:
	// a=one of one
	// a=three of three
	// b=four of four
	// a=two of three
}

func ExampleJoinTablesBy() {
	show(func(t *streams.Topology) {
		people := streams.Table(t, lines) // each with the key of a boss
		boss := func(_, boss string) (string, bool) { return boss, boss != "" }
		streams.JoinTablesBy(people, people, boss, func(_, boss, ofBoss string) string {
			return boss + ", whose boss is " + ofBoss
		}).Named("bosses").ToStream().To(out)
	}, "Anna=Berta", "Berta=Carla", "Dora=Berta", "Berta=Dora")
	// Output:
	// Anna=
	// Anna=Berta, whose boss is Carla
	// Berta=
	// Dora=Berta, whose boss is Carla
	// Anna=Berta, whose boss is Dora
	// Dora=Berta, whose boss is Dora
	// Berta=Dora, whose boss is Berta
}

func ExampleOuterJoinTables() {
	show(func(t *streams.Topology) {
		all := streams.Table(t, lines)
		short := all.Filter(func(_, line string) bool { return len(line) < 4 })
		streams.OuterJoinTables(all, short, func(_ string, line, short *string) string {
			if short == nil {
				return *line + ", which is long"
			}
			return *line + ", which is short"
		}).ToStream().To(out)
	}, "a=one", "b=three")
	// Output:
	// a=one, which is short
	// a=one, which is short
	// b=three, which is long
}

func ExampleJoinGlobal() {
	s, err := streams.NewSimulation("app", func(t *streams.Topology) {
		countries := streams.GlobalTable(t, serde.For("countries", serde.String, serde.String))
		code := func(_, line string) (string, bool) { return line[len(line)-2:], true }
		streams.JoinGlobal(streams.Stream(t, lines), countries, code, func(_, line, country string) string {
			return line + ", " + country
		}).To(out)
	})
	if err != nil {
		panic(err)
	}
	for _, r := range []record.Record{
		{Topic: "countries", Key: []byte("FR"), Value: []byte("France")},
		{Topic: "lines", Key: []byte("Anna"), Value: []byte("Paris FR")},
	} {
		if err := s.Send(r); err != nil {
			panic(err)
		}
	}
	for _, r := range s.Records("out") {
		fmt.Printf("%s=%s\n", r.Key, r.Value)
	}
	// Output: Anna=Paris FR, France
}
