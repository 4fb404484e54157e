package runnel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/archive"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/topic"
)

// Remote is a broker that another process has opened, or this one, reached
// through the socket in its directory. Like a Broker it is a topic.Admin, a
// consumer.Admin, and the backend of producers, consumers and streams; and it
// has Verify, Recovery and Backup. All methods are safe for concurrent use.
//
// Guarantees are the broker's: a record that was acknowledged is as durable, a
// group is shared with the members in every process. When the broker closes or
// its process dies, everything fails with fault.Closed, but records that were on
// their way to a process that died with fault.UnknownOutcome; what was read and
// not committed comes again. When this process dies, its members leave their
// groups.
//
// A broker keeps only so much memory for those who are attached, all together:
// where one sends faster than the disk writes, its sending waits. A record of more
// than 64 MiB does not pass (fault.RecordTooLarge), and a broker serves 512
// connections, one for each producer and consumer and one for each Remote
// (fault.PolicyViolation).
type Remote struct{ *remote }

type remote = attach.Client

var (
	_ producer.Backend = (*Remote)(nil)
	_ consumer.Backend = (*Remote)(nil)
	_ topic.Admin      = (*Remote)(nil)
	_ consumer.Admin   = (*Remote)(nil)
)

// Attach connects to the broker that holds a directory. Close the Remote in the
// end; the broker stays open.
//
// Where no broker listens, the error is fault.Closed: nobody has the directory
// open, or with NoSocket, or where a socket cannot be. fault.UnsupportedVersion
// says that the two programs were built with versions of this module that do not
// understand each other, and which one to upgrade; fault.PolicyViolation that the
// broker has as many connections as it serves; fault.TimedOut that the process did
// not answer for ten seconds: it may still be opening the directory.
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

// silence says why nobody listens in a directory, as far as the files tell. It
// does not try the lock, which would keep others from opening the directory.
func silence(dir string, err error) error {
	f := fault.Newf(fault.Closed, "no broker listens in %s", dir).Because(err)
	lock := filepath.Join(dir, layout.LockFile)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		f.Detail += ", which is not there"
		return f.Try("runnel.Open makes it")
	}
	if info, err := os.Stat(lock); err != nil || info.Size() == 0 {
		f.Detail += ", which nobody has open"
		return f.Try("runnel.Open opens it")
	}
	f.Detail += ", which " + layout.WrittenBy(lock) + " was the last to open"
	return f.Try("it has ended, or lets nobody in, as with runnel.NoSocket: runnel.Open opens the directory, or says who has it")
}

// socketFile is the socket's name in the directory.
const socketFile = attach.SocketName

// socket is how other processes reach a broker.
type socket struct {
	listener *attach.Listener // nil where nobody listens
	silent   error            // why not, if that was not asked for
	server   *attach.Server   // nil until the broker is open
}

// listen makes the socket in a directory, if it can.
func listen(lock *layout.Lock, not bool) (s socket) {
	if !not {
		s.listener, s.silent = attach.Listen(lock.Dir(), lock.Disk().Root())
	}
	return s
}

// serve lets others in.
func (s *socket) serve(b *Broker) {
	if s.listener != nil {
		s.server = attach.Serve(s.listener, served{b})
	}
}

// served is a broker as others see it.
type served struct{ *Broker }

// Stream implements attach.Backend.
func (b served) Stream(ctx context.Context, name string, w io.Writer) error {
	switch name {
	case streamRecovery:
		return writeRecovery(w, b.Recovery())
	case streamBackup:
		return b.backup(ctx, func(name string, b []byte) error { return archive.Send(w, name, b) })
	}
	return fault.Newf(fault.InvalidRequest, "nothing here is called %q", name)
}

// What a Remote asks Stream for.
const (
	streamRecovery = "recovery"
	streamBackup   = "backup"
)

// close ends listening, and all that others do through the socket.
func (s *socket) close() {
	switch {
	case s.server != nil:
		s.server.Close()
	case s.listener != nil:
		s.listener.Close()
	}
}

// Socket returns the path of the socket through which other processes reach the
// broker, see Attach. Where there is none, the path is empty and the error says
// why: the path is too long, or the file system has no sockets. Neither is there
// with NoSocket and in memory.
func (b *Broker) Socket() (path string, err error) {
	if b.socket.listener == nil {
		return "", b.socket.silent
	}
	return filepath.Join(b.dir, socketFile), nil
}
