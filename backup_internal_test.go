package runnel

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// What a group has committed is in a backup with the records that it has read,
// whatever topics are called: capital letters sort before __consumer_offsets. So
// the cut through the offsets comes first, and what is sent and committed between
// two cuts is in the later ones.
func TestBackupCutsOffsetsFirst(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "Orders"}, topic.Spec{Name: "zones"}))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	c, err := consumer.New(b, consumer.Group("billing"), consumer.Topics("Orders"), consumer.ManualCommit())
	require.NoError(t, err)
	defer c.Close()
	_, err = p.Send(t.Context(), record.Record{Topic: "Orders", Value: []byte("v")})
	require.NoError(t, err)
	_, err = c.Poll(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Commit(context.Background()))

	k := &backup{b: b, ctx: t.Context()}
	require.NoError(t, k.openAll())
	require.NoError(t, b.command(t.Context(), k.cut))
	defer func() {
		for i := range k.logs {
			k.release(&k.logs[i])
		}
	}()
	var cuts []string
	for _, l := range k.logs {
		if !slices.Contains(cuts, l.Topic) {
			cuts = append(cuts, l.Topic)
		}
	}
	require.Equal(t, []string{topic.ConsumerOffsets, "Orders", "zones"}, cuts)
}
