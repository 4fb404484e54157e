package grpc

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

const maxChunk = 64 << 10

// messages is a call's, on either side.
type messages interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// stream is one end of a stream: a call, whose messages are its bytes.
type stream struct {
	t       *Transport
	call    messages
	end     context.CancelCauseFunc // breaks the call at once
	finish  func()                  // says that this side ends the call
	peer    replica.NodeID
	address string
	forget  func() bool // stops waiting for the context of Open; nil at the accepting side

	arrived chan *buffers.Buffer // what receive hands to Read; closed at the end
	ended   bool                 // the empty message has arrived; set before arrived is closed
	over    chan struct{}        // closed when nothing can arrive any more

	reading hub.Role // whose the next two are
	buffer  *buffers.Buffer
	rest    []byte // of buffer

	writing hub.Role // whose the next one is
	finals  bool     // the empty message has been sent

	mu     sync.Mutex
	cause  error         // why the stream can no longer be used
	broken chan struct{} // closed when cause is set
	closed chan struct{} // closed by Close
	gone   chan struct{} // closed when nothing of the stream is left
}

// newStream registers a stream; it returns nil if the transport is closed.
func (t *Transport) newStream(c messages, peer replica.NodeID, address string, end context.CancelCauseFunc) *stream {
	s := &stream{
		t: t, call: c, peer: peer, address: address, end: end, finish: func() {},
		arrived: make(chan *buffers.Buffer), over: make(chan struct{}), reading: hub.NewRole(), writing: hub.NewRole(),
		broken: make(chan struct{}), closed: make(chan struct{}), gone: make(chan struct{}),
	}
	if c, ok := c.(grpc.ClientStream); ok {
		s.finish = func() { _ = c.CloseSend() }
	}
	if !t.hub.Add(s) {
		return nil
	}
	if !t.hub.Go(s.receive) {
		t.hub.Remove(s)
		return nil
	}
	return s
}

// serveStream hands a stream that another node opened to the handler, and returns when the
// call is to end.
func (t *Transport) serveStream(c grpc.ServerStream, from replica.NodeID, kind replica.StreamKind, address string) error {
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	s := t.newStream(c, from, address, end)
	if s == nil {
		return context.Cause(t.hub.Ctx)
	}
	if err := c.SendHeader(nil); err != nil {
		s.Break(err)
	}
	t.hub.Work.Go(func() {
		t.hub.Handler.HandleStream(from, kind, s)
		_ = s.Close()
	})
	// What the handler does to the call ends when this returns, and in no other way.
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return fault.Newf(fault.NetworkException, "the stream is broken").Because(context.Cause(ctx))
	}
}

// Peer is hub.Stream's.
func (s *stream) Peer() (replica.NodeID, string) { return s.peer, s.address }

// follow breaks the stream when ctx ends.
func (s *stream) follow(ctx context.Context) {
	s.forget = context.AfterFunc(ctx, func() { s.Break(context.Cause(ctx)) })
}

// Break is hub.Stream's.
func (s *stream) Break(cause error) {
	s.settle(cause)
	s.end(cause)
}

// settle sets why the stream can no longer be used, unless that is known.
func (s *stream) settle(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
		close(s.broken)
	}
}

// usable returns why the stream can no longer be used, or nil.
func (s *stream) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// receive receives until the call ends, and hands over what Read wants.
func (s *stream) receive() {
	defer close(s.over)
	for {
		m := incoming{pool: &s.t.hub.Buffers}
		err := s.call.RecvMsg(&m)
		if err == nil && s.ended {
			err = fault.Newf(fault.InvalidRequest, "bytes after the end of a stream")
		}
		switch {
		case err != nil:
			if !s.ended {
				s.Break(s.t.because(s.peer, s.address, cutOff(err)))
				close(s.arrived)
			}
			return
		case len(m.buffer.Bytes) == 0:
			s.ended = true
			close(s.arrived)
			continue
		}
		select {
		case s.arrived <- m.buffer:
		case <-s.broken:
			s.t.hub.Buffers.Put(m.buffer)
		}
	}
}

// cutOff returns the error for a call that ends before its stream does.
func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read is replica.Stream's.
func (s *stream) Read(p []byte) (int, error) {
	s.reading.Take()
	defer s.reading.Give()
	if err := s.usable(); err != nil {
		return 0, err
	}
	if len(s.rest) == 0 && len(p) > 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 && s.buffer != nil {
		s.t.hub.Buffers.Put(s.buffer)
		s.buffer = nil
	}
	return n, nil
}

// next waits for bytes. At the end of the stream it returns io.EOF.
func (s *stream) next() error {
	select {
	case b, more := <-s.arrived:
		if more {
			s.buffer, s.rest = b, b.Bytes
			return nil
		}
		if err := s.usable(); err != nil {
			return err
		}
		return io.EOF
	case <-s.broken:
		return s.usable()
	}
}

// Write is replica.Stream's.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Take()
	defer s.writing.Give()
	written := 0
	for {
		if err := s.usable(); err != nil {
			return written, err
		}
		if s.finals {
			return written, fault.Newf(fault.Closed, "the stream to node %v after CloseWrite", s.peer)
		}
		if written == len(p) {
			return written, nil
		}
		n := min(len(p)-written, maxChunk)
		if err := s.send(p[written : written+n]); err != nil {
			return written, err
		}
		written += n
	}
}

// send needs the writing role. That the peer has ended the call does not break what can
// still be read.
func (s *stream) send(p []byte) error {
	err := s.call.SendMsg(outgoing{p})
	if err == nil {
		return nil
	}
	if cause := s.usable(); cause != nil {
		return cause
	}
	return s.t.because(s.peer, s.address, cutOff(err))
}

// CloseWrite is replica.Stream's.
func (s *stream) CloseWrite() error {
	s.writing.Take()
	defer s.writing.Give()
	if err := s.usable(); err != nil || s.finals {
		return err
	}
	s.finals = true
	return s.send(nil)
}

// Close is replica.Stream's. A goroutine ends the call, which gives what was
// written, and not more than a timeout, to arrive.
func (s *stream) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return nil
	default:
		close(s.closed)
	}
	intact := s.cause == nil
	s.cause = fault.Newf(fault.Closed, "the stream between node %v and node %v at %s", s.t.hub.Self, s.peer, s.address)
	if intact {
		close(s.broken)
	}
	cause := s.cause
	s.mu.Unlock()
	if s.forget != nil {
		s.forget()
	}
	if !intact || !s.t.hub.Go(func() { s.part(cause) }) {
		s.end(cause)
		s.vanish()
	}
	return nil
}

// part says that nothing follows, and ends the call once the peer has ended it too.
func (s *stream) part(cause error) {
	late := time.AfterFunc(s.t.hub.Timeout, func() { s.end(cause) })
	s.writing.Take() // a Write that runs ends at the latest when the call does
	if !s.finals {
		s.finals = true
		_ = s.call.SendMsg(outgoing{})
	}
	s.writing.Give()
	s.finish()
	if s.forget != nil { // at the accepting side, the call ends when its handler returns
		<-s.over
		s.end(cause)
	}
	late.Stop()
	s.vanish()
}

// vanish says that nothing of the stream is left.
func (s *stream) vanish() {
	s.t.hub.Remove(s)
	close(s.gone)
}
