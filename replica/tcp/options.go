package tcp

import (
	"crypto/tls"
	"time"

	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/replica"
)

// Option changes what New returns. One of TLS and Plaintext is required.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

type config = hub.Config

// TLS has both sides of each connection present a certificate and verify the
// other's. The config needs Certificates (or GetCertificate and GetClientCertificate)
// and RootCAs; ClientCAs is RootCAs unless set. Unless ServerName is set, a peer's
// certificate must be valid for the host in its address. MinVersion is TLS 1.3 unless
// set. The config is copied.
//
// A config that verifies in VerifyConnection instead may set InsecureSkipVerify and a
// weaker ClientAuth that requires a certificate.
func TLS(c *tls.Config) Option {
	return option(func(o *config) {
		o.SetTLS(c)
		if o.TLS == nil {
			return
		}
		if o.TLS.NextProtos == nil {
			o.TLS.NextProtos = []string{"runnel-replica"}
		}
		if o.TLS.ClientSessionCache == nil {
			o.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(256) // streams connect often
		}
	})
}

// Plaintext uses no encryption and verifies no identity: every process that reaches
// the port can be a node of the cluster. It is for tests, and for networks where
// something else encrypts.
func Plaintext() Option { return option(func(o *config) { o.Plaintext = true }) }

// VerifyNode has verify decide whether a TLS connection belongs to the node that the
// other side says it is, for instance by a name in its certificate. Without it, any
// certificate that TLS accepts may speak for any node. It is called on several goroutines.
func VerifyNode(verify func(node replica.NodeID, state tls.ConnectionState) error) Option {
	return option(func(o *config) { o.Verify = verify })
}

// MaxFrame is the largest bulk frame that is sent and accepted, 16 MiB unless set.
// Control frames have at most 1 MiB.
func MaxFrame(bytes int) Option { return option(func(o *config) { o.FrameLimit = bytes }) }

// Budget is how many bytes of bulk frames wait to be sent to one peer, and as many
// again that arrived from it and are kept by the handler. It is 64 MiB unless set, and
// at least twice MaxFrame. For control frames it is 8 MiB.
func Budget(bytes int) Option { return option(func(o *config) { o.Budget = bytes }) }

// MaxStreams is how many streams one node may have open to this one, 256 unless set.
func MaxStreams(n int) Option { return option(func(o *config) { o.MaxStreams = n }) }

// KeepAlive is how often a peer is pinged, and how long it may take to answer until
// it counts as down: 200 ms and 1 s unless set.
func KeepAlive(interval, timeout time.Duration) Option {
	return option(func(o *config) { o.Interval, o.Timeout = interval, timeout })
}

// HandshakeTimeout is how long connecting may take, with TLS and the exchange of
// identities, 5 s unless set.
func HandshakeTimeout(d time.Duration) Option {
	return option(func(o *config) { o.HandshakeTimeout = d })
}

// Logger sets a logger, such as a *slog.Logger, for peers that come up, go down or
// cannot be reached and why, for connections from others that are refused (one line a
// second at most), and for nodes that break the protocol. The attributes are node, peer,
// address, from, others and error. The default is nil: nothing is logged. Nothing but
// Close waits for the logger.
func Logger(l journal.Logger) Option { return option(func(o *config) { o.Logger = l }) }
