//go:build unix

package attach

import "syscall"

// private gives a socket mode 0600 before it is bound: on Linux its file then has
// that mode from the moment it is there. Elsewhere it is up to the umask until
// Listen changes it.
func private(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.Fchmod(int(fd), 0o600) // an error where sockets have no mode
	})
}

// crowded reports whether a socket has more clients waiting than it keeps.
func crowded(err error) bool { return err == syscall.EAGAIN }
