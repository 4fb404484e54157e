package runnel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Where the system has no locks on directories, a broker whose lock file was
// removed or replaced destroys nothing any more: another process may have opened
// the directory.
func TestLockFileAlone(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"removed":  os.Remove,
		"replaced": func(path string) error { return os.Rename(path+".other", path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, err := Open(dir)
			require.NoError(t, err)
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
			require.NoError(t, b.lock.LeaveDir())
			path := filepath.Join(dir, layout.LockFile)
			require.NoError(t, os.WriteFile(path+".other", nil, 0o600))
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "more"}))

			require.NoError(t, lose(path))
			require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "new"}), fault.Locked)
			err = b.DeleteTopics(t.Context(), "orders")
			require.ErrorIs(t, err, fault.Locked)
			require.False(t, fault.Retriable(err))
			require.ErrorContains(t, err, "was removed or replaced")
			_, err = b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{{Topic: "orders"}: 0})
			require.ErrorIs(t, err, fault.Locked)
			require.ErrorIs(t, b.Close(), fault.Locked)
			require.NoFileExists(t, filepath.Join(dir, layout.CleanFile))
		})
	}
}
