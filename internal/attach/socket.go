package attach

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

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

// withAddress calls do with an address for the directory's socket: its path or,
// if that is too long, a path through a descriptor of the directory, which open
// opens.
func withAddress(dir string, open func() (*os.File, error), do func(address string) error) error {
	path := filepath.Join(dir, SocketName)
	if len(path) <= maxAddress {
		return do(path)
	}
	if !fits(dir) {
		return fault.Newf(fault.InvalidConfig, "the path %s has %d bytes, and a socket's at most %d", path, len(path), maxAddress)
	}
	d, err := open()
	if err != nil {
		return err
	}
	defer d.Close()
	return do("/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + SocketName)
}

// Listen creates the socket in a directory that the caller holds as root,
// accessible to this user only; dir is the directory's name. It replaces a
// socket that a killed process left behind. Any other file under its name
// stays, and is an error.
func Listen(dir string, root *os.Root) (*Listener, error) {
	path := filepath.Join(dir, SocketName)
	info, err := root.Lstat(SocketName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fault.Newf(fault.Storage, "%s exists and is not a socket", path).Try("move it elsewhere")
	default:
		if err := root.Remove(SocketName); err != nil {
			return nil, err
		}
	}
	l := &Listener{root: root}
	err = withAddress(dir, func() (*os.File, error) { return root.Open(".") }, func(address string) error {
		bound, err := (&net.ListenConfig{Control: private}).Listen(context.Background(), "unix", address)
		if err == nil {
			l.UnixListener = bound.(*net.UnixListener)
			l.SetUnlinkOnClose(false) // by then the address may name another file
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	info, err = root.Lstat(SocketName) // fails if the directory was replaced
	if err == nil && info.Mode().Perm() != 0o600 {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Listener is a socket in a directory to which clients connect.
type Listener struct {
	*net.UnixListener
	root *os.Root
}

// Close stops listening and removes the socket. If that fails, the next Listen
// replaces the socket.
func (l *Listener) Close() {
	_ = l.root.Remove(SocketName)
	_ = l.UnixListener.Close()
}

// crowdPause is how long a client waits before it tries again at a full queue.
const crowdPause = 10 * time.Millisecond

// dial connects to the socket in a directory. If the socket's queue of
// connecting clients is full, it tries again until helloPatience has passed.
func dial(ctx context.Context, dir string) (conn stream, err error) {
	patient, cancel := context.WithTimeout(ctx, helloPatience)
	defer cancel()
	for {
		err = withAddress(dir, func() (*os.File, error) { return os.Open(dir) }, func(address string) (err error) {
			conn, err = (&net.Dialer{}).DialContext(patient, "unix", address)
			return err
		})
		if errno, _ := errors.AsType[syscall.Errno](err); crowded(errno) {
			select {
			case <-time.After(crowdPause):
				continue
			case <-patient.Done():
			}
		}
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case patient.Err() != nil, os.IsTimeout(err):
			return nil, os.ErrDeadlineExceeded
		}
		return nil, err
	}
}
