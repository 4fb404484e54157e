package kafka

import (
	"crypto/tls"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Option is one choice of Connect.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

// options is what Connect gathers.
type options struct {
	clientID    string
	timeout     time.Duration
	metadataAge time.Duration
	classic     bool
	kgo         []kgo.Opt
}

// ClientID names the program in the cluster's logs and metrics where a session
// has no name of its own; "runnel".
func ClientID(name string) Option { return option(func(o *options) { o.clientID = name }) }

// Timeout is how long Connect waits for the cluster's first answer, and how long
// a change of a topic waits for all brokers to hear of it; 10 seconds.
func Timeout(d time.Duration) Option { return option(func(o *options) { o.timeout = d }) }

// MetadataMaxAge is how soon a session notices at the latest what others changed
// about a topic; 30 seconds.
func MetadataMaxAge(d time.Duration) Option { return option(func(o *options) { o.metadataAge = d }) }

// ClassicGroups lets members assign partitions, with Kafka's protocol from
// before KIP-848, also where the cluster could do it. All members of a group
// should agree on that.
func ClassicGroups() Option { return option(func(o *options) { o.classic = true }) }

// TLS encrypts the connections. A nil config is the system's default.
func TLS(config *tls.Config) Option { return Client(kgo.DialTLSConfig(config)) }

// Client passes options to the underlying franz-go clients, such as kgo.SASL.
// What the sessions themselves set cannot be changed with it.
func Client(opts ...kgo.Opt) Option {
	return option(func(o *options) { o.kgo = append(o.kgo, opts...) })
}
