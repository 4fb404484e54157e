package hub

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/replica"
)

// Hub is a node's end of a cluster. It is safe for concurrent use.
type Hub struct {
	Config
	Listener net.Listener
	Process  uint64 // a random number, by which others know this process
	Buffers  buffers.Pool
	Journal  *journal.Journal

	Self    replica.NodeID  // constant after Start
	Handler replica.Handler // likewise

	Ctx  context.Context // ends with Close
	Work sync.WaitGroup  // every goroutine of the transport, and every call of others

	cancel   context.CancelCauseFunc
	connect  Connect
	refusals refusals

	// routes is what Send looks up: the peers, nil unless started.
	routes atomic.Pointer[map[replica.NodeID]*Peer]

	mu      sync.Mutex
	started bool
	closed  bool
	wanted  map[replica.NodeID]string // the latest SetPeers
	peers   map[replica.NodeID]*Peer
	leaving map[replica.NodeID]*Peer // the last one that was removed or replaced
	sources map[replica.NodeID]*Source
	streams map[Stream]struct{}
}

// Stream is one end of a stream.
type Stream interface {
	// Peer is the node at the other end, and where it is.
	Peer() (replica.NodeID, string)

	// Break makes the stream unusable at once, unless it is already. It does not wait.
	Break(cause error)
}

// New returns a hub that listens on an address, and connects to peers by a function.
func New(c Config, address string, connect Connect) (*Hub, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	h := &Hub{
		Config:  c,
		Process: rand.Uint64(),
		connect: connect,
		peers:   map[replica.NodeID]*Peer{},
		leaving: map[replica.NodeID]*Peer{},
		sources: map[replica.NodeID]*Source{},
		streams: map[Stream]struct{}{},
	}
	h.Ctx, h.cancel = context.WithCancelCause(context.Background())
	l, err := (&net.ListenConfig{KeepAliveConfig: h.KeepAlive()}).Listen(h.Ctx, "tcp", address)
	if err != nil {
		return nil, fault.Newf(fault.InvalidConfig, "listening on %q", address).Because(err).Try("choose an address of this machine that no one else listens on")
	}
	h.Listener, h.Journal = l, journal.New(c.Logger)
	return h, nil
}

// KeepAlive lets the operating system notice dead peers of idle connections.
func (c *Config) KeepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: c.Timeout, Interval: c.Timeout, Count: 3}
}

// Addr is the address on which the hub listens.
func (h *Hub) Addr() string { return h.Listener.Addr().String() }

// Start is replica.Transport's. It runs serve on a goroutine, which ends with Ctx.
func (h *Hub) Start(self replica.NodeID, handler replica.Handler, serve func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return fault.Newf(fault.Closed, "the transport at %s", h.Addr())
	case self == 0 || handler == nil:
		return fault.Newf(fault.InvalidConfig, "a transport needs a node other than 0, and a handler")
	case h.started:
		return fault.Newf(fault.InvalidRequest, "the transport at %s has been started as node %v", h.Addr(), h.Self)
	}
	h.Self, h.Handler, h.started = self, handler, true
	h.Work.Go(serve)
	h.connectPeers()
	return nil
}

// Enter counts a call in Work, which Close waits for, unless Close has begun or Start has not been called.
func (h *Hub) Enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.started || h.closed {
		return false
	}
	h.Work.Add(1)
	return true
}

// Go runs f on a goroutine that Close waits for, or returns false where Enter does.
func (h *Hub) Go(f func()) bool {
	if !h.Enter() {
		return false
	}
	go func() {
		defer h.Work.Done()
		f()
	}()
	return true
}

// SetPeers is replica.Transport's. An address is a host and a port.
func (h *Hub) SetPeers(peers map[replica.NodeID]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wanted = maps.Clone(peers)
	if h.started && !h.closed {
		h.connectPeers()
	}
}

// connectPeers makes the peers those that are wanted. It needs the lock.
func (h *Hub) connectPeers() {
	for id, p := range h.peers {
		if address, stays := h.wanted[id]; !stays || address != p.Address {
			p.stop(fault.Newf(fault.Closed, "node %v at %s is no peer of node %v any more", id, p.Address, h.Self))
			h.leaving[id] = p
			delete(h.peers, id)
		}
	}
	for id, address := range h.wanted {
		if id != h.Self && h.peers[id] == nil {
			p := newPeer(h, id, address)
			before := h.leaving[id]
			delete(h.leaving, id)
			h.peers[id] = p
			h.Work.Go(func() { p.run(before) })
		}
	}
	routes := maps.Clone(h.peers)
	h.routes.Store(&routes)
}

// Peer returns a peer, or nil.
func (h *Hub) Peer(id replica.NodeID) *Peer {
	routes := h.routes.Load()
	if routes == nil {
		return nil
	}
	return (*routes)[id]
}

// Send is replica.Transport's. It also refuses frames of more than MaxSlices slices.
func (h *Hub) Send(to replica.NodeID, lane replica.Lane, f *replica.Frame) bool {
	p := h.Peer(to)
	if p == nil || lane >= replica.Lanes || len(f.Payload) > MaxSlices || f.Size() > h.MaxFrame(lane) || !p.Lanes[lane].put(f) {
		f.Done()
		return false
	}
	return true
}

// PeerError returns why frames cannot be sent to a peer at the moment, and nil if
// they can.
func (h *Hub) PeerError(id replica.NodeID) error {
	if p := h.Peer(id); p != nil {
		return p.problem()
	}
	return h.unknown(id)
}

func (h *Hub) unknown(id replica.NodeID) error {
	return fault.Newf(fault.NetworkException, "node %v has no address of node %v", h.Self, id).Try("name it in SetPeers")
}

// Open opens a stream to a peer by a function. Close waits for it.
func (h *Hub) Open(to replica.NodeID, open func(*Peer) (replica.Stream, error)) (replica.Stream, error) {
	if !h.Enter() {
		return nil, fault.Newf(fault.Closed, "the transport at %s is not running", h.Addr())
	}
	defer h.Work.Done()
	if to == h.Self {
		return nil, fault.Newf(fault.InvalidRequest, "node %v connects to itself", to)
	}
	p := h.Peer(to)
	if p == nil {
		return nil, h.unknown(to)
	}
	return open(p)
}

// Add has the hub break a stream when the connection to its peer is lost, and when the hub is closed.
// It returns false if the hub is closed.
func (h *Hub) Add(s Stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.streams[s] = struct{}{}
	}
	return !h.closed
}

// Remove forgets a stream.
func (h *Hub) Remove(s Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
}

// breakStreams breaks the streams to and from a node.
func (h *Hub) breakStreams(id replica.NodeID, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		if peer, address := s.Peer(); peer == id {
			s.Break(fault.Newf(fault.NetworkException, "the connection to node %v at %s is lost", id, address).Because(cause))
		}
	}
}

// Close is replica.Transport's. What else is to be ended, once Ctx has, end does.
func (h *Hub) Close(end func()) error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		cause := fault.Newf(fault.Closed, "the transport of node %v at %s", h.Self, h.Addr())
		for s := range h.streams {
			s.Break(cause) // first, or the peer's reaction to what follows would be the cause
		}
		h.cancel(cause)
		_ = h.Listener.Close()
		for _, s := range h.sources {
			s.cut()
		}
	}
	h.mu.Unlock()
	end()
	h.Work.Wait()
	h.Journal.Close()
	return nil
}
