package attach

import (
	"context"
	"net"
	"syscall"
)

// listenPrivately listens on a socket whose file has mode 0600 from the moment
// it is there: on Linux it gets the mode that the socket has when it is bound.
func listenPrivately(address string) (*net.UnixListener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), 0o600) })
		if err == nil {
			err = failed
		}
		return err
	}}
	l, err := c.Listen(context.Background(), "unix", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}
