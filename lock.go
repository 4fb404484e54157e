package runnel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/runnel-go/runnel/fault"
)

// lockFile is Kafka's name for the file that keeps a directory to one process.
const lockFile = ".lock"

// dirLock is a data directory held by this process. The operating system lets
// go of it when the process ends, however it ends.
type dirLock struct{ file *flock.Flock }

// lockDir makes the directory and takes its lock; fault.Locked names the holder.
func lockDir(dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Newf(fault.Storage, "data directory %s", dir).Because(err)
	}
	path := filepath.Join(dir, lockFile)
	file := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	held, err := file.TryLock()
	if err != nil {
		return nil, fault.Newf(fault.Storage, "lock %s", path).Because(err)
	}
	if !held {
		_ = file.Close()
		return nil, fault.Newf(fault.Locked, "%s holds %s", holder(path), path).
			Try("reach it with runnel.Attach, close it there, or open another directory")
	}
	l := &dirLock{file}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		l.release()
		return nil, fault.Newf(fault.Storage, "lock %s", path).Because(err)
	}
	return l, nil
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

// release lets go of the directory. The file stays: removing it would let two
// processes lock two files of one name.
func (l *dirLock) release() {
	_ = os.Truncate(l.file.Path(), 0)
	_ = l.file.Close()
}
