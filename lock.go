package runnel

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

// lockFile is Kafka's name for the file that keeps a directory to one process.
const lockFile = ".lock"

// dirLock is a data directory held by this process. The operating system lets
// go of it when the process ends, however it ends.
//
// It is the directory that is held, not its name: whatever takes that name later
// is another directory. Where the system can, the directory is locked as well as
// the file, so that removing the file gives it to nobody.
type dirLock struct {
	dir  string
	disk *vfs.Disk
	file *flock.Flock
	self *flock.Flock // the directory's own lock; nil where there is none
}

// lockDir makes the directory, for files of this mode, and takes its lock;
// fault.Locked names the holder.
func lockDir(dir string, mode fs.FileMode) (*dirLock, error) {
	if err := makeData(dir, mode); err != nil {
		return nil, err
	}
	disk, err := vfs.OpenDisk(dir, mode)
	if err != nil {
		return nil, fault.Newf(fault.OfDisk(err), "data directory %s", dir).Because(err)
	}
	l := &dirLock{dir: dir, disk: disk}
	if err := l.take(mode); err != nil {
		l.close()
		return nil, err
	}
	// That it cannot be written, on a full disk for one, keeps nobody out.
	_ = l.write(strconv.Itoa(os.Getpid()) + "\n")
	return l, nil
}

// makeData makes a data directory.
func makeData(dir string, mode fs.FileMode) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fault.Newf(fault.Storage, "%s is a file, and the data directory is to be there", dir).Try("name another directory, or move the file")
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
func (l *dirLock) take(mode fs.FileMode) error {
	path := filepath.Join(l.dir, lockFile)
	self, held, err := tryLock(l.dir, os.O_RDONLY, 0)
	if err == nil && !held {
		return lockedBy(holder(path), path)
	}
	if err == nil { // else the system has no locks on directories
		l.self = self
	}
	file, held, err := tryLock(path, os.O_CREATE|os.O_RDWR, mode)
	if err != nil {
		err = vfs.Explain(path, err)
		return fault.Newf(fault.OfDisk(err), "lock %s", path).Because(err)
	}
	if !held {
		return lockedBy(holder(path), path)
	}
	l.file = file
	if !l.same(file, lockFile) || l.self != nil && !l.same(l.self, ".") {
		return fault.Newf(fault.Storage, "data directory %s was replaced while it was opened", l.dir).Try("open it again")
	}
	return nil
}

// tryLock locks a file, unless somebody else has it locked.
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
func (l *dirLock) same(file *flock.Flock, name string) bool {
	locked, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := l.disk.Root().Stat(name)
	return err == nil && os.SameFile(locked, there)
}

// keeps returns fault.Locked if somebody else may have the directory by now: its
// lock file was removed or replaced, and there is no other lock. A nil lock, of a
// directory in memory, keeps it.
func (l *dirLock) keeps() error {
	if l == nil || l.self != nil || l.same(l.file, lockFile) {
		return nil
	}
	path := filepath.Join(l.dir, lockFile)
	return fault.Newf(fault.Locked, "%s was removed or replaced, so that another process may have opened the directory", path).
		ForGood().Try("close the broker, and open the directory again")
}

// holder names the process that wrote the lock file.
func holder(path string) string {
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

// write makes text what the lock file holds.
func (l *dirLock) write(text string) error {
	f, err := l.disk.Root().OpenFile(lockFile, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// release lets go of the directory. The file stays: removing it would let two
// processes lock two files of one name.
func (l *dirLock) release() {
	if l.keeps() == nil {
		_ = l.write("")
	}
	l.close()
}

func (l *dirLock) close() {
	for _, file := range []*flock.Flock{l.file, l.self} {
		if file != nil {
			_ = file.Close()
		}
	}
	_ = l.disk.Close()
}

// lockHolder names who holds a data directory, or nobody.
func lockHolder(dir string) (string, error) {
	path := filepath.Join(dir, lockFile)
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
			return holder(path), nil
		}
	}
	return "", nil
}
