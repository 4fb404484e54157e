package transporttest

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// Settings are what a transport over a network is opened with. What is zero, other than TLS, stays as the
// transport has it.
type Settings struct {
	Cluster          string      // its name
	Address          string      // on which the transport listens
	TLS              *tls.Config // nil for plaintext
	Verify           func(replica.NodeID, tls.ConnectionState) error
	MaxFrame         int
	Budget           int
	MaxStreams       int
	Interval         time.Duration // of keeping alive
	Timeout          time.Duration // likewise; set together with Interval
	HandshakeTimeout time.Duration
	Logger           Logger
}

// Logger is what a transport says its lines to.
type Logger interface {
	Info(message string, attrs ...any)
	Warn(message string, attrs ...any)
	Error(message string, attrs ...any)
}

// Networked is a transport over a network, which [Open] returns.
type Networked interface {
	replica.Transport

	// Addr is the address on which it listens.
	Addr() string

	// PeerError is why frames cannot be sent to a peer at the moment, or nil.
	PeerError(replica.NodeID) error
}

// Open opens a transport. It is not started.
type Open func(Settings) (Networked, error)

// loopback is nodes on loopback, each behind a proxy.
type loopback struct {
	*wires
	open     Open
	settings Settings
}

// patient returns settings with which nodes take a slow machine for nothing else, unless they say more: not for a dead
// peer, nor for one that is no node.
func (s Settings) patient() Settings {
	if s.Timeout == 0 {
		s.Interval, s.Timeout = 10*time.Second, 10*time.Minute
	}
	if s.HandshakeTimeout == 0 {
		s.HandshakeTimeout = 10 * time.Minute
	}
	return s
}

// Loopback is for [Run]: clusters on loopback of transports that are opened so. They are patient; but where a cut network
// is to be noticed, they are not.
func Loopback(open Open, s Settings) func(testing.TB) Cluster {
	return func(t testing.TB) Cluster {
		c := &loopback{newWires(t), open, s}
		c.settings.Cluster, c.settings.Address = "test", "127.0.0.1:0"
		if strings.HasSuffix(t.Name(), "/CutNetwork") {
			c.settings.Interval, c.settings.Timeout = 100*time.Millisecond, 500*time.Millisecond
		}
		c.settings = c.settings.patient()
		return c
	}
}

// New is Cluster's.
func (c *loopback) New(t testing.TB) (replica.Transport, string) {
	n, err := c.open(c.settings)
	require.NoError(t, err)
	return n, c.proxy(t, n.Addr())
}
