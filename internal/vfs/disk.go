package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Disk is a directory of the operating system, and the FS of what lies in it. It
// holds the directory itself and not its name: when it is moved, and another one
// takes its name, what is done is done in the one that was moved. Names that lead
// out of it, by links too, are errors.
type Disk struct {
	dir  string // as the names begin that it is given
	root *os.Root
	mode fs.FileMode
}

// DirMode returns the mode of directories beside files of a mode: those who may
// read or write a file may search its directory.
func DirMode(mode fs.FileMode) fs.FileMode { return mode | mode&0o444>>2 }

// OpenDisk opens a directory, which must be there. Files in it are created with
// this mode, and directories with DirMode of it, but for what the process's umask
// takes away.
func OpenDisk(dir string, mode fs.FileMode) (*Disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, Explain(dir, err)
	}
	return &Disk{dir: filepath.Clean(dir), root: root, mode: mode}, nil
}

// Close lets go of the directory. Open files stay open.
func (d *Disk) Close() error { return d.root.Close() }

// Root returns the directory itself, which stays the Disk's.
func (d *Disk) Root() *os.Root { return d.root }

// local returns what a name is called in the directory.
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

// at calls do with what name is called in the directory.
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
		// Entries that package os lists are described by their directory's name,
		// which may mean another one by now.
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
				continue // removed since it was listed
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

// SyncDir implements FS. It takes the directories above the Disk's, too.
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

// diskFile is a file whose errors have the whole of its name.
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

// explain leaves io.EOF as it is, which is no failure.
func (f *diskFile) explain(err error) error {
	if err == nil || !errors.As(err, new(*fs.PathError)) {
		return err
	}
	return Explain(f.name, err)
}
