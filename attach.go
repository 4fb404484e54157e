package runnel

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/topic"
)

// Remote is a broker that another process has opened, or this one, reached
// through the socket in its directory. Like a Broker it is a topic.Admin, a
// consumer.Admin, and the backend of producers, consumers and streams; and it
// has Verify. All methods are safe for concurrent use.
//
// Guarantees are the broker's: a record that was acknowledged is as durable, a
// group is shared with the members in every process. When the broker closes or
// its process dies, everything fails with fault.Closed, but records that were on
// their way to a process that died with fault.UnknownOutcome; what was read and
// not committed comes again. When this process dies, its members leave their
// groups.
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
// understand each other, and which one to upgrade.
func Attach(dir string) (*Remote, error) {
	client, err := attach.Dial(dir)
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return nil, err
	case err != nil:
		return nil, fault.Newf(fault.Closed, "no broker listens in %s", dir).Because(err)
	}
	return &Remote{client}, nil
}

// socket is how other processes reach a broker.
type socket struct {
	server *attach.Server // nil where nobody listens
	silent error          // why not, if that was not asked for
}

// listen begins to listen, if it can.
func (b *Broker) listen() {
	if b.noSocket {
		return
	}
	l, err := attach.Listen(b.dir)
	if err != nil {
		b.silent = err
		return
	}
	b.server = attach.Serve(l, b)
}

// unlisten ends listening, and all that others do through the socket.
func (b *Broker) unlisten() error {
	if b.server == nil {
		return nil
	}
	err := b.server.Close()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has removed the directory
	}
	return err
}

// Socket returns the path of the socket through which other processes reach the
// broker, see Attach. Where there is none, the path is empty and the error says
// why: the path is too long, or the file system has no sockets. Neither is there
// with NoSocket and in memory.
func (b *Broker) Socket() (path string, err error) {
	if b.server == nil {
		return "", b.silent
	}
	return filepath.Join(b.dir, attach.SocketName), nil
}
