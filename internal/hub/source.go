package hub

import (
	"errors"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

const maxStranger = 256 // nodes that connect and are no peers

// Source is a node from which frames arrive. It stays as long as anything of the node is
// there: connections, or frames that the handler keeps.
type Source struct {
	ID  replica.NodeID
	hub *Hub

	// The hub's lock guards the next four.
	users   int    // connections
	streams int    // of those, streams that the node opened
	process uint64 // of the node, the latest that was accepted
	address string // where it connected from

	mu      sync.Mutex
	current [replica.Lanes]*Inbound
	held    [replica.Lanes]int // bytes with the handler
	room    chan struct{}      // closed and replaced when held shrinks
}

// Source returns the source that a connection belongs to, which is for a stream or for a lane. Leave
// gives it back.
func (h *Hub) Source(from replica.NodeID, process uint64, stream bool, address string) (*Source, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sources[from]
	switch {
	case h.closed:
		return nil, fault.Newf(fault.Closed, "the transport of node %v", h.Self)
	case s == nil && h.peers[from] == nil && len(h.sources)-len(h.peers) >= maxStranger:
		return nil, fault.Newf(fault.PolicyViolation, "%d nodes that are no peers are connected", maxStranger)
	case s != nil && s.process != process && s.alive():
		return nil, fault.Newf(fault.DuplicateBroker, "two processes say that they are node %v, one at %s, which stays, and one at %s", from, s.address, address).Try("stop one of them, or give each node a number of its own")
	case s != nil && stream && s.streams >= h.MaxStreams:
		return nil, fault.Newf(fault.PolicyViolation, "node %v has %d streams open", from, h.MaxStreams).Try("close some of them, or set " + h.Package + ".MaxStreams")
	case s == nil:
		s = &Source{hub: h, ID: from, room: make(chan struct{})}
		h.sources[from] = s
	}
	s.process, s.address = process, address
	s.users++
	if stream {
		s.streams++
	}
	if p := h.peers[from]; p != nil {
		p.alive()
	}
	return s, nil
}

// Held returns the nodes that are connected, or of whose frames the handler keeps some, and how many bytes it
// keeps.
func (h *Hub) Held() map[replica.NodeID][replica.Lanes]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[replica.NodeID][replica.Lanes]int{}
	for id, s := range h.sources {
		s.mu.Lock()
		all[id] = s.held
		s.mu.Unlock()
	}
	return all
}

// alive reports whether the node's process is connected: another one cannot take its place
// then. The connections of one that was killed are closed at once, and those of one whose machine is gone when
// they have been silent for a while.
func (s *Source) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current[replica.LaneControl] != nil
}

// Leave gives back what the hub's Source returned.
func (s *Source) Leave(stream bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.users--
	if stream {
		s.streams--
	}
	s.drop()
}

// drop forgets a source of which nothing is left. It needs the hub's lock.
func (s *Source) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 && s.held == [replica.Lanes]int{} && s.hub.sources[s.ID] == s {
		delete(s.hub.sources, s.ID)
	}
}

// cut ends the node's lanes.
func (s *Source) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.current {
		if i != nil {
			i.Cut()
		}
	}
}

// Inbound is a connection on which frames of one lane arrive.
type Inbound struct {
	Stop chan struct{} // closed when the connection is to end

	source *Source
	lane   replica.Lane
	close  func()
	once   sync.Once
	ended  chan struct{} // closed when no frame of it is being handled
}

// errReplaced ends a connection in whose place the same node opened another one.
var errReplaced = errors.New("the node has connected again")

// Cut ends the connection.
func (i *Inbound) Cut() {
	i.once.Do(func() {
		close(i.Stop)
		i.close()
	})
}

// Inbound gives a connection the place of the earlier one for the same lane, after that one's last frame.
// When the connection is to end, close is called once, and must not wait. The caller ends it when the hub's Ctx has
// ended already.
func (s *Source) Inbound(lane replica.Lane, close func()) *Inbound {
	in := &Inbound{source: s, lane: lane, close: close, Stop: make(chan struct{}), ended: make(chan struct{})}
	s.mu.Lock()
	before := s.current[lane]
	s.current[lane] = in
	s.mu.Unlock()
	if before != nil {
		before.Cut()
		<-before.ended
	}
	return in
}

// End says that the connection's last frame is handled.
func (i *Inbound) End() {
	i.source.mu.Lock()
	if i.source.current[i.lane] == i {
		i.source.current[i.lane] = nil
	}
	i.source.mu.Unlock()
	close(i.ended)
}

// Reserve counts the bytes of a frame that arrives, until Release. On a bulk lane it waits
// until there is room; on a control lane it reports that the frame is to be dropped.
func (i *Inbound) Reserve(bytes int) (keep bool, err error) {
	s := i.source
	for {
		s.mu.Lock()
		if s.held[i.lane] == 0 || s.held[i.lane]+bytes <= s.hub.laneBudget(i.lane) {
			s.held[i.lane] += bytes
			s.mu.Unlock()
			return true, nil
		}
		room := s.room
		s.mu.Unlock()
		if i.lane == replica.LaneControl {
			return false, nil
		}
		select {
		case <-room:
		case <-i.Stop:
			return false, errReplaced
		}
	}
}

// Release gives back what Reserve counted, at any time.
func (i *Inbound) Release(bytes int) {
	s := i.source
	s.mu.Lock()
	s.held[i.lane] -= bytes
	empty := s.held == [replica.Lanes]int{}
	close(s.room)
	s.room = make(chan struct{})
	s.mu.Unlock()
	if empty {
		s.hub.mu.Lock()
		s.drop()
		s.hub.mu.Unlock()
	}
}
