package streams_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// put writes a record with that key to a partition of a topic.
func put(t require.TestingT, b streams.Backend, name string, partition int32, keys ...string) {
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	for _, key := range keys {
		p.SendAsync(context.Background(), record.Record{Topic: name, Partition: partition, Key: []byte(key), Value: []byte(key)}, nil)
	}
	require.NoError(t, p.Flush(context.Background()))
	require.NoError(t, p.Close())
}

// wholeTasks checks that partitions of the same number have one owner.
func wholeTasks(t *testing.T, b *runnel.Broker, group string, topics ...string) {
	described, err := b.DescribeGroups(t.Context(), group)
	require.NoError(t, err)
	owners := make(map[int32]string)
	for _, m := range described[0].Members {
		for _, tp := range m.Assigned {
			if !slices.Contains(topics, tp.Topic) {
				continue
			}
			if owner, owned := owners[tp.Partition]; owned && owner != m.ID {
				t.Errorf("task %d has the owners %s and %s", tp.Partition, owner, m.ID)
			}
			owners[tp.Partition] = m.ID
		}
	}
}

// One sub-topology reads two topics with different numbers of partitions, and a
// task reads a partition of each. While an instance comes and goes, each task
// has one owner at any time, with one state.
func TestATaskWithTwoTopicsMovesAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 4, "a")
		create(t, broker, 2, "b")
		create(t, broker, 1, "both", "totals")
		a, b := serde.For("a", serde.String, serde.String), serde.For("b", serde.String, serde.String)
		instance := func() *streams.App {
			app, err := streams.New(broker, "app", func(t *streams.Topology) {
				left, right := streams.Stream(t, a), streams.Stream(t, b)
				streams.Count(right.GroupByKey(), "counts").ToStream().To(totals)
				left.Merge(right).To(serde.For("both", serde.String, serde.String))
			}, streams.Threads(1))
			require.NoError(t, err)
			return app
		}
		want := map[string]int64{}
		count := func() {
			put(t, broker, "b", 0, "zero")
			put(t, broker, "b", 1, "one")
			want["zero"]++
			want["one"]++
			time.Sleep(time.Second)
			synctest.Wait()
			require.Equal(t, want, table(t, broker, totals))
			wholeTasks(t, broker, "app", "a", "b")
		}
		stopX := start(instance())
		count()
		stopY := start(instance())
		count()
		groups, err := broker.DescribeGroups(t.Context(), "app")
		require.NoError(t, err)
		for _, m := range groups[0].Members {
			require.Contains(t, [][]record.TopicPartition{
				{{Topic: "a"}, {Topic: "a", Partition: 1}, {Topic: "b"}, {Topic: "b", Partition: 1}},
				{{Topic: "a", Partition: 2}, {Topic: "a", Partition: 3}},
			}, m.Assigned)
		}
		require.NoError(t, stopY())
		count()
		stopY = start(instance())
		count()
		require.NoError(t, stopX())
		count()
		require.NoError(t, stopY())
	})
}
