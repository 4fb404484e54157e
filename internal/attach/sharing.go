package attach

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// Sharing is the share groups of a backend. They are functions, and not methods, so that a
// program that serves none does not link them.
type Sharing struct {
	Open          func(context.Context, share.Config) (share.Session, error)
	List          func(context.Context) ([]string, error)
	Describe      func(ctx context.Context, group string) (share.GroupDescription, error)
	Delete        func(ctx context.Context, group string) error
	DeleteOffsets func(ctx context.Context, group string, topics ...string) error
	Reset         func(ctx context.Context, group string, to topic.OffsetSpec, partitions ...record.TopicPartition) error
}

// OpenShare implements share.Backend.
func (c *Client) OpenShare(ctx context.Context, cfg share.Config) (share.Session, error) {
	link, r, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &working{client: c, conn: link}
	link.start(r)
	err = link.call(ctx, openShare, func(c *coder) { c.shareConfig(&cfg) }, none)
	if err == nil {
		err = c.addSession(s)
	}
	if err != nil {
		link.close()
		return nil, err
	}
	return s, nil
}

// working is a share consumer's session. All of it is on the server.
type working struct {
	client *Client
	conn   *conn
	ending sync.Once
	err    error // of closing
}

// Acquire implements share.Session. If ctx ends, it waits for what the server has acquired
// meanwhile.
func (s *working) Acquire(ctx context.Context, most int) (all []share.Acquired, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.conn.talk(ctx, acquire, func(c *coder) { int64s(c, &most) }, func(c *coder) { list(c, 47, &all, (*coder).acquired) }, &dialogue{stay: true})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Settle implements share.Session.
func (s *working) Settle(ctx context.Context, all []share.Settlement) (errs []error, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.conn.talk(ctx, settle, func(c *coder) { list(c, 34, &all, (*coder).settlement) }, func(c *coder) { list(c, 1, &errs, (*coder).problem) }, &dialogue{})
	switch {
	case err != nil && (ctx.Err() != nil || s.conn.failure() != nil) && fault.CodeOf(err) != fault.UnknownOutcome:
		return nil, fault.Newf(fault.UnknownOutcome, "settling records").Because(err)
	case err == nil && len(errs) != len(all):
		return nil, fault.Newf(fault.UnknownOutcome, "an answer about %d records of %d", len(errs), len(all))
	}
	return errs, err
}

// Close implements share.Session.
func (s *working) Close() error {
	s.ending.Do(func() {
		s.err = s.conn.talk(context.Background(), closeShare, none, none, &dialogue{limit: patience})
		if fault.CodeOf(s.err) == fault.Closed {
			s.err = nil // the server has already closed it
		}
		s.conn.close()
		s.client.removeSession(s)
	})
	return s.err
}

var _ share.Admin = (*Client)(nil)

// ShareGroups implements share.Admin.
func (c *Client) ShareGroups(ctx context.Context) (names []string, err error) {
	err = c.control.call(ctx, listShareGroups, none, func(c *coder) { c.texts(&names) })
	return names, err
}

// DescribeShareGroup implements share.Admin.
func (c *Client) DescribeShareGroup(ctx context.Context, group string) (d share.GroupDescription, err error) {
	err = c.control.call(ctx, describeShareGroup, func(c *coder) { text(c, &group) }, func(c *coder) { c.shareGroup(&d) })
	return d, err
}

// DeleteShareGroup implements share.Admin.
func (c *Client) DeleteShareGroup(ctx context.Context, group string) error {
	return c.control.changeGroup(ctx, deleteShareGroup, func(c *coder) { text(c, &group) })
}

// DeleteShareGroupOffsets implements share.Admin.
func (c *Client) DeleteShareGroupOffsets(ctx context.Context, group string, topics ...string) error {
	return c.control.changeGroup(ctx, deleteShareGroupOffsets, func(c *coder) {
		text(c, &group)
		c.texts(&topics)
	})
}

// ResetShareGroup implements share.Admin.
func (c *Client) ResetShareGroup(ctx context.Context, group string, to topic.OffsetSpec, partitions ...record.TopicPartition) error {
	return c.control.changeGroup(ctx, resetShareGroup, func(c *coder) {
		text(c, &group)
		c.spec(&to)
		c.partitions(&partitions)
	})
}

// workshop is a share consumer's session on the server.
type workshop struct {
	visit *visit

	mu      sync.Mutex
	session share.Session
	closed  bool
}

// open opens the session.
func (o *workshop) open(ctx context.Context, sharing *Sharing, cfg share.Config) error {
	if err := checkShare(&cfg); err != nil {
		return err
	}
	if err := o.visit.openSession(); err != nil {
		return err
	}
	cfg.MaxBytes = min(cfg.MaxBytes, fetchBytes)
	s, err := sharing.Open(ctx, cfg)
	if err != nil {
		return err
	}
	o.mu.Lock()
	closed := o.closed
	if !closed {
		o.session = s
	}
	o.mu.Unlock()
	if closed {
		_ = s.Close()
		return fault.Closed
	}
	return nil
}

// maxLocks is how many records of a partition an attached process may have locked.
const maxLocks = 1 << 20

// checkShare checks what share.New guarantees about a configuration, because a client may
// send any.
func checkShare(cfg *share.Config) error {
	start, fixed := cfg.Start.Offset()
	if cfg.Group == "" || len(cfg.Group) > maxGroupName || len(cfg.Topics) == 0 || cfg.LockTime < time.Millisecond || cfg.Attempts < 1 ||
		cfg.Locks < 1 || cfg.Locks > maxLocks || cfg.MaxBytes < 1 || cfg.MaxBytes > maxFetchBytes || cfg.Start.IsNone() || fixed && start < 0 {
		return fault.Newf(fault.InvalidConfig, "a share consumer with a group of %d bytes, topics %q, locks of %v, %d attempts, %d locks and %d bytes at once",
			len(cfg.Group), cfg.Topics, cfg.LockTime, cfg.Attempts, cfg.Locks, cfg.MaxBytes)
	}
	for _, name := range cfg.Topics {
		if err := topic.ValidateName(name); err != nil {
			return err
		}
	}
	return nil
}

// current returns the session.
func (o *workshop) current() (share.Session, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.session == nil {
		return nil, fault.Newf(fault.InvalidRequest, "the connection has no share consumer")
	}
	return o.session, nil
}

// close closes the session, if there is one: its locks end.
func (o *workshop) close() error {
	o.mu.Lock()
	s := o.session
	o.closed = true
	o.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

// handleSharing runs the calls of share consumers and about share groups.
func (v *visit) handleSharing(ctx context.Context, m method, args func(fields) error) (fields, error) {
	sharing, err := v.server.backend.Sharing()
	if err != nil {
		return nil, err
	}
	switch m {
	case openShare:
		var cfg share.Config
		if err := args(func(c *coder) { c.shareConfig(&cfg) }); err != nil {
			return nil, err
		}
		return none, v.workshop.open(ctx, sharing, cfg)
	case acquire:
		var most int
		if err := args(func(c *coder) { int64s(c, &most) }); err != nil {
			return nil, err
		}
		s, err := v.workshop.current()
		if err != nil {
			return nil, err
		}
		all, err := s.Acquire(ctx, min(max(most, 1), fetchRecords))
		return func(c *coder) { list(c, 47, &all, (*coder).acquired) }, err
	case settle:
		var all []share.Settlement
		if err := args(func(c *coder) { list(c, 34, &all, (*coder).settlement) }); err != nil {
			return nil, err
		}
		s, err := v.workshop.current()
		if err != nil {
			return nil, err
		}
		errs, err := s.Settle(ctx, all)
		return func(c *coder) { list(c, 1, &errs, (*coder).problem) }, err
	case closeShare:
		if err := args(none); err != nil {
			return nil, err
		}
		return none, v.workshop.close()
	}
	return v.handleShareAdmin(ctx, sharing, m, args)
}

// handleShareAdmin runs the calls about share groups that belong to no session.
func (v *visit) handleShareAdmin(ctx context.Context, sharing *Sharing, m method, args func(fields) error) (fields, error) {
	var group string
	var topics []string
	switch m {
	case listShareGroups:
		if err := args(none); err != nil {
			return nil, err
		}
		names, err := sharing.List(ctx)
		return func(c *coder) { c.texts(&names) }, err
	case describeShareGroup:
		if err := args(func(c *coder) { text(c, &group) }); err != nil {
			return nil, err
		}
		d, err := sharing.Describe(ctx, group)
		return func(c *coder) { c.shareGroup(&d) }, err
	case deleteShareGroup:
		if err := args(func(c *coder) { text(c, &group) }); err != nil {
			return nil, err
		}
		return none, sharing.Delete(ctx, group)
	case deleteShareGroupOffsets:
		err := args(func(c *coder) {
			text(c, &group)
			c.texts(&topics)
		})
		if err != nil {
			return nil, err
		}
		return none, sharing.DeleteOffsets(ctx, group, topics...)
	case resetShareGroup:
		var to topic.OffsetSpec
		var partitions []record.TopicPartition
		err := args(func(c *coder) {
			text(c, &group)
			c.spec(&to)
			c.partitions(&partitions)
		})
		if err != nil {
			return nil, err
		}
		if len(group) > maxGroupName {
			return nil, fault.Newf(fault.InvalidGroup, "a name of %d bytes", len(group))
		}
		return none, sharing.Reset(ctx, group, to, partitions...)
	}
	return nil, unknownMethod(m)
}

func (c *coder) shareConfig(v *share.Config) {
	text(c, &v.Group)
	c.texts(&v.Topics)
	int64s(c, &v.LockTime)
	int64s(c, &v.Attempts)
	c.bool(&v.Spent)
	int64s(c, &v.Locks)
	c.spec(&v.Start)
	c.bool(&v.ReadCommitted)
	int64s(c, &v.MaxBytes)
}

func (c *coder) acquired(v *share.Acquired) {
	tp := record.TopicPartition{Topic: v.Record.Topic, Partition: v.Record.Partition}
	c.partition(&tp)
	v.Record.Topic, v.Record.Partition = tp.Topic, tp.Partition
	int64s(c, &v.Record.Offset)
	int32s(c, &v.Record.LeaderEpoch)
	c.content(&v.Record)
	int64s(c, &v.Acquisition)
	int64s(c, &v.Attempt)
	c.bool(&v.Spent)
	c.milliseconds(&v.Until)
}

func (c *coder) settlement(v *share.Settlement) {
	tp := record.TopicPartition{Topic: v.Position.Topic, Partition: v.Position.Partition}
	c.partition(&tp)
	v.Position.Topic, v.Position.Partition = tp.Topic, tp.Partition
	int64s(c, &v.Position.Offset)
	int64s(c, &v.Acquisition)
	int8s(c, &v.Kind)
	c.milliseconds(&v.At)
	if c.isReading() && (v.Kind < share.Accept || v.Kind > share.Return) {
		c.fail("a settlement of an unknown kind")
	}
}

func (c *coder) shareGroup(v *share.GroupDescription) {
	text(c, &v.Group)
	list(c, 60, &v.Partitions, func(c *coder, p *share.PartitionDescription) {
		c.partition(&p.TopicPartition)
		for _, n := range []*int64{&p.Start, &p.End, &p.Acquired, &p.Delayed, &p.Available, &p.New} {
			int64s(c, n)
		}
		c.texts(&p.Members)
	})
}
