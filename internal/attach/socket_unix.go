//go:build unix

package attach

import "syscall"

// private gives a socket mode 0600 before it is bound. On Linux its file then
// has that mode from the start. On other systems the umask applies until Listen
// changes the mode.
func private(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.Fchmod(int(fd), 0o600) // fails on systems where sockets have no mode
	})
}

// crowded reports whether a socket's queue of connecting clients is full.
func crowded(err error) bool { return err == syscall.EAGAIN }
