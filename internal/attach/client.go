package attach

import (
	"bufio"
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Client is a backend in another process, or in this one: the broker that holds
// a directory, reached through its socket. All methods are safe for concurrent
// use. After Close, or after the broker has gone, every call fails with
// fault.Closed.
type Client struct {
	dir     string
	control *conn // for calls that belong to no session

	mu       sync.Mutex
	sessions map[io.Closer]struct{} // nil once Close has begun
	closed   chan struct{}
}

var (
	_ producer.Backend = (*Client)(nil)
	_ consumer.Backend = (*Client)(nil)
	_ topic.Admin      = (*Client)(nil)
	_ consumer.Admin   = (*Client)(nil)
)

// Dial connects to the broker that holds a directory. If no server listens, it
// returns the operating system's error. It returns fault.UnsupportedVersion if
// the two sides speak different versions of the protocol, fault.PolicyViolation
// if the server already has as many connections as it serves, and
// os.ErrDeadlineExceeded if the server does not answer.
func Dial(dir string) (*Client, error) {
	// An absolute path stays valid for later sessions if the working directory
	// changes.
	if abs, err := filepath.Abs(dir); err == nil && fits(abs) {
		dir = abs
	}
	control, r, err := open(context.Background(), dir)
	if err != nil {
		return nil, err
	}
	control.start(r)
	return &Client{dir: dir, control: control, sessions: map[io.Closer]struct{}{}, closed: make(chan struct{})}, nil
}

// Holder names the process that holds the directory.
func (c *Client) Holder() string { return c.control.server.String() }

// connect makes a connection for a session.
func (c *Client) connect(ctx context.Context) (*conn, *bufio.Reader, error) {
	if err := c.control.failure(); err != nil {
		return nil, nil, err
	}
	session, r, err := open(ctx, c.dir)
	if err != nil && ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if fault.CodeOf(err) == fault.PolicyViolation { // there are too many connections
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fault.Newf(fault.Closed, "%s does not answer", c.control.server).Because(err)
	}
	if session.server.instance != c.control.server.instance {
		_ = session.conn.Close()
		return nil, nil, fault.Newf(fault.Closed, "%s has closed the directory, and %s holds it now", c.control.server, session.server)
	}
	return session, r, nil
}

// addSession registers s to be closed by Close. After Close it returns fault.Closed.
func (c *Client) addSession(s io.Closer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions == nil {
		return fault.Closed
	}
	c.sessions[s] = struct{}{}
	return nil
}

// removeSession removes a session that has been closed.
func (c *Client) removeSession(s io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, s)
}

// Close closes the sessions that are still open, and the connection. The broker
// stays open. It is idempotent.
func (c *Client) Close() error {
	c.mu.Lock()
	sessions := c.sessions
	c.sessions = nil
	c.mu.Unlock()
	if sessions == nil {
		<-c.closed
		return nil
	}
	// Consumers close first: their callbacks, within Fetch, may still send and
	// commit.
	var consumers, producers []func() error
	for s := range sessions {
		switch s := s.(type) {
		case *receiving:
			consumers = append(consumers, s.abandon)
		case *sending:
			producers = append(producers, func() error { s.abandon(); return nil })
		case *working:
			producers = append(producers, s.Close)
		}
	}
	err := errors.Join(atOnce(consumers), atOnce(producers))
	c.control.close()
	close(c.closed)
	return err
}

// atOnce calls all functions concurrently, because each may have to wait for a
// server that does not answer.
func atOnce(all []func() error) (err error) {
	errs := make(chan error, len(all))
	for _, do := range all {
		go func() {
			var err error
			defer func() { errs <- err }() // also if a callback ends this goroutine
			err = do()
		}()
	}
	for range all {
		err = errors.Join(err, <-errs)
	}
	return err
}

// CreateTopics implements topic.Admin.
func (c *Client) CreateTopics(ctx context.Context, specs ...topic.Spec) error {
	err := c.control.call(ctx, createTopics, func(c *coder) { list(c, 16, &specs, (*coder).topicSpec) }, none)
	for _, spec := range specs {
		if err == nil { // records that were sent to a topic of that name before belong to a deleted topic
			c.partitionsChanged(spec.Name, 0)
		}
	}
	return err
}

// DeleteTopics implements topic.Admin.
func (c *Client) DeleteTopics(ctx context.Context, names ...string) error {
	err := c.control.call(ctx, deleteTopics, func(c *coder) { c.texts(&names) }, none)
	for _, name := range names {
		if err == nil {
			c.partitionsChanged(name, 0)
		}
	}
	return err
}

// Topics implements topic.Admin.
func (c *Client) Topics(ctx context.Context) (names []string, err error) {
	err = c.control.call(ctx, listTopics, none, func(c *coder) { c.texts(&names) })
	return names, err
}

// DescribeTopics implements topic.Admin.
func (c *Client) DescribeTopics(ctx context.Context, names ...string) (ds []topic.Description, err error) {
	err = c.control.call(ctx, describeTopics, func(c *coder) { c.texts(&names) }, func(c *coder) {
		list(c, 16, &ds, (*coder).description)
	})
	return ds, err
}

