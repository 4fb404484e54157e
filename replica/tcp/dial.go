package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// dial connects to a peer, which has accepted the connection when dial returns. When ctx
// ends, the error is its cause.
func (t *Transport) dial(ctx context.Context, p *hub.Peer, what purpose, kind replica.StreamKind) (*conn, error) {
	limited, cancel := context.WithTimeout(ctx, t.hub.HandshakeTimeout)
	defer cancel()
	c, err := t.greet(limited, p, hello{protocolVersion, what, kind, t.hub.Self, p.ID, t.hub.Process, t.hub.Cluster})
	if err == nil {
		return c, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if limited.Err() != nil {
		err = fault.Newf(fault.NetworkException, "no answer within %v", t.hub.HandshakeTimeout)
	}
	return nil, t.because(p.ID, p.Address, err)
}

// greet dials, and says hello.
func (t *Transport) greet(ctx context.Context, p *hub.Peer, h hello) (*conn, error) {
	raw, err := (&net.Dialer{KeepAliveConfig: t.hub.KeepAlive()}).DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return nil, err
	}
	c := newConn(raw)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	err = t.introduce(c, p, h)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (t *Transport) introduce(c *conn, p *hub.Peer, h hello) error {
	_ = c.SetDeadline(time.Now().Add(t.hub.HandshakeTimeout))
	if t.hub.TLS != nil {
		config := t.hub.TLS
		if config.ServerName == "" {
			host, _, err := net.SplitHostPort(p.Address)
			if err != nil {
				return err
			}
			config = config.Clone()
			config.ServerName = host
		}
		secured := tls.Client(c.socket, config)
		if err := secured.Handshake(); err != nil {
			return err
		}
		c.secure(secured)
		if err := t.hub.VerifyNode(p.ID, c.tls.ConnectionState()); err != nil {
			return err
		}
	}
	if err := c.write(net.Buffers{h.bytes()}); err != nil {
		return err
	}
	a, err := readAnswer(c.r)
	if err != nil {
		return err
	}
	if refused := refusal(h, a); refused != nil {
		return refused
	}
	return nil
}

// because returns the error for a connection with another node that failed, naming
// both nodes and the address.
func (t *Transport) because(id replica.NodeID, address string, err error) error {
	code, hint := fault.NetworkException, ""
	var invalid *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var remote *net.OpError
	switch {
	case errors.As(err, &invalid) || errors.As(err, &remote) && remote.Op == "remote error": // a TLS alert
		code, hint = fault.ClusterAuthorization, "give each node a certificate that the others trust and that is valid for its address"
	case errors.As(err, &record):
		code, hint = fault.InvalidRequest, "use TLS on all nodes, or on none"
	case fault.CodeOf(err) != fault.Unknown:
		code = fault.CodeOf(err)
	}
	return fault.Newf(code, "node %v and node %v at %s", t.hub.Self, id, address).Because(err).Try(hint)
}
