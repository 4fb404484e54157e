package layout

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

// Lock is the lock on a data directory. The operating system releases it when the
// process ends, however it ends.
//
// The lock is on the directory, not on its name: another directory may get the name
// later. Where the system can, the directory itself is locked as well as the lock
// file, so that removing the file doesn't let another process in.
type Lock struct {
	dir  string
	disk *vfs.Disk
	file *flock.Flock
	self *flock.Flock // the directory's own lock; nil where there is none
}

// LockDir makes the directory, for files of this mode, and takes its lock;
// fault.Locked names the holder.
func LockDir(dir string, mode fs.FileMode) (*Lock, error) {
	if err := makeData(dir, mode); err != nil {
		return nil, err
	}
	disk, err := vfs.OpenDisk(dir, mode)
	if err != nil {
		return nil, fault.Newf(fault.OfDisk(err), "data directory %s", dir).Because(err)
	}
	l := &Lock{dir: dir, disk: disk}
	if err := l.take(mode); err != nil {
		l.close()
		return nil, err
	}
	// The process ID is only information: the lock holds also if it can't be written.
	_ = l.write(strconv.Itoa(os.Getpid()) + "\n")
	return l, nil
}

// Dir returns the directory's name when it was locked.
func (l *Lock) Dir() string { return l.dir }

// Disk returns the directory's files.
func (l *Lock) Disk() *vfs.Disk { return l.disk }

// makeData makes a data directory.
func makeData(dir string, mode fs.FileMode) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fault.Newf(fault.Storage, "%s is a file, and the data directory should be there", dir).Try("name another directory, or move the file")
	case errors.Is(err, fs.ErrNotExist):
		err = os.MkdirAll(dir, vfs.DirMode(mode))
	}
	if err != nil {
		err = vfs.Explain(dir, err)
		return fault.Newf(fault.OfDisk(err), "data directory %s", dir).Because(err)
	}
	return nil
}

// take takes the locks.
func (l *Lock) take(mode fs.FileMode) error {
	path := filepath.Join(l.dir, LockFile)
	self, held, err := tryLock(l.dir, os.O_RDONLY, 0)
	if err == nil && !held {
		return lockedBy(WrittenBy(path), path)
	}
	if err == nil { // else the system has no locks on directories
		l.self = self
	}
	if err := lockable(path); err != nil {
		return err
	}
	file, held, err := tryLock(path, os.O_CREATE|os.O_RDWR, mode)
	if err != nil {
		err = vfs.Explain(path, err)
		return fault.Newf(fault.OfDisk(err), "lock %s", path).Because(err)
	}
	if !held {
		return lockedBy(WrittenBy(path), path)
	}
	l.file = file
	if !l.same(file, LockFile) || l.self != nil && !l.same(l.self, ".") {
		return fault.Newf(fault.Storage, "data directory %s was replaced while it was opened", l.dir).Try("open it again")
	}
	return nil
}

// lockable returns an error if the lock file's name is taken by something else. A
// link is refused even if it leads to a file: two directories could share that.
func lockable(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().IsRegular() {
		return nil // what else is wrong, locking tells
	}
	what := "something else: " + info.Mode().Type().String()
	switch {
	case info.IsDir():
		what = "a directory"
	case info.Mode()&fs.ModeSymlink != 0:
		to, _ := os.Readlink(path)
		what = "a symbolic link to " + to
	}
	return fault.Newf(fault.Storage, "%s is to be the lock file of its directory, and is %s", path, what).
		Try("remove it if no program has the directory open; opening creates the file")
}

// tryLock locks a file, unless another process has it locked.
func tryLock(path string, flag int, mode fs.FileMode) (*flock.Flock, bool, error) {
	file := flock.New(path, flock.SetFlag(flag), flock.SetPermissions(mode))
	held, err := file.TryLock()
	if err != nil || !held {
		_ = file.Close()
		return nil, false, err
	}
	return file, true, nil
}

func lockedBy(name, path string) error {
	return fault.Newf(fault.Locked, "%s holds %s", name, path).
		Try("reach it with runnel.Attach, close it there, or open another directory")
}

// same reports whether a locked file is the one of that name in the directory.
func (l *Lock) same(file *flock.Flock, name string) bool {
	locked, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := l.disk.Root().Stat(name)
	return err == nil && os.SameFile(locked, there)
}

// Check returns fault.Locked if another process may have the directory by now: the
// lock file was removed or replaced, and there is no other lock. A nil lock, of a
// directory in memory, always holds.
func (l *Lock) Check() error {
	if l == nil || l.self != nil || l.same(l.file, LockFile) {
		return nil
	}
	path := filepath.Join(l.dir, LockFile)
	return fault.Newf(fault.Locked, "%s was removed or replaced, so that another process may have opened the directory", path).
		ForGood().Try("close the broker, and open the directory again")
}

// LeaveDir releases the lock of the directory itself, so that only that of the file is
// left, as on systems that cannot lock directories.
func (l *Lock) LeaveDir() error {
	if l.self == nil {
		return nil
	}
	err := l.self.Close()
	l.self = nil
	return err
}

// WrittenBy names the process that wrote a lock file.
func WrittenBy(path string) string {
	b, _ := os.ReadFile(path)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil:
		return "a process"
	case pid == os.Getpid():
		return "this process (" + strconv.Itoa(pid) + ")"
	}
	return "process " + strconv.Itoa(pid)
}

// write replaces the content of the lock file.
func (l *Lock) write(text string) error {
	f, err := l.disk.Root().OpenFile(LockFile, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Release releases the lock. The file stays: removing it would let two processes lock
// two files of the same name.
func (l *Lock) Release() {
	if l.Check() == nil {
		_ = l.write("")
	}
	l.close()
}

func (l *Lock) close() {
	for _, file := range []*flock.Flock{l.file, l.self} {
		if file != nil {
			_ = file.Close()
		}
	}
	_ = l.disk.Close()
}

// Holder names the process that holds a data directory; empty for none.
func Holder(dir string) (string, error) {
	path := filepath.Join(dir, LockFile)
	for _, name := range []string{path, dir} {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		file := flock.New(name, flock.SetFlag(os.O_RDONLY))
		free, err := file.TryRLock()
		_ = file.Close()
		switch {
		case err != nil && name == path:
			err = vfs.Explain(path, err)
			return "", fault.Newf(fault.OfDisk(err), "lock %s", path).Because(err)
		case err == nil && !free:
			return WrittenBy(path), nil
		}
	}
	return "", nil
}