// DescribeCluster implements topic.Admin.
func (c *Client) DescribeCluster(ctx context.Context) (cluster topic.Cluster, err error) {
	err = c.control.call(ctx, describeCluster, none, func(c *coder) { c.cluster(&cluster) })
	return cluster, err
}

// AddPartitions implements topic.Admin.
func (c *Client) AddPartitions(ctx context.Context, name string, total int) error {
	err := c.control.call(ctx, addPartitions, func(c *coder) {
		text(c, &name)
		int64s(c, &total)
	}, none)
	if err == nil {
		c.partitionsChanged(name, int32(total))
	}
	return err
}

// partitionsChanged applies the client's own change of a topic to its producers
// at once. The server reports it only with the next outcome. Until then they
// would reject a partition that exists, or send to a topic that does not.
func (c *Client) partitionsChanged(name string, partitions int32) {
	c.mu.Lock()
	var producers []*sending
	for s := range c.sessions {
		if s, ok := s.(*sending); ok {
			producers = append(producers, s)
		}
	}
	c.mu.Unlock()
	for _, s := range producers {
		s.partitionsChanged(name, partitions)
	}
}

// ConfigureTopic implements topic.Admin.
func (c *Client) ConfigureTopic(ctx context.Context, name string, cfg topic.Config) error {
	return c.control.call(ctx, configureTopic, func(c *coder) {
		text(c, &name)
		c.config(&cfg)
	}, none)
}

// DeleteRecords implements topic.Admin.
func (c *Client) DeleteRecords(ctx context.Context, before map[record.TopicPartition]int64) (starts map[record.TopicPartition]int64, err error) {
	err = c.control.call(ctx, deleteRecords, func(c *coder) { table(c, 8, &before, int64s) }, func(c *coder) {
		table(c, 8, &starts, int64s)
	})
	return starts, err
}

// ListOffsets implements topic.Admin.
func (c *Client) ListOffsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (listed map[record.TopicPartition]topic.ListedOffset, err error) {
	err = c.control.call(ctx, listOffsets, func(c *coder) {
		c.spec(&spec)
		c.partitions(&partitions)
	}, func(c *coder) { table(c, 21, &listed, (*coder).listed) })
	return listed, err
}

// ReadKey implements consumer.KeyReader.
func (c *Client) ReadKey(ctx context.Context, q consumer.KeyQuery) (page consumer.KeyPage, err error) {
	err = c.control.call(ctx, readKey, func(c *coder) { c.keyQuery(&q) }, func(c *coder) { c.keyPage(&page, &q) })
	return page, err
}

// Groups implements consumer.Admin.
func (c *Client) Groups(ctx context.Context) (groups []consumer.GroupListing, err error) {
	err = c.control.call(ctx, listGroups, none, func(c *coder) { list(c, 16, &groups, (*coder).groupListing) })
	return groups, err
}

// DescribeGroups implements consumer.Admin.
func (c *Client) DescribeGroups(ctx context.Context, names ...string) (groups []consumer.GroupDescription, err error) {
	err = c.control.call(ctx, describeGroups, func(c *coder) { c.texts(&names) }, func(c *coder) {
		list(c, 20, &groups, (*coder).groupDescription)
	})
	return groups, err
}

// DeleteGroups implements consumer.Admin.
func (c *Client) DeleteGroups(ctx context.Context, names ...string) error {
	return c.control.changeGroup(ctx, deleteGroups, func(c *coder) { c.texts(&names) })
}

// GroupOffsets implements consumer.Admin.
func (c *Client) GroupOffsets(ctx context.Context, group string) (all map[record.TopicPartition]consumer.Offset, err error) {
	err = c.control.call(ctx, groupOffsets, func(c *coder) { text(c, &group) }, func(c *coder) {
		table(c, 16, &all, (*coder).offset)
	})
	return all, err
}

// SetGroupOffsets implements consumer.Admin.
func (c *Client) SetGroupOffsets(ctx context.Context, group string, all map[record.TopicPartition]consumer.Offset) error {
	return c.control.changeGroup(ctx, setGroupOffsets, func(c *coder) {
		text(c, &group)
		table(c, 16, &all, (*coder).offset)
	})
}

// DeleteGroupOffsets implements consumer.Admin.
func (c *Client) DeleteGroupOffsets(ctx context.Context, group string, partitions ...record.TopicPartition) error {
	return c.control.changeGroup(ctx, deleteGroupOffsets, func(c *coder) {
		text(c, &group)
		c.partitions(&partitions)
	})
}

// Stream makes the backend write a stream to w, over a connection of its own,
// so that a slow w holds up only this call.
func (c *Client) Stream(ctx context.Context, name string, w io.Writer) error {
	link, r, err := c.connect(ctx)
	if err != nil {
		return err
	}
	link.start(r)
	defer link.close()
	return link.talk(ctx, streamBytes, func(c *coder) { text(c, &name) }, none, &dialogue{take: func(body []byte) error {
		_, err := w.Write(body)
		return err
	}})
}

// Verify makes the broker compare every readable batch with its checksum.
func (c *Client) Verify(ctx context.Context) error {
	return c.control.call(ctx, verify, none, none)
}
