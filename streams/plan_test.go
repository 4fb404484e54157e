package streams

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

func text(name string) serde.Topic[string, string] {
	return serde.For(name, serde.String, serde.String)
}

func joinText(_, a, b string) string { return a + b }

func TestPartitionsOfRepartitionTopics(t *testing.T) {
	byValue := func(_, v string) string { return v }
	for name, c := range map[string]struct {
		define func(*Topology)
		topics map[string]int
		want   map[string]int // of what is added; nil: fault.InvalidPartitions
	}{
		"as many as the source": {
			func(t *Topology) { Count(GroupBy(Stream(t, text("a")), byValue), "n") },
			map[string]int{"a": 3},
			map[string]int{"app-n-repartition": 3},
		},
		"as many as the largest source": {
			func(t *Topology) {
				Count(GroupBy(Stream(t, text("a")).Merge(Stream(t, text("b"))), byValue), "n")
			},
			map[string]int{"a": 3, "b": 5},
			map[string]int{"app-n-repartition": 5},
		},
		"as asked for, and so what follows": {
			func(t *Topology) {
				Count(GroupBy(Stream(t, text("a")).Repartition("r", 7), byValue), "n")
			},
			map[string]int{"a": 3},
			map[string]int{"app-r-repartition": 7, "app-n-repartition": 7},
		},
		"raised to what it is gathered with": {
			func(t *Topology) {
				Count(Stream(t, text("a")).Repartition("r", 0).Merge(Stream(t, text("b"))).GroupByKey(), "n")
			},
			map[string]int{"a": 3, "b": 5},
			map[string]int{"app-r-repartition": 5},
		},
		"raised to the table that is joined": {
			func(t *Topology) {
				JoinTable(SelectKey(Stream(t, text("a")), byValue), Table(t, text("b")), joinText).Named("j")
			},
			map[string]int{"a": 3, "b": 5},
			map[string]int{"app-j-repartition": 5},
		},
		"a stream and a table that differ": {
			func(t *Topology) {
				JoinTable(Stream(t, text("a")), Table(t, text("b")), joinText).Named("KSTREAM-AGGREGATE-")
			},
			map[string]int{"a": 3, "b": 5},
			nil,
		},
		"tables that differ": {
			func(t *Topology) {
				b := Table(t, text("b")).Named("KSTREAM-AGGREGATE-")
				JoinTables(Table(t, text("a")), b, joinText)
			},
			map[string]int{"a": 3, "b": 5},
			nil,
		},
		"of a join by reference, as the tables": {
			func(t *Topology) {
				reference := func(_, v string) (string, bool) { return v, true }
				JoinTablesBy(Table(t, text("a")), Table(t, text("b")), reference, joinText).Named("j")
			},
			map[string]int{"a": 3, "b": 5},
			map[string]int{"app-j-subscription-repartition": 5, "app-j-response-repartition": 3},
		},
		"merged without a store": {
			func(t *Topology) { Stream(t, text("a")).Merge(Stream(t, text("b"))).To(text("c")) },
			map[string]int{"a": 3, "b": 5},
			map[string]int{},
		},
		"gathered from topics that differ": {
			func(t *Topology) { Count(Stream(t, text("a")).Merge(Stream(t, text("b"))).GroupByKey(), "n") },
			map[string]int{"a": 3, "b": 5},
			nil,
		},
		"gathered from what was asked to differ": {
			func(t *Topology) {
				Count(Stream(t, text("a")).Repartition("r", 2).Merge(Stream(t, text("b"))).GroupByKey(), "n")
			},
			map[string]int{"a": 3, "b": 5},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, err := compile("app", c.define, nil)
			require.NoError(t, err)
			counts := maps.Clone(c.topics)
			err = p.partitions(counts)
			if c.want == nil {
				require.ErrorIs(t, err, fault.InvalidPartitions)
				require.ErrorContains(t, err, "KSTREAM-AGGREGATE-")
				return
			}
			require.NoError(t, err)
			maps.DeleteFunc(counts, func(name string, _ int) bool { return !strings.HasPrefix(name, "app-") })
			require.Equal(t, c.want, counts)
		})
	}
}

func TestSubTopologiesAreConnectedParts(t *testing.T) {
	p, _, err := compile("app", func(t *Topology) {
		a, b := Stream(t, text("a")), Stream(t, text("b"))
		a.Merge(b).Repartition("r", 0).To(text("c"))
		Stream(t, text("d")).To(text("c"))
	}, nil)
	require.NoError(t, err)
	require.Len(t, p.subs, 3)
	require.Equal(t, p.byTopic["a"], p.byTopic["b"])
	require.Equal(t, 1, p.byTopic["app-r-repartition"].id)
	require.Equal(t, 2, p.byTopic["d"].id)
}

// A changelog keeps what its store does, and a day longer.
func TestAChangelogKeepsWhatItsStoreDoes(t *testing.T) {
	p, _, err := compile("app", func(t *Topology) {
		Count(Stream(t, text("a")).GroupByKey(), "kept")
		Count(Stream(t, text("b")).GroupByKey(), "expiring")
		Count(Stream(t, text("c")).GroupByKey(), "versioned")
	}, nil)
	require.NoError(t, err)
	p.topology.stores[1].retention = time.Hour
	p.topology.stores[2].history = time.Hour
	configs := map[string]topic.Config{}
	for _, internal := range (&App{plan: p}).internalTopics(map[string]int{"a": 1, "b": 1, "c": 1}) {
		configs[internal.Name] = internal.Config
	}
	require.Equal(t, map[string]topic.Config{
		"app-kept-changelog":      {Cleanup: topic.Compact},
		"app-expiring-changelog":  {Cleanup: topic.CompactDelete, Retention: 25 * time.Hour},
		"app-versioned-changelog": {Cleanup: topic.Compact, MinCompactionLag: 25 * time.Hour},
	}, configs)
}
