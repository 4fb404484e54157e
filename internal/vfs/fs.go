package vfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FS is a file system.
type FS interface {
	// OpenFile opens a file with flags of package os: one of O_RDONLY and
	// O_RDWR, with any of O_CREATE, O_EXCL and O_TRUNC. The directory must
	// exist. A created name is durable only after SyncDir.
	OpenFile(name string, flag int) (File, error)

	// MkdirAll creates a directory and those above it, where missing.
	MkdirAll(dir string) error

	// ReadDir lists a directory, sorted by name.
	ReadDir(dir string) ([]Entry, error)

	// Stat describes a file or directory.
	Stat(name string) (Entry, error)

	// Rename moves a file or directory, replacing a file of the new name in
	// one step.
	Rename(oldname, newname string) error

	// Remove removes a file or an empty directory.
	Remove(name string) error

	// RemoveAll removes a file or a directory with all it holds. It is no
	// error if there is none.
	RemoveAll(name string) error

	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// File is an open file. It has no position of its own.
type File interface {
	// ReadAt reads len(p) bytes from off, as io.ReaderAt does: fewer only with
	// an error, which is io.EOF at the end of the file.
	io.ReaderAt

	// WriteAt writes len(p) bytes at off, as io.WriterAt does, with one system
	// call. Beyond the end the file grows; a gap reads as zeros. After an error
	// n bytes from off may have been written, and none beyond them.
	io.WriterAt

	// Size returns the length in bytes.
	Size() (int64, error)

	// Truncate sets the length; what is added reads as zeros.
	Truncate(size int64) error

	// Sync makes what was written durable (fdatasync). After an error nothing
	// is known about any byte written since the last Sync that succeeded, and
	// calling it again proves nothing.
	Sync() error

	// Close releases the handle; it does not sync.
	Close() error
}

// Entry describes a file or directory.
type Entry struct {
	Name string // the last element of its path
	Size int64  // in bytes; 0 for a directory
	Dir  bool
}

// ReadFile returns what the file holds. A file longer than limit bytes is an
// error: a damaged length must not become an allocation.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &os.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes are more than the %d expected at most", size, limit)}
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// WriteFile replaces a file as a whole and makes it durable: after a crash it
// holds either all of the old bytes or all of the new ones. It writes name.tmp
// first, so two calls for one name must not overlap.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, data); err != nil {
		_ = fsys.Remove(tmp) // so that what was written of it takes no space
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
