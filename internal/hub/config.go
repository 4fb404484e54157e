package hub

import (
	"crypto/tls"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/replica"
)

const (
	controlMaxFrame = 1 << 20
	controlBudget   = 8 << 20

	// MaxSlices is how many slices of payload a frame may have.
	MaxSlices = 1 << 16

	// FrameCost is what a frame counts in budgets beside its bytes, so that empty
	// ones are not free.
	FrameCost = 128
)

// Config is what the options of a transport set. The transports' options say what each field means.
type Config struct {
	Package          string // whose options these are, for what Check says
	Cluster          string
	TLS              *tls.Config // nil for plaintext
	Plaintext        bool
	Verify           func(replica.NodeID, tls.ConnectionState) error
	FrameLimit       int // bulk
	Budget           int // bulk, for each peer and direction
	MaxStreams       int // that one node may open
	Interval         time.Duration
	Timeout          time.Duration
	HandshakeTimeout time.Duration
	Logger           journal.Logger

	problem error // what SetTLS refuses
}

// Defaults returns the config of a package's transport without options.
func Defaults(of, cluster string) Config {
	return Config{
		Package: of, Cluster: cluster,
		FrameLimit: 16 << 20, Budget: 64 << 20, MaxStreams: 256,
		Interval: 200 * time.Millisecond, Timeout: time.Second, HandshakeTimeout: 5 * time.Second,
	}
}

// check reports everything that is wrong with the options.
func (c *Config) check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fault.Newf(fault.InvalidConfig, format, args...))
		}
	}
	p := c.Package
	wrong(c.Cluster == "" || len(c.Cluster) > 255, "the cluster's name has %d bytes, and should have 1 to 255", len(c.Cluster))
	wrong(c.TLS == nil && !c.Plaintext && c.problem == nil, "a transport needs %s.TLS, or %s.Plaintext if it is to have no security", p, p)
	wrong((c.TLS != nil || c.problem != nil) && c.Plaintext, "%s.TLS and %s.Plaintext exclude each other", p, p)
	wrong(c.Verify != nil && c.Plaintext, "%s.VerifyNode needs %s.TLS", p, p)
	wrong(c.FrameLimit < 64<<10 || c.FrameLimit > 1<<30, "%s.MaxFrame is %d, and should be 64 KiB to 1 GiB", p, c.FrameLimit)
	wrong(c.Budget < 2*c.FrameLimit, "%s.Budget is %d, less than twice %s.MaxFrame, which is %d", p, c.Budget, p, c.FrameLimit)
	wrong(c.MaxStreams < 1, "%s.MaxStreams is %d", p, c.MaxStreams)
	wrong(c.Interval <= 0 || c.Timeout < 2*c.Interval, "%s.KeepAlive has a timeout of %v, less than two of its intervals of %v", p, c.Timeout, c.Interval)
	wrong(c.HandshakeTimeout <= 0, "%s.HandshakeTimeout is %v", p, c.HandshakeTimeout)
	return errors.Join(append(errs, c.problem)...)
}

// SetTLS sets TLS to a copy of the config with what makes it mutual. What is wrong with it, New says.
func (c *Config) SetTLS(given *tls.Config) { c.TLS, c.problem = c.mutual(given) }

func (c *Config) mutual(given *tls.Config) (*tls.Config, error) {
	wrong := func(what string) *fault.Error {
		return fault.Newf(fault.InvalidConfig, "the config of %s.TLS %s", c.Package, what)
	}
	if given == nil {
		return nil, fault.Newf(fault.InvalidConfig, "%s.TLS has no config", c.Package).Try("use " + c.Package + ".Plaintext if there is to be no security")
	}
	m := given.Clone()
	custom := m.VerifyConnection != nil || m.VerifyPeerCertificate != nil
	if len(m.Certificates) == 0 && (m.GetCertificate == nil || m.GetClientCertificate == nil) {
		return nil, wrong("has no certificate, which each node needs in both roles")
	}
	if m.InsecureSkipVerify && !custom {
		return nil, wrong("verifies nothing (InsecureSkipVerify)").Try("set RootCAs, or use " + c.Package + ".Plaintext")
	}
	if m.ClientCAs == nil {
		m.ClientCAs = m.RootCAs
	}
	if m.ClientCAs == nil && !custom {
		// Or everyone with a certificate of a public authority would be let in.
		return nil, wrong("has neither RootCAs nor ClientCAs").Try("set RootCAs to the authority that signs the nodes' certificates")
	}
	if !custom || m.ClientAuth < tls.RequireAnyClientCert {
		m.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if m.MinVersion == 0 {
		m.MinVersion = tls.VersionTLS13
	}
	return m, nil
}

// VerifyNode asks the program whether a TLS connection is that node's.
func (c *Config) VerifyNode(id replica.NodeID, state tls.ConnectionState) error {
	if c.Verify == nil {
		return nil
	}
	if err := c.Verify(id, state); err != nil {
		return fault.Newf(fault.ClusterAuthorization, "the certificate is not that of node %v", id).Because(err)
	}
	return nil
}

// MaxFrame is replica.Transport's.
func (c *Config) MaxFrame(lane replica.Lane) int {
	if lane == replica.LaneControl {
		return min(controlMaxFrame, c.FrameLimit)
	}
	return c.FrameLimit
}

// laneBudget is how many bytes of a lane are kept for a peer, in each direction.
func (c *Config) laneBudget(lane replica.Lane) int {
	if lane == replica.LaneControl {
		return controlBudget
	}
	return c.Budget
}

// Patience is how long a lane may bring nothing. It is longer than the peer waits for
// our answers to its pings, so that the peer closes a connection first and knows why.
func (c *Config) Patience() time.Duration { return 4 * c.Timeout }
