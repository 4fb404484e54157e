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

// newSocket returns a descriptor that no child of this process inherits.
func newSocket(open func() (int, error)) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := open()
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	return fd, err
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
	if err == nil {
		err = os.NewSyscallError("setnonblock", syscall.SetNonblock(fd, true))
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
	return connected(fd, e.Name())
}

// connected makes a connection of a descriptor that is connected, or closes it.
func connected(fd int, name string) (stream, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("setnonblock", err)
	}
	return &connection{os.NewFile(uintptr(fd), name)}, nil
}

// dialTo connects to an address. Where many wait to be let in, so does it, in the
// call to connect: a socket that does not block would be refused.
func dialTo(address string) (stream, error) {
	fd, err := newSocket(unixSocket)
	if err != nil {
		return nil, err
	}
	patience := syscall.NsecToTimeval(int64(helloPatience))
	if err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &patience); err == nil {
		err = syscall.EINTR
		for err == syscall.EINTR {
			err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: address})
		}
	}
	switch err {
	case nil:
		return connected(fd, address)
	case syscall.EAGAIN: // on Linux, so long
		err = os.ErrDeadlineExceeded
	}
	_ = syscall.Close(fd)
	return nil, os.NewSyscallError("connect", err)
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
