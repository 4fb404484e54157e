package streams_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/streams"
)

// Committed records of a repartition topic are deleted once there are enough of
// them, and no earlier. Records that are still to be counted remain.
func TestRepartitionRecordsGoOnceTheyAreCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := closed(t, openMemory(t))
		create(t, broker, 1, "lines", "totals")
		app, err := streams.New(broker, "wordcount", wordCount, streams.PurgeRecords(10), streams.Threads(1))
		require.NoError(t, err)
		var sent []string
		stop := start(app)
		for round, want := range []int64{0, 12, 12, 24, 24, 36} { // six words each
			lines := []string{"all streams lead", "to kafka all"}
			send(t, broker, lines...)
			sent = append(sent, lines...)
			require.NoError(t, app.CaughtUp(t.Context()))
			synctest.Wait() // the deletion follows the commit
			found, err := broker.DescribeTopics(t.Context(), "wordcount-counts-repartition")
			require.NoError(t, err)
			require.Equal(t, want, found[0].Partitions[0].StartOffset, "round %d", round)
			require.Equal(t, int64(6*round+6), found[0].Partitions[0].EndOffset)
			require.Equal(t, counted(sent), table(t, broker, totals))
		}
		require.NoError(t, stop())
	})
}
