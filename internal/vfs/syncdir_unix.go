//go:build !windows

package vfs

import "os"

// syncDir makes the names in a directory durable, and closes it.
func syncDir(f *os.File) error {
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
