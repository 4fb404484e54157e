package streams_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

func grow(t require.TestingT, broker *runnel.Broker, name string, partitions int) {
	require.NoError(t, broker.AddPartitions(context.Background(), name, partitions))
}

// The input of an application grows while it runs. Everything after a
// repartition topic continues as before, now and after the next start.
func TestAnInputGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 2, "lines")
		create(t, broker, 1, "totals")
		var sent []string
		app, err := streams.New(broker, "wordcount", wordCount, streams.Threads(2))
		require.NoError(t, err)
		count := func() {
			some := []string{"all streams lead to kafka", "a b", "b c d", "streams", "all", "kafka"}
			send(t, broker, some...)
			sent = append(sent, some...)
			require.NoError(t, app.CaughtUp(t.Context()))
			require.Equal(t, counted(sent), table(t, broker, totals))
		}
		stop := start(app)
		count()
		grow(t, broker, "lines", 5)
		count()
		require.NoError(t, stop())
		stop = start(app)
		count()
		grow(t, broker, "lines", 7)
		count()
		require.NoError(t, stop())
	})
}

// Two topics of one sub-topology grow independently. A store is partitioned by
// the topics that feed it.
func TestATopicGrowsBesideAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 1, "a", "totals", "both")
		create(t, broker, 2, "b")
		a, b := serde.For("a", serde.String, serde.String), serde.For("b", serde.String, serde.String)
		app, err := streams.New(broker, "app", func(t *streams.Topology) {
			left, right := streams.Stream(t, a), streams.Stream(t, b)
			streams.Count(right.GroupByKey(), "counts").ToStream().To(totals)
			left.Merge(right).To(serde.For("both", serde.String, serde.String))
		})
		require.NoError(t, err)
		stop := start(app)
		put(t, broker, "b", 1, "one")
		require.NoError(t, app.CaughtUp(t.Context()))
		grow(t, broker, "a", 4)
		put(t, broker, "a", 3, "three")
		put(t, broker, "b", 1, "one")
		require.NoError(t, app.CaughtUp(t.Context()))
		require.NoError(t, stop())
		stop = start(app)
		put(t, broker, "b", 1, "one")
		require.NoError(t, app.CaughtUp(t.Context()))
		require.Equal(t, map[string]int64{"one": 3}, table(t, broker, totals))
		require.Len(t, readAll(t, broker, serde.For("both", serde.String, serde.String)), 4)
		require.NoError(t, stop())
	})
}

// An application that cannot continue says so at once, and again at the next
// start.
func TestGrowthThatPartsKeysIsToldAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		define func(*streams.Topology)
		grows  string
		says   []string
	}{
		"a store that the topic feeds": {
			func(t *streams.Topology) {
				streams.Count(streams.Stream(t, lines).GroupByKey(), "n").ToStream().To(totals)
			},
			"lines",
			[]string{"lines", "KSTREAM-AGGREGATE-", "app-n-changelog", "Repartition", "App.Reset"},
		},
		"a repartition topic that feeds a store": {
			wordCount, "app-counts-repartition", []string{"app-counts-repartition", "app-counts-changelog", "App.Reset"},
		},
		"a repartition topic of a number": {
			func(t *streams.Topology) {
				streams.SelectKey(streams.Stream(t, lines), func(_, line string) string { return line }).Repartition("r", 2).To(lines2)
			},
			"app-r-repartition",
			[]string{"app-r-repartition", "App.Reset"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := closed(t, openMemory(t))
				create(t, broker, 2, "lines", "totals", "lines2")
				app, err := streams.New(broker, "app", c.define)
				require.NoError(t, err)
				send(t, broker, "a", "b")
				ran := make(chan error, 1)
				go func() { ran <- app.Run(t.Context()) }()
				require.NoError(t, app.CaughtUp(t.Context()))
				began := time.Now()
				grow(t, broker, c.grows, 3)
				for _, err := range []error{<-ran, app.Run(t.Context())} {
					require.ErrorIs(t, err, fault.InvalidPartitions)
					for _, word := range c.says {
						require.ErrorContains(t, err, word)
					}
				}
				require.Zero(t, time.Since(began))
				require.NoError(t, app.Reset(t.Context()))
			})
		})
	}
}

var lines2 = serde.For("lines2", serde.String, serde.String)
