package runnel

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Where the file system takes two names for one, the second topic is refused.
func TestNamesThatDifferInCase(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "Visits"}, topic.Spec{Name: "visits"}))

	b.folds = true
	err = b.CreateTopics(t.Context(), topic.Spec{Name: "Orders"})
	require.ErrorIs(t, err, fault.InvalidTopic)
	require.ErrorContains(t, err, "takes it for the name of topic orders")
	err = b.CreateTopics(t.Context(), topic.Spec{Name: "New"}, topic.Spec{Name: "new"})
	require.ErrorIs(t, err, fault.InvalidTopic)
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}), fault.TopicExists, "the same name is another error")
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "new"}))
}

// TestRemovalIsDurable has opening finish a removal that a crash interrupted, and
// loses the power once it has.
func TestRemovalIsDurable(t *testing.T) {
	disk := vfs.NewCrashable()
	b, err := openFixture(disk)
	require.NoError(t, err)
	half := b.host.Path(record.TopicPartition{Topic: "orders"}) + "." + strings.Repeat("0f", 16) + layout.SuffixDelete
	require.NoError(t, disk.MkdirAll(half))
	require.NoError(t, disk.SyncDir(b.dir))
	require.NoError(t, b.Close())

	b, err = openFixture(disk)
	require.NoError(t, err)
	require.Equal(t, []string{half}, b.Recovery().Removed)
	left := disk.After(vfs.Loss{Kept: vfs.KeepNone})
	require.NoError(t, b.Close())

	b, err = openFixture(left)
	require.NoError(t, err)
	require.Empty(t, b.Recovery().Removed)
	require.NoError(t, b.Close())
}
