//go:build unix

package runnel_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A partition's directory that is a link out of the data directory is named, with
// where it leads and what to do.
func TestALinkOutOfTheDataDirectoryIsNamed(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "orders-0")
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	require.NoError(t, b.Close())
	partition := filepath.Join(dir, "orders-0")
	require.NoError(t, os.Rename(partition, elsewhere))
	require.NoError(t, os.Symlink(elsewhere, partition))

	b = openDir(t, dir)
	p, err := producer.New(b)
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorContains(t, err, partition+" is a symbolic link to "+elsewhere)
	require.NoError(t, p.Close())
}

// What is in the lock file's place is named. A link is refused also where it leads
// to a file.
func TestTheLockFileIsAFileOfItsDirectory(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	for what, put := range map[string]func(path string) error{
		"a symbolic link to /no/where": func(path string) error { return os.Symlink("/no/where", path) },
		"a symbolic link to " + target: func(path string) error { return os.Symlink(target, path) },
		"a directory":                  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		require.NoError(t, put(filepath.Join(dir, ".lock")))
		_, err := runnel.Open(dir)
		require.ErrorIs(t, err, fault.Storage, what)
		require.ErrorContains(t, err, "and is "+what)
		require.ErrorContains(t, err, "remove it")
	}
}
