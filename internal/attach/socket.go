package attach

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/runnel-go/runnel/fault"
)

// SocketName is the socket's name in the data directory.
const SocketName = ".runnel.sock"

// maxAddress is the longest path that every system takes for a socket's
// address, in bytes. (Linux takes 107, macOS 103.)
const maxAddress = 103

// withAddress calls do with an address for the directory's socket: its path, or,
// where that is too long, one through a descriptor of the directory.
func withAddress(dir string, do func(address string) error) error {
	path := filepath.Join(dir, SocketName)
	if len(path) <= maxAddress {
		return do(path)
	}
	if runtime.GOOS != "linux" {
		return fault.Newf(fault.InvalidConfig, "the path %s has %d bytes, and a socket's at most %d", path, len(path), maxAddress)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do("/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + SocketName)
}

// Listen makes the socket in a directory that the caller holds, open to this
// user alone. A socket that a killed process left is replaced; anything else
// under its name stays, and is an error.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fault.Newf(fault.Storage, "%s is there and is no socket", path).Try("move it elsewhere")
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var l *net.UnixListener
	err = withAddress(dir, func(address string) (err error) {
		l, err = listenPrivately(address)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	s := &socket{UnixListener: l, path: path}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// socket is a listener that removes its file when it is closed.
type socket struct {
	*net.UnixListener
	path string
}

// Close stops listening and removes the socket.
func (s *socket) Close() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.UnixListener.Close())
}

// dial connects to the socket in a directory.
func dial(dir string) (conn net.Conn, err error) {
	err = withAddress(dir, func(address string) (err error) {
		conn, err = net.DialTimeout("unix", address, helloPatience)
		return err
	})
	return conn, err
}
