package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Nothing that a broker makes is foreign in its directory, be it open or closed:
// compaction, deleted records and topics, and snapshots of the catalogue included.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	cfg := topic.Config{Cleanup: topic.Compact, SegmentBytes: 1 << 10, MinCleanableRatio: 0.01}
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "users", Config: cfg}))
	p, err := producer.New(b)
	require.NoError(t, err)
	for i := range 50 {
		_, err := p.Send(t.Context(), record.Record{Topic: "users", Key: fmt.Append(nil, i%5), Value: make([]byte, 100)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	_, err = b.Cleanup(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "passing", Partitions: 1000})) // as many records in the catalogue
	require.NoError(t, b.DeleteTopics(t.Context(), "passing"))
	paths, err := foreign(dir)
	require.NoError(t, err)
	require.Empty(t, paths)
	require.NoError(t, b.Close())
	paths, err = foreign(dir)
	require.NoError(t, err)
	require.Empty(t, paths)
	snapshots, err := filepath.Glob(filepath.Join(dir, "__cluster_metadata-0", "*.checkpoint"))
	require.NoError(t, err)
	require.NotEmpty(t, snapshots)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "users-0", "00000000000000000000.log~"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "users-0", "00000000000000000001.log"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users-1"), nil, 0o600))
	paths, err = foreign(dir)
	require.NoError(t, err)
	require.Equal(t, []string{
		filepath.Join(dir, "users-0", "00000000000000000000.log~"), filepath.Join(dir, "users-0", "00000000000000000001.log"), filepath.Join(dir, "users-1"),
	}, paths)
}
