package grpc

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

const (
	window = 1 << 20 // bytes of a call that arrive before they are received

	// probe is how often a connection without traffic is probed by gRPC, in case that its
	// peer is gone and the control lane's pings do not tell. A server lets nobody do it more often.
	probe = 10 * time.Second
)

// client returns a connection to an address, which is not yet connected.
func (t *Transport) client(address string) (*grpc.ClientConn, error) {
	secure := insecure.NewCredentials()
	if t.hub.TLS != nil {
		secure = credentials.NewTLS(t.hub.TLS)
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{})),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDisableHealthCheck(),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: hub.ShortestPause, Multiplier: 2, Jitter: 0.5, MaxDelay: hub.LongestPause},
			MinConnectTimeout: t.hub.HandshakeTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: probe, Timeout: max(probe, t.hub.Timeout)}),
	}, t.dial...)
	return grpc.NewClient("passthrough:///"+address, options...)
}

// call is a call to another node, which has accepted it.
type call struct {
	grpc.ClientStream
	ctx    context.Context // of the call; its cause says why it was given up
	cancel context.CancelCauseFunc
}

// failure returns why a call ended, for the error of RecvMsg.
func (c *call) failure(err error) error {
	switch {
	case c.ctx.Err() != nil && !errors.Is(context.Cause(c.ctx), context.Canceled):
		return context.Cause(c.ctx)
	case err == io.EOF:
		return fault.Newf(fault.NetworkException, "the peer has ended the call")
	}
	return refused(err, c.Trailer())
}

// call calls a method of a peer, and returns when the peer has accepted. The call lives as long
// as ctx does; if that ends first, the error is its cause.
func (t *Transport) call(ctx context.Context, conn *grpc.ClientConn, m method, to replica.NodeID, kind replica.StreamKind) (*call, error) {
	c := &call{}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	late := time.AfterFunc(t.hub.HandshakeTimeout, func() {
		c.cancel(fault.Newf(fault.NetworkException, "no answer within %v", t.hub.HandshakeTimeout))
	})
	err := t.introduce(c, conn, m, hello{cluster: t.hub.Cluster, from: t.hub.Self, to: to, process: t.hub.Process, kind: kind})
	if !late.Stop() && err == nil {
		err = context.Cause(c.ctx)
	}
	if err != nil {
		c.cancel(err)
		return nil, err
	}
	return c, nil
}

func (t *Transport) introduce(c *call, conn *grpc.ClientConn, m method, h hello) (err error) {
	c.ClientStream, err = conn.NewStream(h.outgoing(c.ctx), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m.path())
	if err != nil {
		if cause := context.Cause(c.ctx); cause != nil {
			return cause
		}
		return err
	}
	accepted, err := c.Header()
	if err != nil || accepted == nil {
		if err == nil {
			err = c.RecvMsg(&incoming{pool: &t.hub.Buffers}) // a refusal
		}
		return c.failure(err)
	}
	return t.verifyNode(c.Context(), h.to)
}
