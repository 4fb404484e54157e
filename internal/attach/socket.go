package attach

import (
	"errors"
	"io/fs"
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

// fits reports whether a directory's path is short enough for a socket in it.
func fits(dir string) bool {
	return runtime.GOOS == "linux" || len(filepath.Join(dir, SocketName)) <= maxAddress
}

// withAddress calls do with an address for the directory's socket: its path, or,
// where that is too long, one through a descriptor of the directory.
func withAddress(dir string, do func(address string) error) error {
	path := filepath.Join(dir, SocketName)
	if len(path) <= maxAddress {
		return do(path)
	}
	if !fits(dir) {
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
func Listen(dir string) (*Listener, error) {
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
	l := &Listener{path: path}
	err = withAddress(dir, func(address string) (err error) {
		l.endpoint, err = listenAt(address)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Listener is a socket in a directory, at which clients wait to be let in.
type Listener struct {
	*endpoint
	path string
}

// Close stops listening and removes the socket. One that cannot be removed does
// no harm: the next Listen replaces it.
func (l *Listener) Close() {
	_ = os.Remove(l.path)
	_ = l.endpoint.Close()
}

// dial connects to the socket in a directory.
func dial(dir string) (conn stream, err error) {
	err = withAddress(dir, func(address string) (err error) {
		conn, err = dialTo(address)
		return err
	})
	return conn, err
}
