package main

import (
	"os"
	"syscall"
)

// fdatasync makes what was written to f durable.
func fdatasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
