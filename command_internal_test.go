package runnel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/topic"
)

// A command that has begun ends, though the broker is being closed: what the
// catalogue tells of is there when the directory is opened again.
func TestACommandAtHandFinishesWhenTheBrokerCloses(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, b.command(t.Context(), func() error {
		go b.Close()
		<-b.host.Closing()
		return b.create([]topic.Spec{{Name: "orders", Partitions: 2}})
	}))
	<-b.closed
	require.NoError(t, b.failure)

	again, err := Open(dir)
	require.NoError(t, err)
	defer again.Close()
	_, err = again.DescribeTopics(t.Context(), "orders")
	require.NoError(t, err)
	listed, err := again.ListOffsets(t.Context(), topic.Latest(), tps("orders", 0, 1)...)
	require.NoError(t, err)
	require.Len(t, listed, 2)
}
