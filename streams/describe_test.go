package streams_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/streams"
)

// The text is what Kafka 4.0 prints for the same topology.
func TestDescribeIsKafkas(t *testing.T) {
	require.Equal(t, `Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [lines])
      --> KSTREAM-FLATMAPVALUES-0000000001
    Processor: KSTREAM-FLATMAPVALUES-0000000001 (stores: [])
      --> KSTREAM-KEY-SELECT-0000000002
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-KEY-SELECT-0000000002 (stores: [])
      --> counts-repartition-filter
      <-- KSTREAM-FLATMAPVALUES-0000000001
    Processor: counts-repartition-filter (stores: [])
      --> counts-repartition-sink
      <-- KSTREAM-KEY-SELECT-0000000002
    Sink: counts-repartition-sink (topic: counts-repartition)
      <-- counts-repartition-filter

  Sub-topology: 1
    Source: counts-repartition-source (topics: [counts-repartition])
      --> KSTREAM-AGGREGATE-0000000003
    Processor: KSTREAM-AGGREGATE-0000000003 (stores: [counts])
      --> KTABLE-TOSTREAM-0000000007
      <-- counts-repartition-source
    Processor: KTABLE-TOSTREAM-0000000007 (stores: [])
      --> KSTREAM-SINK-0000000008
      <-- KSTREAM-AGGREGATE-0000000003
    Sink: KSTREAM-SINK-0000000008 (topic: totals)
      <-- KTABLE-TOSTREAM-0000000007

`, newApp(t, wordCount).Describe())
}

func TestDescribeOfBranches(t *testing.T) {
	require.Equal(t, `Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [lines])
      --> KSTREAM-BRANCH-0000000001
    Processor: KSTREAM-BRANCH-0000000001 (stores: [])
      --> KSTREAM-BRANCH-00000000010, long
      <-- KSTREAM-SOURCE-0000000000
    Processor: long (stores: [])
      --> KSTREAM-SINK-0000000002
      <-- KSTREAM-BRANCH-0000000001
    Processor: KSTREAM-BRANCH-00000000010 (stores: [])
      --> none
      <-- KSTREAM-BRANCH-0000000001
    Sink: KSTREAM-SINK-0000000002 (topic: words)
      <-- long

`, newApp(t, func(t *streams.Topology) {
		split := streams.Stream(t, lines).Split()
		split.Branch(func(_, v string) bool { return len(v) > 80 }).Named("long").To(words)
		split.Default()
	}).Describe())
}

func TestMermaid(t *testing.T) {
	want, err := os.ReadFile("testdata/wordcount.mmd")
	require.NoError(t, err)
	require.Equal(t, string(want), newApp(t, wordCount).Mermaid())
}
