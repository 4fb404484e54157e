package runnel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkOpenMemory is what a unit test pays for a broker with a topic.
func BenchmarkOpenMemory(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		broker, err := runnel.OpenMemory()
		require.NoError(b, err)
		require.NoError(b, broker.CreateTopics(b.Context(), topic.Spec{Name: "orders"}))
		require.NoError(b, broker.Close())
	}
}
