package grpc_test

import (
	"testing"

	"github.com/runnel-go/runnel/replica/grpc"
	"github.com/runnel-go/runnel/replica/transporttest"
)

// open opens a transport with these settings.
func open(s transporttest.Settings) (transporttest.Networked, error) {
	var options []grpc.Option
	set := func(is bool, o grpc.Option) {
		if is {
			options = append(options, o)
		}
	}
	set(s.TLS == nil, grpc.Plaintext())
	set(s.TLS != nil, grpc.TLS(s.TLS))
	set(s.Verify != nil, grpc.VerifyNode(s.Verify))
	set(s.MaxFrame != 0, grpc.MaxFrame(s.MaxFrame))
	set(s.Budget != 0, grpc.Budget(s.Budget))
	set(s.MaxStreams != 0, grpc.MaxStreams(s.MaxStreams))
	set(s.Timeout != 0, grpc.KeepAlive(s.Interval, s.Timeout))
	set(s.HandshakeTimeout != 0, grpc.HandshakeTimeout(s.HandshakeTimeout))
	set(s.Logger != nil, grpc.Logger(s.Logger))
	return grpc.New(s.Cluster, s.Address, options...)
}

// small are settings whose limits are soon reached.
var small = transporttest.Settings{MaxFrame: 2 << 20, Budget: 8 << 20}

func TestConformanceWithTLS(t *testing.T) {
	secure := small
	secure.TLS = transporttest.Certificate(t)
	transporttest.Run(t, transporttest.Loopback(open, secure))
}

func TestConformanceInPlaintext(t *testing.T) {
	transporttest.Run(t, transporttest.Loopback(open, small))
}

func TestHandshakes(t *testing.T) { transporttest.RunHandshakes(t, open) }
