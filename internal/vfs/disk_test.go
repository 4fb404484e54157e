package vfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Disk is the directory that it was opened on, wherever that is moved.
func TestDiskIsTheDirectoryItself(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	d, err := OpenDisk(dir, 0o600)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.MkdirAll(filepath.Join(dir, "orders-0")))
	require.NoError(t, create(t, d, filepath.Join(dir, "orders-0", "a.log"), "hello").Close())

	require.NoError(t, os.Rename(dir, dir+".old"))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "orders-0"), 0o700))
	entries, err := d.ReadDir(filepath.Join(dir, "orders-0"))
	require.NoError(t, err)
	require.Equal(t, []Entry{{Name: "a.log", Size: 5}}, entries)
	entries, err = d.ReadDir(dir)
	require.NoError(t, err)
	require.Equal(t, []Entry{{Name: "orders-0", Dir: true}}, entries)
	require.NoError(t, d.Rename(filepath.Join(dir, "orders-0"), filepath.Join(dir, "orders-1")))
	require.NoError(t, d.SyncDir(dir))
	require.NoError(t, d.SyncDir(above))
	e, err := d.Stat(filepath.Join(dir, "orders-1"))
	require.NoError(t, err)
	require.Equal(t, Entry{Name: "orders-1", Dir: true}, e)
	require.NoError(t, d.RemoveAll(filepath.Join(dir, "orders-1")))
	require.NoError(t, create(t, d, filepath.Join(dir, "b"), "").Close())

	require.NoFileExists(t, filepath.Join(dir, "b"))
	require.DirExists(t, filepath.Join(dir, "orders-0"))
	require.FileExists(t, filepath.Join(dir+".old", "b"))
	require.NoDirExists(t, filepath.Join(dir+".old", "orders-1"))
}

// No name leads out of a Disk.
func TestDiskStaysInside(t *testing.T) {
	for _, named := range []string{"absolute", "relative", "here"} {
		t.Run(named, func(t *testing.T) {
			above := t.TempDir()
			dir := filepath.Join(above, "data")
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(above, "other"), []byte("mine"), 0o600))
			switch named {
			case "relative":
				t.Chdir(above)
				dir = "data"
			case "here":
				t.Chdir(dir)
				dir = "."
			}
			d, err := OpenDisk(dir, 0o600)
			require.NoError(t, err)
			defer d.Close()
			inside := filepath.Join(dir, "inside")
			require.NoError(t, create(t, d, inside, "hello").Close())
			_, err = d.Stat(dir)
			require.NoError(t, err)
			require.NoError(t, d.SyncDir(dir))
			require.NoError(t, os.Symlink(filepath.Join(above, "other"), filepath.Join(dir, "link")))
			for _, name := range []string{filepath.Join(dir, "..", "other"), filepath.Join(above, "other"), filepath.Join(dir, "link"), filepath.Join(above, "data2"), above} {
				_, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE)
				require.Error(t, err, name)
				require.ErrorAs(t, err, new(*fs.PathError))
				if name != filepath.Join(dir, "link") { // removing and renaming is of the link itself
					require.Error(t, d.Remove(name), name)
					require.Error(t, d.RemoveAll(name), name)
					require.Error(t, d.Rename(inside, name), name)
				}
			}
			text, err := os.ReadFile(filepath.Join(above, "other"))
			require.NoError(t, err)
			require.Equal(t, "mine", string(text))
		})
	}
}

func TestDirMode(t *testing.T) {
	for file, dir := range map[fs.FileMode]fs.FileMode{0o600: 0o700, 0o640: 0o750, 0o660: 0o770, 0o644: 0o755, 0o666: 0o777} {
		require.Equal(t, dir, DirMode(file))
	}
}
