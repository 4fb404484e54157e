package grpc

import (
	"crypto/tls"
	"errors"
	"time"

	"google.golang.org/grpc"

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
	server           []grpc.ServerOption
	dial             []grpc.DialOption
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
		maxFrame: 16 << 20, budget: 64 << 20, maxStreams: 64,
		interval: 200 * time.Millisecond, timeout: time.Second, handshakeTimeout: 5 * time.Second,
	}
}

// TLS has both sides of each connection present a certificate and verify the
// other's. The config needs Certificates (or GetCertificate and GetClientCertificate)
// and RootCAs; ClientCAs is RootCAs unless set. Unless ServerName is set, a peer's
// certificate must be valid for the host in its address. MinVersion is TLS 1.3 unless
// set. The config is copied.
func TLS(c *tls.Config) Option {
	return option(func(o *config) { o.tls, o.problem = mutual(c) })
}

// Plaintext uses no encryption and verifies no identity: every process that reaches
// the port can be a node of the cluster. It is for tests, and for networks where
// something else encrypts, such as a mesh's proxies.
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

// MaxStreams is how many streams one node may have open to this one, 64 unless set.
func MaxStreams(n int) Option { return option(func(o *config) { o.maxStreams = n }) }

// KeepAlive sets how often a peer is pinged, 200 ms unless set, and after how long without an
// answer its connections are closed, one second unless set.
func KeepAlive(interval, timeout time.Duration) Option {
	return option(func(o *config) { o.interval, o.timeout = interval, timeout })
}

// HandshakeTimeout is how long connecting may take, and how long a call may take to be accepted. It
// is five seconds unless set.
func HandshakeTimeout(d time.Duration) Option {
	return option(func(o *config) { o.handshakeTimeout = d })
}

// Logger sets a logger, such as a *slog.Logger, for peers that come up, go down or
// cannot be reached and why, for calls of others that are refused, and for nodes
// that break the protocol. The default is nil: nothing is logged. Nothing but
// Close waits for the logger.
func Logger(l journal.Logger) Option { return option(func(o *config) { o.logger = l }) }

// ServerOptions are given to gRPC's server beside the transport's own, such as interceptors and
// stats handlers. Messages are of types of this package.
func ServerOptions(options ...grpc.ServerOption) Option {
	return option(func(o *config) { o.server = append(o.server, options...) })
}

// DialOptions are given to gRPC's clients beside the transport's own.
func DialOptions(options ...grpc.DialOption) Option {
	return option(func(o *config) { o.dial = append(o.dial, options...) })
}

// check reports everything that is wrong with the options.
func (c *config) check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fault.Newf(fault.InvalidConfig, format, args...))
		}
	}
	wrong(c.cluster == "" || len(c.cluster) > 255, "the cluster's name has %d bytes, and should have 1 to 255", len(c.cluster))
	wrong(c.tls == nil && !c.plaintext && c.problem == nil, "a transport over gRPC needs grpc.TLS, or grpc.Plaintext if it is to have no security")
	wrong((c.tls != nil || c.problem != nil) && c.plaintext, "grpc.TLS and grpc.Plaintext exclude each other")
	wrong(c.verify != nil && c.plaintext, "grpc.VerifyNode needs grpc.TLS")
	wrong(c.maxFrame < 64<<10 || c.maxFrame > 1<<30, "grpc.MaxFrame is %d, and should be 64 KiB to 1 GiB", c.maxFrame)
	wrong(c.budget < 2*c.maxFrame, "grpc.Budget is %d, less than twice grpc.MaxFrame, which is %d", c.budget, c.maxFrame)
	wrong(c.maxStreams < 1, "grpc.MaxStreams is %d", c.maxStreams)
	wrong(c.interval <= 0 || c.timeout < 2*c.interval, "grpc.KeepAlive has a timeout of %v, less than two of its intervals of %v", c.timeout, c.interval)
	wrong(c.handshakeTimeout <= 0, "grpc.HandshakeTimeout is %v", c.handshakeTimeout)
	return errors.Join(append(errs, c.problem)...)
}

// mutual returns the config with what makes it mutual.
func mutual(given *tls.Config) (*tls.Config, error) {
	if given == nil {
		return nil, fault.Newf(fault.InvalidConfig, "grpc.TLS has no config").Try("use grpc.Plaintext if there is to be no security")
	}
	c := given.Clone()
	if len(c.Certificates) == 0 && (c.GetCertificate == nil || c.GetClientCertificate == nil) {
		return nil, fault.Newf(fault.InvalidConfig, "the config of grpc.TLS has no certificate, which each node needs in both roles")
	}
	if c.ClientCAs == nil {
		c.ClientCAs = c.RootCAs
	}
	if c.InsecureSkipVerify || c.ClientCAs == nil {
		// Or everyone with a certificate of a public authority would be let in.
		return nil, fault.Newf(fault.InvalidConfig, "the config of grpc.TLS does not say who signs the nodes' certificates").Try("set RootCAs, without InsecureSkipVerify")
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	return c, nil
}
