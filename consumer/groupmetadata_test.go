package consumer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// A consumer that does not go with transactions says everything that it lacks, and which
// options give it.
func TestAConsumerThatDoesNotGoWithTransactions(t *testing.T) {
	c := open(t, newFake())
	_, err := c.GroupMetadata(t.Context())
	require.ErrorIs(t, err, fault.InvalidConfig)
	require.ErrorContains(t, err, "consumer.ManualCommit")
	require.ErrorContains(t, err, "consumer.ReadCommitted")
	require.NotErrorIs(t, err, fault.InvalidGroup)

	f := newFake()
	groupless, err := New(f, Assign(record.TopicPartition{Topic: "a"}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, groupless.Close()) })
	_, err = groupless.GroupMetadata(t.Context())
	require.ErrorIs(t, err, fault.InvalidGroup)
	require.ErrorContains(t, err, "consumer.Group")

	ready := open(t, newFake(), ManualCommit(), ReadCommitted())
	m, err := ready.GroupMetadata(t.Context())
	require.NoError(t, err)
	require.Equal(t, "g", m.Group)
}
