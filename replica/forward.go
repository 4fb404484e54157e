package replica

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
)

// StreamAppends is the kind of the stream on which a node sends appends to another one
// that leads, and gets their outcomes:
//
//	request: length 4 | number 8 | topic 16 | partition 4 | batch
//	answer:  length 4 | number 8 | code 2 | final 1 | offset 8 | detail
//
// Lengths do not count themselves. Appends to one partition take effect in the order of
// their requests, and their answers come in any order.
const StreamAppends StreamKind = 1

const (
	requestHeaderLen = 8 + groupLen
	maxRequest       = 128 << 20
	maxAnswer        = 1 << 10
	waitingAppends   = 1 << 10 // of one stream; the peer's further requests wait in the stream
)

// link is the way on which a node's appends go to another node. It is opened by the
// first append, and again by the first one after it broke.
type link struct {
	node *Node
	to   NodeID

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
	waiting map[uint64]func(Result)
}

// link returns the node's link to another one.
func (n *Node) link(to NodeID) *link {
	l, ok := n.links.Load(to)
	if !ok {
		l, _ = n.links.LoadOrStore(to, &link{node: n, to: to})
	}
	return l.(*link)
}

// append sends a batch to the node, and calls done with what became of it:
// fault.NetworkException if it certainly did not arrive, fault.UnknownOutcome if it may
// have.
func (l *link) append(g GroupID, batch []byte, done func(Result)) {
	l.mu.Lock()
	l.number++
	number := l.number
	header := make([]byte, 0, 4+requestHeaderLen)
	header = binary.BigEndian.AppendUint32(header, uint32(requestHeaderLen+len(batch)))
	header = binary.BigEndian.AppendUint64(header, number)
	header = append(header, g.Topic[:]...)
	header = binary.BigEndian.AppendUint32(header, uint32(g.Partition))
	if l.line == nil {
		l.line = l.open()
	}
	s := l.line
	if s != nil {
		s.queue = append(s.queue, header, batch)
		s.waiting[number] = done
	}
	l.mu.Unlock()
	if s == nil {
		done(Result{-1, fault.Closed})
		return
	}
	select {
	case s.signal <- struct{}{}:
	default:
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
	s := &line{link: l, end: end, signal: make(chan struct{}, 1), waiting: map[uint64]func(Result){}}
	n.running.Go(func() { s.run(ctx) })
	return s
}

// run opens the stream, and sends what is queued until it breaks.
func (s *line) run(ctx context.Context) {
	defer s.end()
	stream, err := s.link.node.cfg.Transport.Open(ctx, s.link.to, StreamAppends)
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
		b, err := readFrame(r, maxAnswer)
		if err != nil {
			return err
		}
		number, result, err := parseAnswer(b)
		if err != nil {
			return err
		}
		s.link.mu.Lock()
		done := s.waiting[number]
		delete(s.waiting, number)
		s.link.mu.Unlock()
		if done != nil {
			done(result)
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
		done(Result{-1, fault.Newf(code, "the stream to node %v broke", l.to).Because(cause)})
	}
}

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
	if got, err := io.CopyN(&b, r, n); err != nil {
		return nil, malformed("a frame of %d bytes of which %d came", n, got).Because(err)
	}
	return b.Bytes(), nil
}

func appendAnswer(dst []byte, number uint64, result Result) []byte {
	begin := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	w := wire.Writer{B: dst}
	w.Int64(int64(number))
	code, final, detail := fault.Code(0), false, ""
	if result.Err != nil {
		code = fault.CodeOf(result.Err)
		detail = result.Err.Error()
		if e, ok := errors.AsType[*fault.Error](result.Err); ok {
			final, detail = e.Final, e.Detail
		}
	}
	w.Int16(int16(code))
	w.Bool(final)
	w.Int64(result.Offset)
	w.String(detail[:min(len(detail), maxAnswer/2)])
	binary.BigEndian.PutUint32(w.B[begin:], uint32(len(w.B)-begin-4))
	return w.B
}

func parseAnswer(b []byte) (number uint64, result Result, err error) {
	r := wire.NewReader(b)
	number = uint64(r.Int64())
	code, final := fault.Code(r.Int16()), r.Bool()
	result.Offset = r.Int64()
	detail := r.String()
	if err := r.End(); err != nil {
		return 0, result, malformed("an answer").Because(err)
	}
	if code != 0 {
		e := fault.Newf(code, "%s", detail)
		e.Final = final
		result.Err = e
	}
	return number, result, nil
}

// serveAppends appends what another node sends, and answers.
func (n *Node) serveAppends(stream Stream) {
	a := &answers{free: make(chan struct{}, waitingAppends), signal: make(chan struct{}, 1), ended: make(chan struct{})}
	var writing sync.WaitGroup
	writing.Go(func() { a.send(stream) })
	defer writing.Wait()
	defer close(a.ended)
	r := bufio.NewReader(stream)
	for {
		b, err := readFrame(r, maxRequest)
		if err != nil || len(b) < requestHeaderLen {
			return
		}
		a.free <- struct{}{} // returned by answer; the partition ends every append
		var g GroupID
		number := binary.BigEndian.Uint64(b)
		copy(g.Topic[:], b[8:])
		g.Partition = int32(binary.BigEndian.Uint32(b[24:]))
		p, ok := n.Replica(g)
		if !ok {
			a.answer(number, Result{-1, fault.Newf(fault.NotLeader, "node %v has no replica of the partition", n.cfg.ID)})
			continue
		}
		p.part.Load().Append(b[requestHeaderLen:], nil, answering{a, number})
	}
}

// answers are outcomes on their way to the node that asked.
type answers struct {
	free   chan struct{} // holds a token for each append without an answer
	signal chan struct{}
	ended  chan struct{}

	mu    sync.Mutex
	queue []byte
}

// answering is the Completion of one append.
type answering struct {
	*answers
	number uint64
}

// Appended implements partition.Completion.
func (a answering) Appended(base int64, err error) { a.answer(a.number, Result{base, err}) }

func (a *answers) answer(number uint64, result Result) {
	a.mu.Lock()
	a.queue = appendAnswer(a.queue, number, result)
	a.mu.Unlock()
	<-a.free
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

// send writes answers until the stream ends.
func (a *answers) send(stream io.Writer) {
	for {
		select {
		case <-a.ended:
			return
		case <-a.signal:
		}
		a.mu.Lock()
		queue := a.queue
		a.queue = nil
		a.mu.Unlock()
		if _, err := stream.Write(queue); err != nil {
			return
		}
	}
}
