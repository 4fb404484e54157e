//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package datadir

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// notInUse returns an error if a process holds Kafka's lock on a directory. Java locks a
// file with fcntl, unlike this module, so looking does not disturb it.
func notInUse(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // without the file, it is not held; that it may not be read shows later
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil || lock.Type == syscall.F_UNLCK {
		return nil
	}
	return fmt.Errorf("process %d holds %s", lock.Pid, path)
}
