//go:build unix

package attach

import (
	"os"
	"syscall"
)

// Sockets are made by system calls: package net would add a tenth to the size of
// a program that opens a broker, and has more to it than a path needs. What is a
// file to package os waits in the runtime's poller like any connection.

// backlog is how many clients may wait to be let in.
const backlog = 128

// endpoint is a socket that listens.
type endpoint struct{ *os.File }

// connection is one that is connected.
type connection struct{ *os.File }

// newSocket returns a descriptor that does not block, and that no child of this
// process inherits.
func newSocket(open func() (int, error)) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := open()
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError("setnonblock", err)
	}
	return fd, nil
}

func unixSocket() (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	return fd, os.NewSyscallError("socket", err)
}

// listenAt listens at an address. On Linux the file has mode 0600 from the moment
// it is there, for it gets the mode that the socket has when it is bound;
// elsewhere it is up to the umask until Listen changes it.
func listenAt(address string) (*endpoint, error) {
	fd, err := newSocket(unixSocket)
	if err != nil {
		return nil, err
	}
	_ = syscall.Fchmod(fd, 0o600) // an error where sockets have no mode
	if err = os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrUnix{Name: address})); err == nil {
		err = os.NewSyscallError("listen", syscall.Listen(fd, backlog))
	}
	if err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	return &endpoint{os.NewFile(uintptr(fd), address)}, nil
}

// accept waits for the next client.
func (e *endpoint) accept() (stream, error) {
	raw, err := e.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, failed := -1, error(nil)
	err = raw.Read(func(listening uintptr) bool {
		fd, failed = newSocket(func() (int, error) {
			fd, _, err := syscall.Accept(int(listening))
			return fd, err
		})
		return failed != syscall.EAGAIN && failed != syscall.EINTR && failed != syscall.ECONNABORTED
	})
	if err == nil {
		err = os.NewSyscallError("accept", failed)
	}
	if err != nil {
		return nil, err
	}
	return &connection{os.NewFile(uintptr(fd), e.Name())}, nil
}

// dialTo connects to an address.
func dialTo(address string) (stream, error) {
	fd, err := newSocket(unixSocket)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: address}); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return &connection{os.NewFile(uintptr(fd), address)}, nil
}

// CloseWrite implements halfCloser.
func (c *connection) CloseWrite() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = os.NewSyscallError("shutdown", syscall.Shutdown(int(fd), syscall.SHUT_WR)) })
	if failed != nil {
		return failed
	}
	return err
}
