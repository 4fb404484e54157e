package tcp

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

const (
	chunkHead = 8
	maxChunk  = 64 << 10
)

// stream is one end of a stream: a connection of its own, on which bytes travel in
// chunks.
type stream struct {
	t       *Transport
	conn    *conn
	peer    replica.NodeID
	address string
	forget  func() bool // stops waiting for the context of Open; nil at the accepting side

	reading role   // whose the next three are
	buffer  []byte // of a chunk
	rest    []byte // of the chunk that arrived last
	ended   bool   // the empty chunk has arrived

	writing role // whose the next one is
	finals  bool // the empty chunk has been written

	mu     sync.Mutex
	cause  error         // why the stream can no longer be used
	closed chan struct{} // closed by Close
	gone   chan struct{} // closed when the connection is
}

// role is held by one goroutine at a time, also while it waits for the connection.
type role chan struct{}

func newRole() role { return make(role, 1) }

func (r role) take() { r <- struct{}{} }
func (r role) give() { <-r }

// newStream registers a stream; it returns nil, and closes the connection, if the transport is closed.
func (t *Transport) newStream(c *conn, peer replica.NodeID, address string) *stream {
	c.established(0, 0)
	s := &stream{t: t, conn: c, peer: peer, address: address, reading: newRole(), writing: newRole(), closed: make(chan struct{}), gone: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = c.Close()
		return nil
	}
	t.streams[s] = struct{}{}
	return s
}

// serveStream hands a stream that another node opened to the handler.
func (t *Transport) serveStream(c *conn, from *source, h hello, a answer) {
	s := t.newStream(c, from.id, c.RemoteAddr().String())
	if s == nil {
		return
	}
	defer func() {
		_ = s.Close()
		<-s.gone
	}()
	if err := c.write(net.Buffers{a.bytes()}); err != nil {
		s.fail(err)
		return
	}
	t.handler.HandleStream(from.id, h.kind, s)
}

// breakStreams breaks the streams to and from a node.
func (t *Transport) breakStreams(id replica.NodeID, cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.streams {
		if s.peer == id {
			s.fail(fault.Newf(fault.NetworkException, "the connection to node %v at %s is lost", id, s.address).Because(cause))
		}
	}
}

// follow breaks the stream when ctx ends.
func (s *stream) follow(ctx context.Context) {
	s.forget = context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
}

// fail breaks the stream at once, unless it is unusable already. It does not wait.
func (s *stream) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
	}
	_ = s.conn.Close()
}

// failure returns the error for a call that the connection failed with err.
func (s *stream) failure(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = s.t.because(s.peer, s.address, err)
		_ = s.conn.Close()
	}
	return s.cause
}

// usable returns why the stream can no longer be used, or nil.
func (s *stream) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Read is replica.Stream's.
func (s *stream) Read(p []byte) (int, error) {
	s.reading.take()
	defer s.reading.give()
	if err := s.usable(); err != nil {
		return 0, err
	}
	if len(s.rest) == 0 && len(p) > 0 {
		if err := s.nextChunk(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// nextChunk reads a chunk into rest. At the end of the stream it returns io.EOF.
func (s *stream) nextChunk() error {
	if s.ended {
		return io.EOF
	}
	var head [chunkHead]byte
	if _, err := io.ReadFull(s.conn.r, head[:]); err != nil {
		return s.failure(cutOff(err))
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxChunk {
		return s.failure(fault.Newf(fault.InvalidRequest, "a chunk of %d bytes, at most %d are allowed", n, maxChunk))
	}
	if cap(s.buffer) < int(n) {
		s.buffer = make([]byte, n)
	}
	chunk := s.buffer[:n]
	if _, err := io.ReadFull(s.conn.r, chunk); err != nil {
		return s.failure(cutOff(err))
	}
	if sum(head[:4], chunk) != binary.BigEndian.Uint32(head[4:]) {
		return s.failure(fault.Newf(fault.InvalidRequest, "a chunk of %d bytes that does not match its checksum", n))
	}
	if n == 0 {
		s.ended = true
		return io.EOF
	}
	s.rest = chunk
	return nil
}

func sum(length, bytes []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, bytes)
}

// Write is replica.Stream's.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.take()
	defer s.writing.give()
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
		if err := s.writeChunk(p[written : written+n]); err != nil {
			return written, s.failure(err)
		}
		written += n
	}
}

// writeChunk needs the writing role.
func (s *stream) writeChunk(p []byte) error {
	head := binary.BigEndian.AppendUint32(make([]byte, 0, chunkHead), uint32(len(p)))
	head = binary.BigEndian.AppendUint32(head, sum(head, p))
	return s.conn.write(net.Buffers{head, p})
}

// CloseWrite is replica.Stream's.
func (s *stream) CloseWrite() error {
	s.writing.take()
	defer s.writing.give()
	if err := s.usable(); err != nil || s.finals {
		return err
	}
	s.finals = true
	if err := s.writeChunk(nil); err != nil {
		return s.failure(err)
	}
	return nil
}

// Close is replica.Stream's. The connection is closed by a goroutine, which gives what was
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
	broken := s.cause != nil
	s.cause = fault.Newf(fault.Closed, "the stream between node %v and node %v at %s", s.t.self, s.peer, s.address)
	s.mu.Unlock()
	if s.forget != nil {
		s.forget()
	}
	deadline := time.Now().Add(s.t.timeout)
	_ = s.conn.SetDeadline(deadline) // ends a Write that runs
	_ = s.conn.SetReadDeadline(time.Now())

	s.t.mu.Lock()
	if broken || s.t.closed {
		_ = s.conn.Close()
		delete(s.t.streams, s)
		close(s.gone)
	} else {
		s.t.work.Go(func() { s.end(deadline) })
	}
	s.t.mu.Unlock()
	return nil
}

// end says that nothing follows, and closes the connection once the peer has read that.
func (s *stream) end(deadline time.Time) {
	s.writing.take()
	var err error
	if !s.finals {
		s.finals = true
		err = s.writeChunk(nil)
	}
	s.writing.give()
	if err == nil {
		s.reading.take() // a Read that ran has ended
		s.conn.finish(deadline)
		s.reading.give()
	}
	_ = s.conn.Close()
	s.t.mu.Lock()
	delete(s.t.streams, s)
	s.t.mu.Unlock()
	close(s.gone)
}
