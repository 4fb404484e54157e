//go:build unix

package runnel_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// modes returns the modes of what is in a directory, but for the socket.
func modes(t *testing.T, dir string) (dirs, files map[fs.FileMode]bool) {
	t.Helper()
	dirs, files = map[fs.FileMode]bool{}, map[fs.FileMode]bool{}
	require.NoError(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSocket != 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.IsDir() {
			dirs[info.Mode().Perm()] = true
		} else {
			files[info.Mode().Perm()] = true
		}
		return nil
	}))
	return dirs, files
}

// What a program keeps is for its user alone, unless it asks for something else.
func TestDataIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for name, c := range map[string]struct {
		opts        []runnel.Option
		dirs, files fs.FileMode
	}{
		"default": {nil, 0o700, 0o600},
		"group":   {[]runnel.Option{runnel.FileMode(0o640)}, 0o750, 0o640},
		"all":     {[]runnel.Option{runnel.FileMode(0o666)}, 0o777, 0o666},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "above", "data")
			b := openDir(t, dir, c.opts...)
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 100}}))
			for range 3 {
				send(t, b, "orders", "k", "v")
			}
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "gone"}))
			require.NoError(t, b.DeleteTopics(t.Context(), "gone"))
			dirs, files := modes(t, filepath.Dir(dir))
			require.Equal(t, map[fs.FileMode]bool{c.dirs: true}, dirs)
			require.Equal(t, map[fs.FileMode]bool{c.files: true}, files)
			require.NoError(t, b.Close())
			_, files = modes(t, dir)
			require.Equal(t, map[fs.FileMode]bool{c.files: true}, files)
		})
	}
	t.Run("restored", func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		var archive bytes.Buffer
		require.NoError(t, b.Backup(t.Context(), &archive))
		dir := filepath.Join(t.TempDir(), "data")
		require.NoError(t, datadir.Restore(t.Context(), dir, &archive))
		dirs, files := modes(t, dir)
		require.Equal(t, map[fs.FileMode]bool{0o700: true}, dirs)
		require.Equal(t, map[fs.FileMode]bool{0o600: true}, files)
	})
	for _, mode := range []fs.FileMode{0, 0o400, 0o700, 0o601, 0o10600, fs.ModeDir | 0o600} {
		_, err := runnel.Open(t.TempDir(), runnel.FileMode(mode))
		require.ErrorIs(t, err, fault.InvalidConfig, "%#o", mode)
	}
}

// A file where a directory should be is named.
func TestFileInPlaceOfADirectory(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	require.NoError(t, b.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-0")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "orders-0"), nil, 0o600))
	b = openDir(t, dir)
	_, err := b.DescribeTopics(t.Context(), "orders")
	require.NoError(t, err)
	require.Len(t, b.Recovery().Partitions, 2)
	err = b.Recovery().Partitions[1].Err
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.ErrorContains(t, err, "expected the partition's directory, found a file")
}
