package tcp

import (
	"net"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// source is a node from which frames arrive. It stays as long as anything of the node is
// there: connections, or frames that the handler keeps.
type source struct {
	t  *Transport
	id replica.NodeID

	// The transport's lock guards the next four.
	users   int    // connections
	streams int    // of those, streams that the node opened
	process uint64 // of the node, the latest that was accepted
	address string // where it connected from

	mu      sync.Mutex
	current [replica.Lanes]*inbound
	held    [replica.Lanes]int // bytes with the handler
	room    chan struct{}      // closed and replaced when held shrinks
}

// inbound is a connection on which frames of one lane arrive.
type inbound struct {
	conn  *conn
	stop  chan struct{} // closed when the connection is to end
	once  sync.Once
	ended chan struct{} // closed when no frame of it is being handled
}

func (i *inbound) cut() {
	i.once.Do(func() {
		close(i.stop)
		_ = i.conn.Close()
	})
}

// source returns the source that a connection belongs to, which forget gives back.
func (t *Transport) source(h hello, address string) (*source, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sources[h.from]
	switch {
	case t.closed:
		return nil, fault.Newf(fault.Closed, "the transport of node %v", t.self)
	case s == nil && t.peers[h.from] == nil && len(t.sources)-len(t.peers) >= maxStranger:
		return nil, fault.Newf(fault.PolicyViolation, "%d nodes that are no peers are connected", maxStranger)
	case s != nil && s.process != h.process && s.alive():
		return nil, fault.Newf(fault.DuplicateBroker, "two processes say that they are node %v, one at %s, which stays, and one at %s", h.from, s.address, address).Try("stop one of them, or give each node a number of its own")
	case s != nil && h.purpose == purposeStream && s.streams >= t.maxStreams:
		return nil, fault.Newf(fault.PolicyViolation, "it has %d streams open", t.maxStreams).Try("close some of them, or set tcp.MaxStreams")
	case s == nil:
		s = &source{t: t, id: h.from, room: make(chan struct{})}
		t.sources[h.from] = s
	}
	s.process, s.address = h.process, address
	s.users++
	if h.purpose == purposeStream {
		s.streams++
	}
	return s, nil
}

// alive reports whether the node's process is connected: another one cannot take its place
// then. The connections of one that was killed are closed at once, and those of one whose machine is gone when
// they have been silent for a while.
func (s *source) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current[replica.LaneControl] != nil
}

// forget gives back what source returned.
func (t *Transport) forget(s *source, h hello) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.users--
	if h.purpose == purposeStream {
		s.streams--
	}
	t.drop(s)
}

// drop forgets a source of which nothing is left. It needs the transport's lock.
func (t *Transport) drop(s *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 && s.held == [replica.Lanes]int{} && t.sources[s.id] == s {
		delete(t.sources, s.id)
	}
}

// cut ends the node's lanes.
func (s *source) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.current {
		if i != nil {
			i.cut()
		}
	}
}

// serve hands the frames of a connection to the handler until the connection ends. It
// takes the place of an earlier connection for the same lane, after that one's last frame.
func (s *source) serve(c *conn, lane replica.Lane, a answer) {
	in := &inbound{conn: c, stop: make(chan struct{}), ended: make(chan struct{})}
	defer close(in.ended)
	defer in.cut()
	s.mu.Lock()
	before := s.current[lane]
	s.current[lane] = in
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.current[lane] == in {
			s.current[lane] = nil
		}
	}()
	if before != nil {
		before.cut()
		<-before.ended
	}
	if s.t.ctx.Err() != nil {
		return // Close came before this connection was in its place
	}
	if c.write(net.Buffers{a.bytes()}) != nil {
		return
	}
	c.established(patienceOf(s.t.timeout), s.t.timeout)
	d := decoder{r: c.r, limit: s.t.MaxFrame(lane), buffers: &s.t.buffers}
	for {
		if err := s.next(&d, in, lane); err != nil {
			s.t.noteBreach(c, s.id, err)
			return
		}
	}
}

// patienceOf is how long a lane may be silent. It is longer than the peer waits for
// our pongs, so that the peer closes a connection first and knows why.
func patienceOf(timeout time.Duration) time.Duration { return 4 * timeout }

var pong = head{kind: kindPong}.append(nil)

// next receives one frame.
func (s *source) next(d *decoder, in *inbound, lane replica.Lane) error {
	h, err := d.head()
	switch {
	case err != nil:
		return err
	case h.kind == kindPong:
		return fault.Newf(fault.InvalidRequest, "a pong without a ping")
	case h.kind == kindPing && lane == replica.LaneControl:
		return in.conn.write(net.Buffers{pong})
	case h.kind == kindPing:
		return nil
	}
	bytes := h.body() + frameCost
	keep, err := s.reserve(in, lane, bytes)
	if err != nil {
		return err
	}
	release := func() { s.release(lane, bytes) }
	if !keep {
		release = nil
	}
	f, err := d.frame(h, release)
	switch {
	case err != nil:
		if keep {
			s.release(lane, bytes)
		}
		return err
	case !keep:
		f.Done()
	default:
		s.t.handler.HandleFrame(s.id, lane, f)
	}
	return nil
}

// reserve counts the bytes of a frame that is about to arrive. On a bulk lane it waits
// until there is room; on a control lane it reports that the frame is to be dropped.
func (s *source) reserve(in *inbound, lane replica.Lane, bytes int) (keep bool, err error) {
	for {
		s.mu.Lock()
		if s.held[lane] == 0 || s.held[lane]+bytes <= s.t.laneBudget(lane) {
			s.held[lane] += bytes
			s.mu.Unlock()
			return true, nil
		}
		room := s.room
		s.mu.Unlock()
		if lane == replica.LaneControl {
			return false, nil
		}
		select {
		case <-room:
		case <-in.stop:
			return false, errReplaced
		}
	}
}

// release gives back what reserve counted.
func (s *source) release(lane replica.Lane, bytes int) {
	s.mu.Lock()
	s.held[lane] -= bytes
	empty := s.held == [replica.Lanes]int{}
	close(s.room)
	s.room = make(chan struct{})
	s.mu.Unlock()
	if empty {
		s.t.mu.Lock()
		s.t.drop(s)
		s.t.mu.Unlock()
	}
}
