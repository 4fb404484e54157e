package tcp_test

import (
	"testing"

	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/replica/transporttest"
)

// open opens a transport with these settings.
func open(s transporttest.Settings) (transporttest.Networked, error) {
	var options []tcp.Option
	set := func(is bool, o tcp.Option) {
		if is {
			options = append(options, o)
		}
	}
	set(s.TLS == nil, tcp.Plaintext())
	set(s.TLS != nil, tcp.TLS(s.TLS))
	set(s.Verify != nil, tcp.VerifyNode(s.Verify))
	set(s.MaxFrame != 0, tcp.MaxFrame(s.MaxFrame))
	set(s.Budget != 0, tcp.Budget(s.Budget))
	set(s.MaxStreams != 0, tcp.MaxStreams(s.MaxStreams))
	set(s.Timeout != 0, tcp.KeepAlive(s.Interval, s.Timeout))
	set(s.HandshakeTimeout != 0, tcp.HandshakeTimeout(s.HandshakeTimeout))
	set(s.Logger != nil, tcp.Logger(s.Logger))
	return tcp.New(s.Cluster, s.Address, options...)
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
