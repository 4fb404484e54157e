package runnel

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
)

// TestBackupWithoutAMarker: a partition whose storage has failed keeps a transaction from being ended
// there, and no backup from being taken. What is restored has all of the transaction.
func TestBackupWithoutAMarker(t *testing.T) {
	var backup bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewCrashable())
		b, err := openFixture(fsys)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := withoutMarkers(ctx, t, b, fsys, "orders-1", cancel)
		require.Error(t, p.Commit(ctx))
		go func() { // waits for the end as well
			next, err := producer.New(b, producer.TransactionalID("shop"))
			require.Error(t, err)
			require.Nil(t, next)
		}()
		synctest.Wait()
		require.NoError(t, b.Backup(t.Context(), &backup))
		_ = p.CloseNow()
		_ = b.Close()
	})
	dir := filepath.Join(t.TempDir(), "restored")
	require.NoError(t, datadir.Restore(t.Context(), dir, &backup))
	b, err := Open(dir)
	require.NoError(t, err)
	p, err := producer.New(b, producer.TransactionalID("shop")) // after it, nothing is undecided
	require.NoError(t, err)
	for _, values := range committedIn(t, b) {
		require.Equal(t, []string{"decided"}, values)
	}
	require.NoError(t, p.Close())
	require.NoError(t, b.Close())
}
