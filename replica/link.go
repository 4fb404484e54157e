package replica

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"

	"github.com/runnel-go/runnel/fault"
)

// link is the way on which a node's requests of one kind go to another node. It is opened
// by the first request, and again by the first one after it broke. Requests and answers
// are frames: a length of four bytes, which does not count itself, and a number of eight,
// by which an answer finds its request.
type link struct {
	node *Node
	to   NodeID
	kind StreamKind
	most int // bytes of an answer

	mu     sync.Mutex
	line   *line // nil while there is no stream
	number uint64
}

// line is one stream of a link.
type line struct {
	link    *link
	end     context.CancelFunc
	signal  chan struct{}
	opened  bool // the stream is there: what was queued may have been sent. Guarded by link.mu
	queue   [][]byte
	waiting map[uint64]func(answer []byte, err error)
}

// way names a link.
type way struct {
	to   NodeID
	kind StreamKind
}

// link returns the node's link to another one, whose answers have so many bytes at most.
func (n *Node) link(to NodeID, kind StreamKind, most int) *link {
	l, ok := n.links.Load(way{to, kind})
	if !ok {
		l, _ = n.links.LoadOrStore(way{to, kind}, &link{node: n, to: to, kind: kind, most: most})
	}
	return l.(*link)
}

// send sends a request, which consists of a header and a body, and calls done with the
// answer: fault.NetworkException if the request certainly did not arrive,
// fault.UnknownOutcome if it may have.
func (l *link) send(header, body []byte, done func(answer []byte, err error)) {
	l.mu.Lock()
	l.number++
	number := l.number
	prefix := make([]byte, 0, 4+8+len(header))
	prefix = binary.BigEndian.AppendUint32(prefix, uint32(8+len(header)+len(body)))
	prefix = binary.BigEndian.AppendUint64(prefix, number)
	prefix = append(prefix, header...)
	if l.line == nil {
		l.line = l.open()
	}
	s := l.line
	if s != nil {
		s.queue = append(s.queue, prefix)
		if len(body) > 0 {
			s.queue = append(s.queue, body)
		}
		s.waiting[number] = done
	}
	l.mu.Unlock()
	if s == nil {
		done(nil, fault.Closed)
		return
	}
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// await sends a request, and waits for its answer. Its errors are those of send, and fault.UnknownOutcome when ctx ends,
// and fault.Closed when the node does.
func (l *link) await(ctx context.Context, request []byte) ([]byte, error) {
	type answer struct {
		bytes []byte
		err   error
	}
	answered := make(chan answer, 1)
	l.send(request, nil, func(b []byte, err error) { answered <- answer{b, err} })
	select {
	case a := <-answered:
		return a.bytes, a.err
	case <-ctx.Done():
		return nil, fault.Newf(fault.UnknownOutcome, "node %v has not answered", l.to).Because(context.Cause(ctx))
	case <-l.node.ctx.Done():
		return nil, fault.Closed
	}
}

// open begins a stream; mu is held. It returns nil once the node is closed.
func (l *link) open() *line {
	n := l.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	ctx, end := context.WithCancel(n.ctx)
	s := &line{link: l, end: end, signal: make(chan struct{}, 1), waiting: map[uint64]func([]byte, error){}}
	n.running.Go(func() { s.run(ctx) })
	return s
}

// run opens the stream, and sends what is queued until it breaks.
func (s *line) run(ctx context.Context) {
	defer s.end()
	stream, err := s.link.node.cfg.Transport.Open(ctx, s.link.to, s.link.kind)
	if err != nil {
		s.fail(err)
		return
	}
	defer stream.Close()
	s.link.mu.Lock()
	s.opened = true
	s.link.mu.Unlock()
	var reading sync.WaitGroup
	reading.Go(func() {
		err := s.receive(stream)
		s.fail(err)
		s.end()
	})
	defer reading.Wait()
	for {
		select {
		case <-ctx.Done():
			s.fail(context.Cause(ctx))
			return
		case <-s.signal:
		}
		s.link.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.link.mu.Unlock()
		for _, b := range queue {
			if _, err := stream.Write(b); err != nil {
				s.fail(err)
				s.end()
				return
			}
		}
	}
}

// receive takes answers until the stream breaks.
func (s *line) receive(stream io.Reader) error {
	r := bufio.NewReader(stream)
	for {
		b, err := readFrame(r, s.link.most)
		if err != nil {
			return err
		}
		if len(b) < 8 {
			return malformed("an answer of %d bytes", len(b))
		}
		number := binary.BigEndian.Uint64(b)
		s.link.mu.Lock()
		done := s.waiting[number]
		delete(s.waiting, number)
		s.link.mu.Unlock()
		if done != nil {
			done(b[8:], nil)
		}
	}
}

// fail ends the line: what waits on it has no outcome.
func (s *line) fail(cause error) {
	l := s.link
	l.mu.Lock()
	if l.line == s {
		l.line = nil
	}
	waiting := s.waiting
	s.waiting, s.queue = nil, nil
	code := fault.NetworkException
	if s.opened {
		code = fault.UnknownOutcome
	}
	l.mu.Unlock()
	for _, done := range waiting {
		done(nil, fault.Newf(code, "the stream to node %v broke", l.to).Because(cause))
	}
}

// frameBytes is how much is allocated for a frame before its bytes have come.
const frameBytes = 64 << 10

// readFrame reads a length and what it says, and allocates for what arrives alone.
func readFrame(r io.Reader, most int) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > int64(most) {
		return nil, malformed("a frame of %d bytes, at most %d are allowed", n, most)
	}
	var b bytes.Buffer
	b.Grow(int(min(n, frameBytes)))
	if got, err := io.CopyN(&b, r, n); err != nil {
		return nil, malformed("a frame of %d bytes of which %d came", n, got).Because(err)
	}
	return b.Bytes(), nil
}
