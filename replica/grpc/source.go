package grpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

const maxStranger = 256 // nodes that connect and are no peers

// source is a node from which frames arrive. It stays as long as anything of the node is
// there: calls, or frames that the handler keeps.
type source struct {
	t  *Transport
	id replica.NodeID

	// The transport's lock guards the next four.
	users   int // calls
	streams int // of those, streams
	process uint64
	address string // where the process called from

	mu      sync.Mutex
	current [replica.Lanes]*inbound
	held    [replica.Lanes]int // bytes with the handler
	room    chan struct{}      // closed and replaced when held shrinks
}

// inbound is a call on which frames of one lane arrive.
type inbound struct {
	stop  chan struct{} // closed when the call is to end
	once  sync.Once
	ended chan struct{} // closed when no frame of it is being handled
}

func (i *inbound) cut() { i.once.Do(func() { close(i.stop) }) }

// source returns the source that a call belongs to, which forget gives back.
func (t *Transport) source(h hello, m method, address string) (*source, error) {
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
	case s != nil && m == methodStream && s.streams >= t.maxStreams:
		return nil, fault.Newf(fault.PolicyViolation, "node %v has %d streams open", h.from, t.maxStreams).Try("close some of them, or set grpc.MaxStreams")
	case s == nil:
		s = &source{t: t, id: h.from, room: make(chan struct{})}
		t.sources[h.from] = s
	}
	s.process, s.address = h.process, address
	s.users++
	if m == methodStream {
		s.streams++
	}
	return s, nil
}

// alive reports whether the node's process is connected: another one cannot take its place
// then. The calls of one that was killed end at once, and those of one whose machine is gone when
// they have been silent for a while.
func (s *source) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current[replica.LaneControl] != nil
}

// forget gives back what source returned.
func (t *Transport) forget(s *source, m method) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.users--
	if m == methodStream {
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

// serve hands the frames of a call to the handler until the call ends. It
// takes the place of an earlier call for the same lane, after that one's last frame.
func (s *source) serve(call grpc.ServerStream, lane replica.Lane) error {
	in := &inbound{stop: make(chan struct{}), ended: make(chan struct{})}
	s.mu.Lock()
	before := s.current[lane]
	s.current[lane] = in
	s.mu.Unlock()
	if before != nil {
		before.cut()
		<-before.ended
	}
	problem := make(chan error, 1)
	s.t.work.Go(func() {
		defer s.leave(in, lane)
		problem <- s.receive(call, in, lane)
	})
	// gRPC's receiving ends when this returns, and in no other way.
	select {
	case err := <-problem:
		return err
	case <-in.stop:
		return fault.Newf(fault.NetworkException, "node %v has called again, or node %v closes", s.id, s.t.self)
	}
}

// patienceOf is how long a control lane may be silent. It is longer than the peer waits for
// our answers, so that the peer ends a call first and knows why.
func patienceOf(timeout time.Duration) time.Duration { return 4 * timeout }

// leave says that a call's last frame is handled.
func (s *source) leave(in *inbound, lane replica.Lane) {
	s.mu.Lock()
	if s.current[lane] == in {
		s.current[lane] = nil
	}
	s.mu.Unlock()
	close(in.ended)
}

// receive accepts the call, and receives.
func (s *source) receive(call grpc.ServerStream, in *inbound, lane replica.Lane) error {
	if s.t.ctx.Err() != nil {
		return context.Cause(s.t.ctx) // Close came before this call was in its place
	}
	if err := call.SendHeader(nil); err != nil {
		return err
	}
	heard := func() {}
	if lane == replica.LaneControl {
		silent := time.AfterFunc(patienceOf(s.t.timeout), in.cut)
		defer silent.Stop()
		heard = func() { silent.Reset(patienceOf(s.t.timeout)) }
	}
	for {
		if err := s.next(call, in, lane); err != nil {
			return err
		}
		heard()
	}
}

// next receives one message.
func (s *source) next(call grpc.ServerStream, in *inbound, lane replica.Lane) error {
	if lane == replica.LaneBulk {
		if err := s.await(in); err != nil {
			return err
		}
	}
	m := incoming{pool: &s.t.buffers}
	if err := call.RecvMsg(&m); err != nil {
		return err
	}
	if len(m.buffer.Bytes) == 0 {
		return call.SendMsg(outgoing{})
	}
	f, err := decode(m.buffer.Bytes, s.t.MaxFrame(lane))
	if err != nil {
		return err
	}
	select {
	case <-in.stop:
		return nil // what comes now comes on another call
	default:
	}
	if bytes := cost(f); s.reserve(lane, bytes) {
		f.Release = func() {
			s.t.buffers.Put(m.buffer)
			s.release(lane, bytes)
		}
		s.t.handler.HandleFrame(s.id, lane, f)
	} else {
		s.t.buffers.Put(m.buffer)
	}
	return nil
}

// await waits until there is room for the largest frame of the bulk lane.
func (s *source) await(in *inbound) error {
	for {
		s.mu.Lock()
		held, room := s.held[replica.LaneBulk], s.room
		s.mu.Unlock()
		if held == 0 || held+s.t.maxFrame+frameCost <= s.t.budget {
			return nil
		}
		select {
		case <-room:
		case <-in.stop:
			return context.Canceled
		}
	}
}

// reserve counts the bytes of a frame. On a control lane over its budget it reports that the
// frame is to be dropped.
func (s *source) reserve(lane replica.Lane, bytes int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lane == replica.LaneControl && s.held[lane] > 0 && s.held[lane]+bytes > controlBudget {
		return false
	}
	s.held[lane] += bytes
	return true
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
