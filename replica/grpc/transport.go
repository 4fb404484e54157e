package grpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// Transport is a node's end of a cluster that is connected over gRPC. It implements
// replica.Transport.
type Transport struct {
	hub    *hub.Hub
	server *grpc.Server
	dial   []grpc.DialOption
}

var _ replica.Transport = (*Transport)(nil)

// New returns a transport for a node of a cluster. It listens on address, but answers only once
// it is started; Addr says which port was chosen for port 0. All nodes give the
// same name to their cluster, so that nodes of different clusters do not mix.
func New(cluster, address string, options ...Option) (*Transport, error) {
	t, c := &Transport{}, config{Config: hub.Defaults("grpc", cluster)}
	for _, o := range options {
		o.apply(&c)
	}
	h, err := hub.New(c.Config, address, t.connect)
	if err != nil {
		return nil, err
	}
	t.hub, t.dial = h, c.dial
	t.server = t.newServer(c.server)
	return t, nil
}

// Addr returns the address on which the transport listens.
func (t *Transport) Addr() string { return t.hub.Addr() }

// Start is replica.Transport's.
func (t *Transport) Start(self replica.NodeID, h replica.Handler) error {
	return t.hub.Start(self, h, t.serve)
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

// Open is replica.Transport's. The peer's lanes must be connected: Open waits for the first attempt
// to connect them, and no longer.
func (t *Transport) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	return t.hub.Open(to, func(p *hub.Peer) (replica.Stream, error) {
		l, err := p.Link(ctx)
		if err != nil {
			return nil, err
		}
		life, end := context.WithCancelCause(context.Background())
		defer context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })()
		defer context.AfterFunc(p.Ctx, func() { end(context.Cause(p.Ctx)) })()
		c, err := t.call(life, l.(*link).streams(), methodStream, to, kind)
		if err == nil {
			err = context.Cause(ctx) // of which the call may not have heard yet
		}
		if err != nil {
			end(err)
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			return nil, t.because(to, p.Address, err)
		}
		s := t.newStream(c, to, p.Address, end)
		if s == nil {
			end(context.Cause(t.hub.Ctx))
			return nil, context.Cause(t.hub.Ctx)
		}
		s.follow(ctx)
		return s, nil
	})
}

// Close is replica.Transport's.
func (t *Transport) Close() error { return t.hub.Close(t.server.Stop) }
