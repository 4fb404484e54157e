package grpc

import (
	"context"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	remote "google.golang.org/grpc/peer"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// method is one of the service's. The first ones are the lanes.
type method int

const methodStream = method(replica.Lanes)

const serviceName = "runnel.replica.v1.Node"

// service is what a node serves. A Transport is its implementation.
var service = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "Control", Handler: handlerOf(method(replica.LaneControl)), ServerStreams: true, ClientStreams: true},
		{StreamName: "Bulk", Handler: handlerOf(method(replica.LaneBulk)), ServerStreams: true, ClientStreams: true},
		{StreamName: "Stream", Handler: handlerOf(methodStream), ServerStreams: true, ClientStreams: true},
	},
}

func (m method) path() string {
	return "/" + serviceName + "/" + [...]string{"Control", "Bulk", "Stream"}[m]
}

func handlerOf(m method) grpc.StreamHandler {
	return func(t any, call grpc.ServerStream) error { return t.(*Transport).answer(m, call) }
}

// maxConnections is how many connections are open at once.
const maxConnections = 1024

// newServer returns the server of a node.
func (t *Transport) newServer(more []grpc.ServerOption) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}), grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(t.hub.FrameLimit + 4*hub.MaxSlices + frameHead), grpc.MaxHeaderListSize(8 << 10),
		grpc.MaxConcurrentStreams(uint32(t.hub.MaxStreams + replica.Lanes)),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.ConnectionTimeout(t.hub.HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: time.Minute, Time: probe, Timeout: max(probe, t.hub.Timeout)}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: probe / 2, PermitWithoutStream: true}),
	}
	if t.hub.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(t.hub.TLS)))
	}
	s := grpc.NewServer(append(options, more...)...)
	s.RegisterService(&service, t)
	return s
}

// serve serves other nodes' calls until the server stops.
func (t *Transport) serve() {
	if err := t.server.Serve(netutil.LimitListener(t.hub.Listener, maxConnections)); err != nil && t.hub.Ctx.Err() == nil {
		t.hub.Journal.Error("a node accepts no more connections", "node", t.hub.Self, "error", err)
	}
}

// answer serves a call of another node.
func (t *Transport) answer(m method, call grpc.ServerStream) error {
	if !t.hub.Enter() {
		return fault.Newf(fault.Closed, "the transport of node %v", t.hub.Self)
	}
	defer t.hub.Work.Done()
	address := "an unknown address"
	if p, ok := remote.FromContext(call.Context()); ok {
		address = p.Addr.String()
	}
	h, s, err := t.meet(m, call.Context(), address)
	if err != nil {
		t.hub.NoteRefusal(address, err)
		return refuse(call, err)
	}
	defer s.Leave(m == methodStream)
	if m == methodStream {
		err = t.serveStream(call, s.ID, h.kind, address)
	} else {
		err = t.serveLane(call, s, replica.Lane(m))
	}
	if err != nil {
		t.hub.NoteBreach(h.from, address, err)
		return refuse(call, err)
	}
	return nil
}

// meet reads a call's metadata, and decides whether it is accepted.
func (t *Transport) meet(m method, ctx context.Context, address string) (h hello, s *hub.Source, err error) {
	if h, err = readHello(ctx); err == nil {
		if err = t.judge(ctx, h); err == nil {
			s, err = t.hub.Source(h.from, h.process, m == methodStream, address)
		}
	}
	return h, s, err
}
