package runnel_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A relative name means where the program stood when it opened the directory.
func TestRelativeDirectory(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	t.Chdir(here)
	b, err := runnel.Open("data")
	require.NoError(t, err)
	require.NoError(t, os.Chdir(there))
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	send(t, b, "orders", "k", "v")
	path, err := b.Socket()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(here, "data", ".runnel.sock"), path)
	require.NoError(t, b.Close())
	require.NoDirExists(t, filepath.Join(there, "data"))

	b = openDir(t, filepath.Join(here, "data"))
	require.True(t, b.Recovery().Clean)
	require.Equal(t, []string{"v"}, readPartition(t, b, record.TopicPartition{Topic: "orders"}))

	_, err = runnel.Open("")
	require.ErrorIs(t, err, fault.InvalidConfig)
}

// A broker whose directory was moved goes on in it, and never touches the one that
// has taken its name.
func TestMovedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	orders := record.TopicPartition{Topic: "orders"}
	first, err := runnel.Open(dir)
	require.NoError(t, err)
	require.NoError(t, first.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "kept"}))
	send(t, first, "orders", "k", "first")
	send(t, first, "kept", "k", "first")
	require.NoError(t, os.Rename(dir, dir+".old"))

	second, err := runnel.Open(dir)
	require.NoError(t, err)
	require.NoError(t, second.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	send(t, second, "orders", "k", "second")

	require.NoError(t, first.DeleteTopics(t.Context(), "orders"))
	require.NoError(t, first.CreateTopics(t.Context(), topic.Spec{Name: "visits"}))
	send(t, first, "visits", "k", "first")
	_, err = first.DeleteRecords(t.Context(), map[record.TopicPartition]int64{{Topic: "kept"}: 1})
	require.NoError(t, err)
	require.NoError(t, first.Close())

	names, err := attachTo(t, dir).Topics(t.Context())
	require.NoError(t, err, "its socket is there still")
	require.Equal(t, []string{"orders"}, names)
	require.NoError(t, second.Close())
	second = openDir(t, dir)
	require.True(t, second.Recovery().Clean)
	require.Equal(t, []string{"second"}, readPartition(t, second, orders))
	names, err = second.Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"orders"}, names)

	first = openDir(t, dir+".old")
	require.True(t, first.Recovery().Clean)
	names, err = first.Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"kept", "visits"}, names)
	require.Equal(t, []string{"first"}, readPartition(t, first, record.TopicPartition{Topic: "visits"}))
}

// Removing the lock file does not give the directory to anybody.
func TestRemovedLockFile(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	require.NoError(t, os.Remove(filepath.Join(dir, ".lock")))
	for range 2 {
		_, err := runnel.Open(dir)
		require.ErrorIs(t, err, fault.Locked)
	}
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	require.NotEmpty(t, found.Holder)
	_, err = datadir.Repair(t.Context(), dir, datadir.RepairOptions{})
	require.ErrorIs(t, err, fault.Locked)
	require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
	require.NoError(t, b.Close())
	require.True(t, openDir(t, dir).Recovery().Clean)
}
