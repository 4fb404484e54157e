package kafka

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/topic"
)

// Scheme is an optional prefix of a cluster's address.
const Scheme = "kafka://"

// Cluster is a Kafka cluster as a backend. All methods are safe for concurrent
// use.
type Cluster struct {
	options
	seeds  []string
	client *kgo.Client // for requests that belong to no session
	admin  *kadm.Client

	mu       sync.Mutex
	sessions map[io.Closer]struct{} // nil once Close has begun
	dead     atomic.Bool            // Close has closed the sessions
	closed   chan struct{}
}

var (
	_ producer.Backend = (*Cluster)(nil)
	_ consumer.Backend = (*Cluster)(nil)
	_ consumer.Admin   = (*Cluster)(nil)
	_ topic.Admin      = (*Cluster)(nil)
)

// Connect connects to the cluster of the given seeds. Seeds are addresses,
// host:port or only a host, separated by commas, with or without kafka:// in
// front. Connect fails if none of them answers within Timeout.
func Connect(seeds string, opts ...Option) (*Cluster, error) {
	c := &Cluster{
		options:  options{clientID: "runnel", timeout: 10 * time.Second, metadataAge: 30 * time.Second},
		sessions: map[io.Closer]struct{}{},
		closed:   make(chan struct{}),
	}
	for _, opt := range opts {
		opt.apply(&c.options)
	}
	for seed := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(seeds, Scheme), "/"), ",") {
		if seed = strings.TrimSpace(seed); seed != "" {
			c.seeds = append(c.seeds, seed)
		}
	}
	if len(c.seeds) == 0 {
		return nil, fault.Newf(fault.InvalidConfig, "no address of a Kafka broker in %q", seeds).Try("such as localhost:9092")
	}
	client, err := c.newClient(c.clientID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fault.Newf(fault.TimedOut, "no Kafka broker answers at %s", strings.Join(c.seeds, ", ")).Because(err)
	}
	c.client, c.admin = client, kadm.NewClient(client)
	return c, nil
}

// newClient returns a franz-go client with the options that all clients share.
func (c *Cluster) newClient(clientID string, opts ...kgo.Opt) (*kgo.Client, error) {
	if clientID == "" {
		clientID = c.clientID
	}
	all := append([]kgo.Opt{
		kgo.SeedBrokers(c.seeds...),
		kgo.ClientID(clientID),
		kgo.SoftwareNameAndVersion("runnel", "v0"),
		kgo.MetadataMaxAge(c.metadataAge),
		kgo.MetadataMinAge(min(250*time.Millisecond, c.metadataAge)),
		kgo.DisableClientMetrics(),
	}, c.kgo...)
	client, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		return nil, fault.Newf(fault.InvalidConfig, "franz-go").Because(err)
	}
	return client, nil
}

// addSession registers s to be closed by Close. After Close it returns fault.Closed.
func (c *Cluster) addSession(s io.Closer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions == nil {
		return fault.Closed
	}
	c.sessions[s] = struct{}{}
	return nil
}

// removeSession removes a session that has been closed.
func (c *Cluster) removeSession(s io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, s)
}

// live returns fault.Closed once Close has closed the sessions. Until then they
// may still commit.
func (c *Cluster) live() error {
	if c.dead.Load() {
		return fault.Closed
	}
	return nil
}

// Close closes all sessions and connections. It is idempotent.
func (c *Cluster) Close() error {
	c.mu.Lock()
	sessions := c.sessions
	c.sessions = nil
	c.mu.Unlock()
	if sessions == nil {
		<-c.closed
		return nil
	}
	errs := closeSessions(sessions)
	c.dead.Store(true)
	c.client.Close()
	close(c.closed)
	return errors.Join(errs...)
}

// closeSessions closes consumers first: the callbacks of one that is within
// Fetch may still send and commit.
func closeSessions(sessions map[io.Closer]struct{}) (errs []error) {
	for s := range sessions {
		if c, ok := s.(*consuming); ok {
			c.abandon()
		}
	}
	late, cancel := closing.Late()
	defer cancel()
	for s := range sessions {
		if c, ok := s.(*consuming); ok {
			errs = append(errs, c.await(late.Done()))
		}
	}
	for s := range sessions {
		if p, ok := s.(*producing); ok {
			p.end()
		}
	}
	return errs
}
