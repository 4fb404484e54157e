package runnel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/archive"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/layout"
)

// Attach connects to the broker that holds a directory. The caller must close the
// Remote, which leaves the broker open. Errors are:
//
//   - fault.Closed: no broker listens there. No process has the directory open,
//     or it was opened with NoSocket, or on a file system without sockets.
//   - fault.UnsupportedVersion: the two programs were built with incompatible
//     versions of this module. The error says which one to upgrade.
//   - fault.PolicyViolation: the broker already has as many connections as it
//     serves.
//   - fault.TimedOut: the process did not answer for ten seconds. It may still be
//     opening the directory.
func Attach(dir string) (*Remote, error) {
	client, err := attach.Dial(dir)
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fault.Newf(fault.TimedOut, "the process that holds %s does not answer", dir).Because(err)
	case err != nil:
		if foreign := layout.OfKafka(dir); foreign != nil {
			return nil, foreign
		}
		return nil, silence(dir, err)
	}
	return &Remote{client}, nil
}

// silence explains, from the files, why no broker listens in a directory. It does
// not try the lock, which would keep other processes from opening the directory.
func silence(dir string, err error) error {
	f := fault.Newf(fault.Closed, "no broker listens in %s", dir).Because(err)
	lock := filepath.Join(dir, layout.LockFile)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		f.Detail += ", which does not exist"
		return f.Try("runnel.Open creates it")
	}
	if info, err := os.Stat(lock); err != nil || info.Size() == 0 {
		f.Detail += ", which no process has open"
		return f.Try("runnel.Open opens it")
	}
	f.Detail += ", which " + layout.WrittenBy(lock) + " was the last to open"
	return f.Try("that process has ended, or does not listen (runnel.NoSocket): runnel.Open opens the directory, or names the process that holds it")
}

// socketFile is the socket's name in the directory.
const socketFile = attach.SocketName

// socket is the socket through which other processes reach a broker.
type socket struct {
	listener *attach.Listener // nil if the broker does not listen
	silent   error            // why not, unless NoSocket asked for it
	server   *attach.Server   // nil until the broker is open
}

// listen creates the socket in a directory, if it can.
func listen(lock *layout.Lock, not bool) (s socket) {
	if !not {
		s.listener, s.silent = attach.Listen(lock.Dir(), lock.Disk().Root())
	}
	return s
}

// serve accepts connections of other processes.
func (s *socket) serve(b *Broker) {
	if s.listener != nil {
		s.server = attach.Serve(s.listener, served{b})
	}
}

// served is a broker as attached processes see it.
type served struct{ *Broker }

// Sharing implements attach.Backend.
func (b served) Sharing() (*attach.Sharing, error) {
	opened, err := b.sharesForOthers()
	if err != nil {
		return nil, err
	}
	return opened.attached, nil
}

// Stream implements attach.Backend.
func (b served) Stream(ctx context.Context, name string, w io.Writer) error {
	switch name {
	case streamRecovery:
		return writeRecovery(w, b.Recovery())
	case streamBackup:
		return b.backup(ctx, func(name string, b []byte) error { return archive.Send(w, name, b) })
	}
	return fault.Newf(fault.InvalidRequest, "there is no stream %q", name)
}

// The streams that a Remote requests.
const (
	streamRecovery = "recovery"
	streamBackup   = "backup"
)

// close stops listening and ends all connections.
func (s *socket) close() {
	switch {
	case s.server != nil:
		s.server.Close()
	case s.listener != nil:
		s.listener.Close()
	}
}

// Socket returns the path of the socket through which other processes reach the
// broker, see Attach. Without a socket the path is empty, and the error says why:
// the path would be too long, or the file system has no sockets. With NoSocket,
// and in memory, both are empty.
func (b *Broker) Socket() (path string, err error) {
	if b.socket.listener == nil {
		return "", b.socket.silent
	}
	return filepath.Join(b.dir, socketFile), nil
}
