package tcp

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// Transport is a node's end of a cluster that is connected over TCP. It implements
// replica.Transport.
type Transport struct {
	hub *hub.Hub

	mu      sync.Mutex
	waiting []*conn // in their handshake, the oldest first
}

var _ replica.Transport = (*Transport)(nil)

// New returns a transport for a node of a cluster. It listens on address, but answers only once
// it is started; Addr says which port was chosen for port 0. All nodes give the
// same name to their cluster, so that nodes of different clusters do not mix.
func New(cluster, address string, options ...Option) (*Transport, error) {
	t, c := &Transport{}, hub.Defaults("tcp", cluster)
	for _, o := range options {
		o.apply(&c)
	}
	h, err := hub.New(c, address, t.connect)
	if err != nil {
		return nil, err
	}
	t.hub = h
	return t, nil
}

// Addr returns the address on which the transport listens.
func (t *Transport) Addr() string { return t.hub.Addr() }

// Start is replica.Transport's.
func (t *Transport) Start(self replica.NodeID, h replica.Handler) error {
	return t.hub.Start(self, h, t.accept)
}

// SetPeers is replica.Transport's. An address is a host and a port.
func (t *Transport) SetPeers(peers map[replica.NodeID]string) { t.hub.SetPeers(peers) }

// MaxFrame is replica.Transport's.
func (t *Transport) MaxFrame(lane replica.Lane) int { return t.hub.MaxFrame(lane) }

// Send is replica.Transport's. It also refuses frames of more than 65,536 slices.
func (t *Transport) Send(to replica.NodeID, lane replica.Lane, f *replica.Frame) bool {
	return t.hub.Send(to, lane, f)
}

// PeerError returns why frames cannot be sent to a peer at the moment, and nil if
// they can.
func (t *Transport) PeerError(id replica.NodeID) error { return t.hub.PeerError(id) }

// Open is replica.Transport's.
func (t *Transport) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	return t.hub.Open(to, func(p *hub.Peer) (replica.Stream, error) {
		dialing, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		defer context.AfterFunc(t.hub.Ctx, func() { stop(context.Cause(t.hub.Ctx)) })()
		c, err := t.dial(dialing, p, purposeStream, kind)
		if err != nil {
			return nil, err
		}
		s := t.newStream(c, to, p.Address)
		if s == nil {
			return nil, context.Cause(t.hub.Ctx)
		}
		s.follow(ctx)
		return s, nil
	})
}

// Close is replica.Transport's.
func (t *Transport) Close() error {
	return t.hub.Close(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, c := range t.waiting {
			_ = c.Close()
		}
	})
}
