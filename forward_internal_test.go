package runnel

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

func changes() []*change {
	return []*change{
		{kind: createTopics, specs: []topic.Spec{
			{Name: "orders", Partitions: 3, Replicas: 2, Config: topic.Config{Retention: time.Hour, Cleanup: topic.Compact}},
			{Name: "visits"},
		}, ids: []topic.ID{{1}, {2}}},
		{kind: createInternal, specs: []topic.Spec{{Name: topic.ConsumerOffsets, Partitions: 4}}},
		{kind: deleteTopics, names: []string{"orders", "visits"}, ids: []topic.ID{{1}, {}}},
		{kind: addPartitions, names: []string{"orders"}, total: 7},
		{kind: configureTopic, names: []string{"orders"}, config: topic.Config{MaxMessageBytes: 1 << 20, Retention: topic.Forever}},
		{kind: allotProducerIDs},
		{kind: lookUp},
	}
}

func TestAChangeArrivesAsItWasAskedFor(t *testing.T) {
	for _, c := range changes() {
		got, err := decodeChange(c.encode())
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
}

// FuzzDecodeChange: what another node sends never panics, and is refused or can be sent
// again.
func FuzzDecodeChange(f *testing.F) {
	for _, c := range changes() {
		f.Add(c.encode())
	}
	f.Add((&change{kind: 99}).encode())
	f.Add((&change{kind: addPartitions}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChange(b)
		if err != nil {
			return
		}
		again, err := decodeChange(c.encode())
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}

func TestAMalformedChangeIsRefused(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	for _, fields := range [][]byte{nil, {1}, (&change{kind: 99}).encode(), (&change{kind: configureTopic}).encode()} {
		_, err := b.serveChange(t.Context(), fields)
		require.Error(t, err)
	}
	_, err = decodeChange((&change{kind: addPartitions}).encode())
	require.ErrorIs(t, err, fault.InvalidRequest)
}
