package vfs

import (
	"os"
	"syscall"
)

// datasync flushes data and what is needed to read it back (the length), but not
// the file's times: one journal commit less than fsync on most appends.
func datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sync error
	err = conn.Control(func(fd uintptr) {
		for {
			if sync = syscall.Fdatasync(int(fd)); sync != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if sync != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: sync}
	}
	return nil
}
