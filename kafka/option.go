package kafka

import (
	"crypto/tls"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Option configures Connect.
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

// ClientID names the program in the cluster's logs and metrics, except in
// sessions with a name of their own. The default is "runnel".
func ClientID(name string) Option { return option(func(o *options) { o.clientID = name }) }

// Timeout is how long Connect waits for the cluster's first answer, and how
// long a change of a topic waits until all brokers know of it. The default is
// 10 seconds.
func Timeout(d time.Duration) Option { return option(func(o *options) { o.timeout = d }) }

// MetadataMaxAge is the longest time until a session notices a change of a
// topic made elsewhere. The default is 30 seconds.
func MetadataMaxAge(d time.Duration) Option { return option(func(o *options) { o.metadataAge = d }) }

// ClassicGroups makes members assign partitions, with Kafka's protocol from
// before KIP-848, even if the cluster could do it. All members of a group
// should use the same setting.
func ClassicGroups() Option { return option(func(o *options) { o.classic = true }) }

// TLS encrypts the connections. A nil config means the system's default.
func TLS(config *tls.Config) Option { return Client(kgo.DialTLSConfig(config)) }

// Client passes options to the underlying franz-go clients, such as kgo.SASL.
// It cannot change options that the sessions set themselves.
func Client(opts ...kgo.Opt) Option {
	return option(func(o *options) { o.kgo = append(o.kgo, opts...) })
}
