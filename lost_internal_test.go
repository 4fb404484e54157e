package runnel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/topic"
)

// A catalogue that was created again does not know which producer IDs were given away,
// and gives none of them.
func TestRepairedCatalogueGivesNoProducerIDTwice(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	last := int64(-1)
	for range 5 * 1000 { // opening alone takes some
		last, err = b.newProducerID(t.Context())
		require.NoError(t, err)
	}
	require.NoError(t, b.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "__cluster_metadata-0")))
	_, err = datadir.Repair(t.Context(), dir, datadir.RepairOptions{AcceptLoss: true})
	require.NoError(t, err)

	b, err = Open(dir)
	require.NoError(t, err)
	next, err := b.newProducerID(t.Context())
	require.NoError(t, err)
	require.Greater(t, next, last)
	require.NoError(t, b.Close())
}
