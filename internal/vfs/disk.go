package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Disk is the FS of a directory of the operating system. It holds the directory itself
// and not its name: if the directory is moved, and another one takes its name, operations
// continue in the one that was moved. A name that leads out of the directory, also by
// links, is an error.
type Disk struct {
	dir  string // the prefix of all names that callers pass
	root *os.Root
	mode fs.FileMode
}

// DirMode returns the mode of directories for files of a mode: users who may read a file
// may search its directory.
func DirMode(mode fs.FileMode) fs.FileMode { return mode | mode&0o444>>2 }

// OpenDisk opens a directory, which must exist. It creates files in it with this mode,
// and directories with DirMode of it, less the process's umask.
func OpenDisk(dir string, mode fs.FileMode) (*Disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, Explain(dir, err)
	}
	return &Disk{dir: filepath.Clean(dir), root: root, mode: mode}, nil
}

// Close closes the directory. Open files stay open.
func (d *Disk) Close() error { return d.root.Close() }

// Root returns the directory itself. The Disk closes it.
func (d *Disk) Root() *os.Root { return d.root }

// local returns a name relative to the directory.
func (d *Disk) local(name string) (string, error) {
	if d.dir == "." {
		return name, nil
	}
	if rest, ok := strings.CutPrefix(name, d.dir); ok {
		switch {
		case rest == "":
			return ".", nil
		case os.IsPathSeparator(rest[0]):
			return rest[1:], nil
		case os.IsPathSeparator(d.dir[len(d.dir)-1]): // of the file system
			return rest, nil
		}
	}
	return "", &fs.PathError{Op: "find", Path: name, Err: errors.New("it is not in " + d.dir)}
}

// at calls do with a name relative to the directory.
func (d *Disk) at(name string, do func(local string) error) error {
	local, err := d.local(name)
	if err != nil {
		return err
	}
	return Explain(name, do(local))
}

// OpenFile implements FS.
func (d *Disk) OpenFile(name string, flag int) (File, error) {
	var f *os.File
	err := d.at(name, func(local string) (err error) {
		f, err = d.root.OpenFile(local, flag, d.mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &diskFile{f, name}, nil
}

// MkdirAll implements FS.
func (d *Disk) MkdirAll(dir string) error {
	return d.at(dir, func(local string) error { return d.root.MkdirAll(local, DirMode(d.mode)) })
}

// ReadDir implements FS.
func (d *Disk) ReadDir(dir string) ([]Entry, error) {
	var entries []Entry
	err := d.at(dir, func(local string) error {
		// Package os would describe the entries by the directory's name, which may mean
		// another directory by now.
		root, err := d.root.OpenRoot(local)
		if err != nil {
			return err
		}
		defer root.Close()
		f, err := root.Open(".")
		if err != nil {
			return err
		}
		defer f.Close()
		names, err := f.Readdirnames(-1)
		if err != nil {
			return err
		}
		slices.Sort(names)
		entries = make([]Entry, 0, len(names))
		for _, name := range names {
			info, err := root.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // was removed after it was listed
			}
			if err != nil {
				return err
			}
			entries = append(entries, entryOf(info))
		}
		return nil
	})
	return entries, err
}

// Stat implements FS.
func (d *Disk) Stat(name string) (e Entry, err error) {
	err = d.at(name, func(local string) error {
		info, err := d.root.Stat(local)
		if err == nil {
			e = entryOf(info)
			e.Name = filepath.Base(name)
		}
		return err
	})
	return e, err
}

// Rename implements FS.
func (d *Disk) Rename(oldname, newname string) error {
	to, err := d.local(newname)
	if err != nil {
		return err
	}
	return d.at(oldname, func(local string) error { return d.root.Rename(local, to) })
}

// Remove implements FS.
func (d *Disk) Remove(name string) error { return d.at(name, d.root.Remove) }

// RemoveAll implements FS.
func (d *Disk) RemoveAll(name string) error { return d.at(name, d.root.RemoveAll) }

// SyncDir implements FS. It also accepts the directories above the Disk's, because
// creating a data directory has to sync its parent.
func (d *Disk) SyncDir(dir string) error {
	if _, err := d.local(dir); err != nil {
		if rest, ok := strings.CutPrefix(d.dir, dir); !ok || rest == "" {
			return err
		}
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		return syncDir(f)
	}
	return d.at(dir, func(local string) error {
		f, err := d.root.Open(local)
		if err != nil {
			return err
		}
		return syncDir(f)
	})
}

func entryOf(info os.FileInfo) Entry {
	e := Entry{Name: info.Name(), Dir: info.IsDir()}
	if !e.Dir {
		e.Size = info.Size()
	}
	return e
}

// diskFile is a file whose errors have its whole name.
type diskFile struct {
	*os.File
	name string
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	return n, f.explain(err)
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.explain(err)
}

func (f *diskFile) Truncate(size int64) error { return f.explain(f.File.Truncate(size)) }

func (f *diskFile) Size() (int64, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, f.explain(err)
	}
	return info.Size(), nil
}

func (f *diskFile) Sync() error { return f.explain(datasync(f.File)) }

// explain adds the whole name to an error. It returns io.EOF as it is, because that is no
// failure.
func (f *diskFile) explain(err error) error {
	if err == nil || !errors.As(err, new(*fs.PathError)) {
		return err
	}
	return Explain(f.name, err)
}
