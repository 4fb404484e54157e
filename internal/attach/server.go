package attach

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/quota"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/topic"
)

// Backend is what is served: a broker.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
	consumer.Admin
	producer.Admin
	consumer.KeyReader

	// Verify compares every readable batch with its checksum.
	Verify(ctx context.Context) error

	// Sharing returns the backend's share groups. Without any the error is
	// fault.UnsupportedVersion.
	Sharing() (*Sharing, error)

	// Stream writes a stream of that name to w. This package does not know its
	// contents.
	Stream(ctx context.Context, name string, w io.Writer) error
}

// grace is how long the server waits, when it closes, for clients to receive
// its bye. It is a variable for tests, to which a slow machine is no reason to hurry.
var grace = 3 * time.Second

// Server serves a backend to all clients that connect to a listener.
type Server struct {
	backend  Backend
	listener *Listener
	instance int64
	running  sync.WaitGroup // the accepting goroutine and those of visits
	closing  chan struct{}  // closed when Close begins
	budget   budget

	mu     sync.Mutex
	visits map[*visit]struct{} // nil once Close has begun
}

func newServer(b Backend) *Server {
	return &Server{
		backend: b, instance: time.Now().UnixNano(), closing: make(chan struct{}), visits: map[*visit]struct{}{},
		budget: budget{small: quota.Quota{Total: budgetBytes}, large: quota.Quota{Total: largeBytes}, turn: make(chan struct{}, 1)},
	}
}

// Serve starts serving. Close stops it and closes the listener.
func Serve(l *Listener, b Backend) *Server {
	s := newServer(b)
	s.listener = l
	s.running.Go(s.accept)
	return s
}

// accept is the goroutine that accepts connections.
func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			// Either the listener is closed, or accepting failed, for example
			// for lack of file descriptors. There is no client to report that
			// to, and it may pass, so accept tries again.
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.closing:
				return
			}
		}
		s.admit(conn)
	}
}

// acceptPause is how long accept waits after a failure.
const acceptPause = 10 * time.Millisecond

// admit starts a visit, or tells the client why it cannot.
func (s *Server) admit(conn stream) {
	v := newVisit(s, conn)
	s.mu.Lock()
	closed, full := s.visits == nil, len(s.visits) >= maxVisits
	if !closed && !full {
		s.visits[v] = struct{}{}
	}
	s.mu.Unlock()
	switch {
	case closed:
		s.turnAway(conn, s.closed())
		return
	case full:
		s.turnAway(conn, fault.Newf(fault.PolicyViolation, "%s already serves %d connections, the most that it may", self(0), maxVisits).
			Try("close producers, consumers and clients that are not in use"))
		return
	}
	s.running.Go(func() {
		v.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.visits, v)
	})
}

// turnAway sends hello and bye to a client that is not served. Both are one
// write, which fits into the empty buffer of a new connection. So turnAway
// needs no goroutine and need not wait for the client's hello: however many
// clients come, each gets the reason.
func (s *Server) turnAway(conn stream, why error) {
	defer func() { _ = conn.Close() }()
	own := self(s.instance)
	hello, err := encode(kindHello, 0, own.fields)
	if err != nil {
		return
	}
	bye, err := encode(kindBye, 0, func(c *coder) { c.problem(&why) })
	if err != nil {
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(grace)) // never needed, unless the socket's buffer is smaller than that
	_, _ = conn.Write(append(hello, bye...))
}

// closed is the error that clients get when the server closes.
func (s *Server) closed() error {
	return fault.Newf(fault.Closed, "%s has closed the directory", self(s.instance))
}

// Close stops listening, closes the sessions of all clients, which then fail
// with fault.Closed, and returns when no goroutine is left. It does not wait
// for a client that does not read.
func (s *Server) Close() {
	s.mu.Lock()
	visits := s.visits
	s.visits = nil
	s.mu.Unlock()
	if visits == nil {
		s.running.Wait()
		return
	}
	close(s.closing)
	s.listener.Close()
	var ending sync.WaitGroup
	for v := range visits {
		ending.Go(func() { v.dismiss(s.closed()) })
	}
	ending.Wait()
	s.running.Wait()
}
