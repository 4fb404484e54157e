//go:build !linux

package main

import "os"

// fdatasync makes what was written to f durable, where the system has nothing
// smaller than fsync.
func fdatasync(f *os.File) error { return f.Sync() }
