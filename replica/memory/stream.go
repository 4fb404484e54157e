package memory

import (
	"io"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

const (
	streamBuffer = 64 << 10 // bytes that a direction of a stream holds
	maxStreams   = 1024     // between two nodes
)

// connection is a stream with both of its ends.
type connection struct {
	nodes  [2]*Node    // that opened it, that accepted it
	forget func() bool // stops waiting for the context of Open

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when anything below changes
	sides   [2]side
}

// side is what one end has done.
type side struct {
	sent   []byte // not yet read by the other end
	ended  bool   // nothing follows sent
	closed bool
	err    error // why the stream broke, as this end sees it
}

func newConnection(opened, accepted *Node) *connection {
	return &connection{nodes: [2]*Node{opened, accepted}, changed: make(chan struct{})}
}

func (c *connection) end(i int) *stream { return &stream{c, i} }

// change tells those who wait. It needs the lock.
func (c *connection) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// fail breaks the stream, with an error for each end.
func (c *connection) fail(errs [2]error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.sides {
		if c.sides[i].err == nil {
			c.sides[i].err = errs[i]
		}
		c.sides[i].sent = nil
	}
	c.change()
}

// sever breaks a stream. It needs the network's lock.
func (n *Network) sever(c *connection, opened, accepted error) {
	delete(n.streams, c)
	c.fail([2]error{opened, accepted})
}

// between counts the streams that one node opened to another. It needs the lock.
func (n *Network) between(opened, accepted *Node) int {
	count := 0
	for c := range n.streams {
		if c.nodes == [2]*Node{opened, accepted} {
			count++
		}
	}
	return count
}

// stream is one end of a connection.
type stream struct {
	*connection
	end int
}

var _ replica.Stream = (*stream)(nil)

func (s *stream) own() *side   { return &s.sides[s.end] }
func (s *stream) other() *side { return &s.sides[1-s.end] }

// usable returns why this end can no longer be used. It needs the lock.
func (s *stream) usable() error {
	switch {
	case s.own().closed:
		return fault.Newf(fault.Closed, "the stream between node %v and node %v", s.nodes[s.end].id, s.nodes[1-s.end].id)
	case s.own().err != nil:
		return s.own().err
	}
	return nil
}

// Read is replica.Stream's.
func (s *stream) Read(p []byte) (int, error) {
	for {
		s.mu.Lock()
		if err := s.usable(); err != nil {
			s.mu.Unlock()
			return 0, err
		}
		if from := s.other(); len(from.sent) > 0 || len(p) == 0 {
			n := copy(p, from.sent)
			from.sent = from.sent[n:]
			s.change()
			s.mu.Unlock()
			return n, nil
		} else if from.ended {
			s.mu.Unlock()
			return 0, io.EOF
		}
		changed := s.changed
		s.mu.Unlock()
		<-changed
	}
}

// Write is replica.Stream's.
func (s *stream) Write(p []byte) (int, error) {
	written := 0
	for {
		s.mu.Lock()
		err := s.usable()
		switch {
		case err != nil:
		case s.own().ended:
			err = fault.Newf(fault.Closed, "writing to a stream after CloseWrite")
		case s.other().closed:
			err = broken(s.nodes[1-s.end].id, "it closed the stream")
		}
		if err != nil || written == len(p) {
			s.mu.Unlock()
			return written, err
		}
		to := s.own()
		n := min(len(p)-written, streamBuffer-len(to.sent))
		if n > 0 {
			to.sent = append(to.sent, p[written:written+n]...)
			written += n
			s.change()
		}
		done, changed := written == len(p), s.changed
		s.mu.Unlock()
		if done {
			return written, nil
		}
		<-changed
	}
}

// CloseWrite is replica.Stream's.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.own().ended = true
	s.change()
	return nil
}

// Close is replica.Stream's.
func (s *stream) Close() error {
	s.mu.Lock()
	s.own().ended, s.own().closed = true, true
	s.other().sent = nil
	both := s.other().closed
	s.change()
	s.mu.Unlock()
	if s.end == 0 {
		s.forget()
	}
	if both {
		network := s.nodes[0].network
		network.mu.Lock()
		delete(network.streams, s.connection)
		network.mu.Unlock()
	}
	return nil
}
