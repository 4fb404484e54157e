package attach_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// After a program has changed a topic, a producer that it already had uses the
// topic as it is now, as on the broker itself.
func TestAProducerKnowsWhatItsProgramHasDoneToATopic(t *testing.T) {
	dir := t.TempDir()
	b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	r, err := runnel.Attach(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	p, err := producer.New(r, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	send := func(partition int32) {
		t.Helper()
		at, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: partition, Value: []byte("v")})
		require.NoError(t, err)
		require.Equal(t, record.Position{Topic: "orders", Partition: partition}, at)
	}
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			require.NoError(t, r.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1}))
			send(0)
			require.NoError(t, r.AddPartitions(t.Context(), "orders", 2))
			send(1)
			require.NoError(t, r.DeleteTopics(t.Context(), "orders"))
		})
	}

	// Another client deletes the topic.
	require.NoError(t, r.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1}))
	send(0)
	require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
	require.NoError(t, r.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1}))
	send(0)
}
