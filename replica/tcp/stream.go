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
	"github.com/runnel-go/runnel/internal/hub"
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

	reading hub.Role // whose the next three are
	buffer  []byte   // of a chunk
	rest    []byte   // of the chunk that arrived last
	ended   bool     // the empty chunk has arrived

	writing hub.Role // whose the next one is
	finals  bool     // the empty chunk has been written

	mu     sync.Mutex
	cause  error         // why the stream can no longer be used
	closed chan struct{} // closed by Close
	gone   chan struct{} // closed when the connection is
}

// newStream registers a stream; it returns nil, and closes the connection, if the transport is closed.
func (t *Transport) newStream(c *conn, peer replica.NodeID, address string) *stream {
	c.established(0, 0)
	s := &stream{t: t, conn: c, peer: peer, address: address, reading: hub.NewRole(), writing: hub.NewRole(), closed: make(chan struct{}), gone: make(chan struct{})}
	if !t.hub.Add(s) {
		_ = c.Close()
		return nil
	}
	return s
}

// serveStream hands a stream that another node opened to the handler.
func (t *Transport) serveStream(c *conn, from *hub.Source, h hello, a answer) {
	s := t.newStream(c, from.ID, c.RemoteAddr().String())
	if s == nil {
		return
	}
	defer func() {
		_ = s.Close()
		<-s.gone
	}()
	if err := c.write(net.Buffers{a.bytes()}); err != nil {
		s.Break(err)
		return
	}
	t.hub.Handler.HandleStream(from.ID, h.kind, s)
}

// Peer is hub.Stream's.
func (s *stream) Peer() (replica.NodeID, string) { return s.peer, s.address }

// follow breaks the stream when ctx ends.
func (s *stream) follow(ctx context.Context) {
	s.forget = context.AfterFunc(ctx, func() { s.Break(context.Cause(ctx)) })
}

// Break is hub.Stream's.
func (s *stream) Break(cause error) {
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
	s.reading.Take()
	defer s.reading.Give()
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
	s.writing.Take()
	defer s.writing.Give()
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
	s.cause = fault.Newf(fault.Closed, "the stream between node %v and node %v at %s", s.t.hub.Self, s.peer, s.address)
	s.mu.Unlock()
	if s.forget != nil {
		s.forget()
	}
	deadline := time.Now().Add(s.t.hub.Timeout)
	_ = s.conn.SetDeadline(deadline) // ends a Write that runs
	_ = s.conn.SetReadDeadline(time.Now())

	if broken || !s.t.hub.Go(func() { s.end(deadline) }) {
		s.vanish()
	}
	return nil
}

// end says that nothing follows, and closes the connection once the peer has read that.
func (s *stream) end(deadline time.Time) {
	s.writing.Take()
	var err error
	if !s.finals {
		s.finals = true
		err = s.writeChunk(nil)
	}
	s.writing.Give()
	if err == nil {
		s.reading.Take() // a Read that ran has ended
		s.conn.finish(deadline)
		s.reading.Give()
	}
	s.vanish()
}

// vanish closes the connection.
func (s *stream) vanish() {
	_ = s.conn.Close()
	s.t.hub.Remove(s)
	close(s.gone)
}
