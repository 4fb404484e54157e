package tcp

import (
	"crypto/tls"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/replica"
)

// Option changes what New returns. One of TLS and Plaintext is required.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

type config struct {
	cluster          string
	tls              *tls.Config // nil for plaintext
	plaintext        bool
	verify           func(replica.NodeID, tls.ConnectionState) error
	maxFrame         int // bulk
	budget           int // bulk, for each peer and direction
	maxStreams       int // that one node may open
	interval         time.Duration
	timeout          time.Duration
	handshakeTimeout time.Duration
	problem          error // what TLS refuses
	logger           journal.Logger
}

const (
	controlMaxFrame = 1 << 20
	controlBudget   = 8 << 20
	maxSlices       = 1 << 16 // of a frame

	// frameCost is what a frame counts in budgets beside its bytes, so that empty
	// ones are not free.
	frameCost = 128
)

func defaults(cluster string) config {
	return config{
		cluster:  cluster,
		maxFrame: 16 << 20, budget: 64 << 20, maxStreams: 256,
		interval: 200 * time.Millisecond, timeout: time.Second, handshakeTimeout: 5 * time.Second,
	}
}

// TLS has both sides of each connection present a certificate and verify the
// other's. The config needs Certificates (or GetCertificate and GetClientCertificate)
// and RootCAs; ClientCAs is RootCAs unless set. Unless ServerName is set, a peer's
// certificate must be valid for the host in its address. MinVersion is TLS 1.3 unless
// set. The config is copied.
//
// A config that verifies in VerifyConnection instead may set InsecureSkipVerify and a
// weaker ClientAuth that requires a certificate.
func TLS(c *tls.Config) Option {
	return option(func(o *config) { o.tls, o.problem = mutual(c) })
}

// Plaintext uses no encryption and verifies no identity: every process that reaches
// the port can be a node of the cluster. It is for tests, and for networks where
// something else encrypts.
func Plaintext() Option { return option(func(o *config) { o.plaintext = true }) }

// VerifyNode has verify decide whether a TLS connection belongs to the node that the
// other side says it is, for instance by a name in its certificate. Without it, any
// certificate that TLS accepts may speak for any node. It is called on several goroutines.
func VerifyNode(verify func(node replica.NodeID, state tls.ConnectionState) error) Option {
	return option(func(o *config) { o.verify = verify })
}

// MaxFrame is the largest bulk frame that is sent and accepted, 16 MiB unless set.
// Control frames have at most 1 MiB.
func MaxFrame(bytes int) Option { return option(func(o *config) { o.maxFrame = bytes }) }

// Budget is how many bytes of bulk frames wait to be sent to one peer, and as many
// again that arrived from it and are kept by the handler. It is 64 MiB unless set, and
// at least twice MaxFrame. For control frames it is 8 MiB.
func Budget(bytes int) Option { return option(func(o *config) { o.budget = bytes }) }

// MaxStreams is how many streams one node may have open to this one, 256 unless set.
func MaxStreams(n int) Option { return option(func(o *config) { o.maxStreams = n }) }

// KeepAlive is how often a peer is pinged, and how long it may take to answer until
// it counts as down: 200 ms and 1 s unless set.
func KeepAlive(interval, timeout time.Duration) Option {
	return option(func(o *config) { o.interval, o.timeout = interval, timeout })
}

// HandshakeTimeout is how long connecting may take, with TLS and the exchange of
// identities, 5 s unless set.
func HandshakeTimeout(d time.Duration) Option {
	return option(func(o *config) { o.handshakeTimeout = d })
}

// Logger sets a logger, such as a *slog.Logger, for peers that come up, go down or
// cannot be reached and why, for connections from others that are refused (one line a
// second at most), and for nodes that break the protocol. The attributes are node, peer,
// address, from, others and error. The default is nil: nothing is logged. Nothing but
// Close waits for the logger.
func Logger(l journal.Logger) Option { return option(func(o *config) { o.logger = l }) }

// check reports everything that is wrong with the options.
func (c *config) check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fault.Newf(fault.InvalidConfig, format, args...))
		}
	}
	wrong(c.cluster == "" || len(c.cluster) > 255, "the cluster's name has %d bytes, and should have 1 to 255", len(c.cluster))
	wrong(c.tls == nil && !c.plaintext && c.problem == nil, "a transport over TCP needs tcp.TLS, or tcp.Plaintext if it is to have no security")
	wrong((c.tls != nil || c.problem != nil) && c.plaintext, "tcp.TLS and tcp.Plaintext exclude each other")
	wrong(c.verify != nil && c.plaintext, "tcp.VerifyNode needs tcp.TLS")
	wrong(c.maxFrame < 64<<10 || c.maxFrame > 1<<30, "tcp.MaxFrame is %d, and should be 64 KiB to 1 GiB", c.maxFrame)
	wrong(c.budget < 2*c.maxFrame, "tcp.Budget is %d, less than twice tcp.MaxFrame, which is %d", c.budget, c.maxFrame)
	wrong(c.maxStreams < 1, "tcp.MaxStreams is %d", c.maxStreams)
	wrong(c.interval <= 0 || c.timeout < 2*c.interval, "tcp.KeepAlive has a timeout of %v, less than two of its intervals of %v", c.timeout, c.interval)
	wrong(c.handshakeTimeout <= 0, "tcp.HandshakeTimeout is %v", c.handshakeTimeout)
	if c.problem != nil {
		errs = append(errs, c.problem)
	}
	return errors.Join(errs...)
}

// mutual returns the config with what makes it mutual.
func mutual(given *tls.Config) (*tls.Config, error) {
	if given == nil {
		return nil, fault.Newf(fault.InvalidConfig, "tcp.TLS has no config").Try("use tcp.Plaintext if there is to be no security")
	}
	c := given.Clone()
	custom := c.VerifyConnection != nil || c.VerifyPeerCertificate != nil
	if len(c.Certificates) == 0 && (c.GetCertificate == nil || c.GetClientCertificate == nil) {
		return nil, fault.Newf(fault.InvalidConfig, "the config of tcp.TLS has no certificate, which each node needs in both roles")
	}
	if c.InsecureSkipVerify && !custom {
		return nil, fault.Newf(fault.InvalidConfig, "the config of tcp.TLS verifies nothing (InsecureSkipVerify)").Try("set RootCAs, or use tcp.Plaintext")
	}
	if c.ClientCAs == nil {
		c.ClientCAs = c.RootCAs
	}
	if c.ClientCAs == nil && !custom {
		// Or everyone with a certificate of a public authority would be let in.
		return nil, fault.Newf(fault.InvalidConfig, "the config of tcp.TLS has neither RootCAs nor ClientCAs").Try("set RootCAs to the authority that signs the nodes' certificates")
	}
	if !custom || c.ClientAuth < tls.RequireAnyClientCert {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	if c.NextProtos == nil {
		c.NextProtos = []string{"runnel-replica"}
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(256) // streams connect often
	}
	return c, nil
}
