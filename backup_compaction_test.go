package runnel_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/topic"
)

// firstly is a buffer that does something before it takes the first bytes.
type firstly struct {
	bytes.Buffer
	do func()
}

func (w *firstly) Write(b []byte) (int, error) {
	if do := w.do; do != nil {
		w.do = nil
		do()
	}
	return w.Buffer.Write(b)
}

// TestBackupWhileCompacting takes a backup of keys that get later records, and lose
// their earlier ones to compaction, before they are copied: each key is in the
// backup as it was when that began.
func TestBackupWhileCompacting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		cfg := topic.Config{Cleanup: topic.Compact, SegmentBytes: 1 << 10, MinCleanableRatio: 0.01}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "users", Config: cfg}))
		for i := range 10 {
			send(t, b, "users", fmt.Sprint(i), "before")
		}
		before := content(t, b, "users")
		w := &firstly{do: func() {
			for i := range 30 {
				send(t, b, "users", fmt.Sprint(i%10), "after")
			}
			_, err := b.Cleanup(t.Context())
			require.NoError(t, err)
		}}
		require.NoError(t, b.Backup(t.Context(), w))
		require.Equal(t, before, content(t, restored(t, w.Bytes()), "users"))

		_, err = b.Cleanup(t.Context())
		require.NoError(t, err)
		require.NotContains(t, content(t, b, "users"), before[0], "compaction goes on behind the backup")
	})
}
