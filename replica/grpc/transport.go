package grpc

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/replica"
)

// Transport is a node's end of a cluster that is connected over gRPC. It implements
// replica.Transport.
type Transport struct {
	config
	listener net.Listener
	process  uint64 // a random number, by which others know this process
	buffers  buffers.Pool
	journal  *journal.Journal

	self    replica.NodeID  // constant after Start
	handler replica.Handler // likewise

	refusals refusals

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // every goroutine, and every call of others

	// routes is what Send looks up: the peers, nil unless started.
	routes atomic.Pointer[map[replica.NodeID]*peer]

	mu      sync.Mutex
	running *grpc.Server // nil until Start
	closed  bool
	wanted  map[replica.NodeID]string // the latest SetPeers
	peers   map[replica.NodeID]*peer
	leaving map[replica.NodeID]*peer // the last one that was removed or replaced
	sources map[replica.NodeID]*source
	streams map[*stream]struct{}
}

var _ replica.Transport = (*Transport)(nil)

// New returns a transport for a node of a cluster. It listens on address, but answers only once
// it is started; Addr says which port was chosen for port 0. All nodes give the
// same name to their cluster, so that nodes of different clusters do not mix.
func New(cluster, address string, options ...Option) (*Transport, error) {
	t := &Transport{
		config:  defaults(cluster),
		process: rand.Uint64(),
		peers:   map[replica.NodeID]*peer{},
		leaving: map[replica.NodeID]*peer{},
		sources: map[replica.NodeID]*source{},
		streams: map[*stream]struct{}{},
	}
	for _, o := range options {
		o.apply(&t.config)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	t.journal = journal.New(t.logger)
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	l, err := (&net.ListenConfig{}).Listen(t.ctx, "tcp", address)
	if err != nil {
		return nil, fault.Newf(fault.InvalidConfig, "listening on %q", address).Because(err).Try("choose an address of this machine that no one else listens on")
	}
	t.listener = l
	return t, nil
}

// Addr returns the address on which the transport listens.
func (t *Transport) Addr() string { return t.listener.Addr().String() }

// Start is replica.Transport's.
func (t *Transport) Start(self replica.NodeID, h replica.Handler) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return fault.Newf(fault.Closed, "the transport at %s", t.Addr())
	case self == 0 || h == nil:
		return fault.Newf(fault.InvalidConfig, "a transport needs a node other than 0, and a handler")
	case t.running != nil:
		return fault.Newf(fault.InvalidRequest, "the transport at %s has been started as node %v", t.Addr(), t.self)
	}
	t.self, t.handler = self, h
	server := t.newServer()
	t.running = server
	t.work.Go(func() { t.serve(server, t.listener) })
	t.connectPeers()
	return nil
}

// enter counts a call that Close waits for, unless Close has begun or Start has not been called.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil || t.closed {
		return false
	}
	t.work.Add(1)
	return true
}

// SetPeers is replica.Transport's. An address is a host and a port.
func (t *Transport) SetPeers(peers map[replica.NodeID]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = maps.Clone(peers)
	if t.running != nil && !t.closed {
		t.connectPeers()
	}
}

// connectPeers makes the peers those that are wanted. It needs the lock.
func (t *Transport) connectPeers() {
	for id, p := range t.peers {
		if address, stays := t.wanted[id]; !stays || address != p.address {
			p.stop(fault.Newf(fault.Closed, "node %v at %s is no peer of node %v any more", id, p.address, t.self))
			t.leaving[id] = p
			delete(t.peers, id)
		}
	}
	for id, address := range t.wanted {
		if id != t.self && t.peers[id] == nil {
			p := newPeer(t, id, address)
			before := t.leaving[id]
			delete(t.leaving, id)
			t.peers[id] = p
			t.work.Go(func() { p.run(before) })
		}
	}
	routes := maps.Clone(t.peers)
	t.routes.Store(&routes)
}

// peer returns a peer, or nil.
func (t *Transport) peer(id replica.NodeID) *peer {
	routes := t.routes.Load()
	if routes == nil {
		return nil
	}
	return (*routes)[id]
}

// MaxFrame is replica.Transport's.
func (t *Transport) MaxFrame(lane replica.Lane) int {
	if lane == replica.LaneControl {
		return min(controlMaxFrame, t.maxFrame)
	}
	return t.maxFrame
}

// laneBudget is how many bytes of a lane wait to be sent to a peer.
func (c *config) laneBudget(lane replica.Lane) int {
	if lane == replica.LaneControl {
		return controlBudget
	}
	return c.budget
}

// Send is replica.Transport's. It also refuses frames of more than 65,536 slices.
func (t *Transport) Send(to replica.NodeID, lane replica.Lane, f *replica.Frame) bool {
	p := t.peer(to)
	if p == nil || lane >= replica.Lanes || len(f.Payload) > maxSlices || f.Size() > t.MaxFrame(lane) || !p.lanes[lane].put(f) {
		f.Done()
		return false
	}
	return true
}

// PeerError returns why frames cannot be sent to a peer at the moment, and nil if
// they can.
func (t *Transport) PeerError(id replica.NodeID) error {
	if p := t.peer(id); p != nil {
		return p.problem()
	}
	return t.unknown(id)
}

func (t *Transport) unknown(id replica.NodeID) error {
	return fault.Newf(fault.NetworkException, "node %v has no address of node %v", t.self, id).Try("name it in SetPeers")
}

// Open is replica.Transport's. The peer's lanes must be connected: Open waits for the first attempt
// to connect them, and no longer.
func (t *Transport) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	if !t.enter() {
		return nil, fault.Newf(fault.Closed, "the transport at %s is not running", t.Addr())
	}
	defer t.work.Done()
	if to == t.self {
		return nil, fault.Newf(fault.InvalidRequest, "node %v connects to itself", to)
	}
	p := t.peer(to)
	if p == nil {
		return nil, t.unknown(to)
	}
	select {
	case <-p.tried:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := p.standing.Load()
	if now.problem != nil {
		return nil, now.problem
	}
	life, end := context.WithCancelCause(context.Background())
	defer context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })()
	defer context.AfterFunc(p.ctx, func() { end(context.Cause(p.ctx)) })()
	c, err := t.call(life, now.link.streams(), methodStream, to, kind)
	if err != nil {
		end(err)
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, t.because(to, p.address, err)
	}
	s := t.newStream(c, to, p.address, end)
	if s == nil {
		end(context.Cause(t.ctx))
		return nil, context.Cause(t.ctx)
	}
	s.follow(ctx)
	return s, nil
}

// Close is replica.Transport's.
func (t *Transport) Close() error {
	t.mu.Lock()
	cause := fault.Newf(fault.Closed, "the transport of node %v at %s", t.self, t.Addr())
	server := t.running
	if !t.closed {
		t.closed = true
		for s := range t.streams {
			s.fail(cause) // first, or the peer's reaction to what follows would be the cause
		}
		t.cancel(cause)
		_ = t.listener.Close()
		for _, s := range t.sources {
			s.cut()
		}
	}
	t.mu.Unlock()
	if server != nil {
		server.Stop()
	}
	t.work.Wait()
	t.journal.Close()
	return nil
}
