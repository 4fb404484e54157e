package attach

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// OpenConsumer implements consumer.Backend.
func (c *Client) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	link, r, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &receiving{client: c, conn: link, cfg: cfg}
	link.start(r)
	err = link.call(ctx, openConsumer, func(c *coder) { c.consumerConfig(&cfg) }, none)
	if err == nil {
		err = c.add(s)
	}
	if err != nil {
		link.close()
		return nil, err
	}
	return s, nil
}

// receiving is a consumer's session. All that it knows is on the other side.
type receiving struct {
	client *Client
	conn   *conn
	cfg    consumer.Config
	once   sync.Once
}

// What a session tells of its assignment.
const (
	tellAssigned int8 = iota
	tellRevoked
	tellLost
)

// event is what happens to a session's assignment during a call.
type event struct {
	what       int8
	partitions []record.TopicPartition
}

func (e *event) fields(c *coder) {
	int8s(c, &e.what)
	c.partitions(&e.partitions)
	if e.what < tellAssigned || e.what > tellLost {
		c.fail("an event of an unknown kind")
	}
}

// told calls the callback that an event is for.
func (s *receiving) told(body []byte) {
	var e event
	if err := decode(body, e.fields); err != nil {
		s.conn.cut()
		return
	}
	fn := [...]func([]record.TopicPartition){s.cfg.OnAssigned, s.cfg.OnRevoked, s.cfg.OnLost}[e.what]
	if fn != nil {
		fn(e.partitions)
	}
}

// Fetch implements consumer.Session.
func (s *receiving) Fetch(ctx context.Context, dst []record.Record) (consumer.Fetched, error) {
	dst = dst[:0]
	ended := ctx.Err() != nil
	var got consumer.Fetched
	err := s.conn.talk(ctx, fetch, func(c *coder) { c.bool(&ended) }, func(c *coder) { c.fetched(&got) }, &dialogue{
		event: s.told, stay: true,
		part: func(body []byte) (err error) {
			dst, err = s.part(dst, body)
			return err
		},
	})
	if err != nil {
		return consumer.Fetched{Records: dst[:0]}, err
	}
	got.Records = dst
	return got, nil
}

// part appends the records of a part.
func (s *receiving) part(dst []record.Record, body []byte) ([]record.Record, error) {
	var tp record.TopicPartition
	c := reading(body)
	c.partition(&tp)
	if err := c.r.Err(); err != nil {
		return dst, err
	}
	batch, err := record.Parse(body[len(body)-c.r.Len():])
	if err != nil {
		return dst, err
	}
	if batch.Compression() != record.None || int(batch.Count) > s.cfg.MaxRecords-len(dst) || batch.Size() != c.r.Len() {
		return dst, fault.Newf(fault.InvalidRequest, "a part of an answer that nobody asked for")
	}
	it, err := batch.Records(nil)
	if err != nil {
		return dst, err
	}
	for r := (record.Record{Topic: tp.Topic, Partition: tp.Partition}); it.Next(&r); {
		dst = append(dst, r)
	}
	return dst, it.Err()
}

// Release implements consumer.Session. Records own their bytes here, whatever
// Config.ReuseBuffers says.
func (s *receiving) Release() {}

// Assign implements consumer.Session.
func (s *receiving) Assign(ctx context.Context, partitions []record.TopicPartition) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.conn.talk(ctx, assign, func(c *coder) { c.partitions(&partitions) }, none, &dialogue{event: s.told, stay: true})
}

// Assignment implements consumer.Session.
func (s *receiving) Assignment() (owned []record.TopicPartition) {
	if s.conn.call(context.Background(), assignment, none, func(c *coder) { c.partitions(&owned) }) != nil {
		return nil
	}
	return owned
}

// Seek implements consumer.Session.
func (s *receiving) Seek(ctx context.Context, tp record.TopicPartition, to topic.OffsetSpec) error {
	return s.conn.call(ctx, seek, func(c *coder) {
		c.partition(&tp)
		c.spec(&to)
	}, none)
}

// Position implements consumer.Session.
func (s *receiving) Position(ctx context.Context, tp record.TopicPartition) (at int64, err error) {
	err = s.conn.call(ctx, position, func(c *coder) { c.partition(&tp) }, func(c *coder) { int64s(c, &at) })
	return at, err
}

// Pause implements consumer.Session.
func (s *receiving) Pause(partitions ...record.TopicPartition) error {
	return s.conn.call(context.Background(), pause, func(c *coder) { c.partitions(&partitions) }, none)
}

// Resume implements consumer.Session.
func (s *receiving) Resume(partitions ...record.TopicPartition) error {
	return s.conn.call(context.Background(), resume, func(c *coder) { c.partitions(&partitions) }, none)
}

// Commit implements consumer.Session.
func (s *receiving) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.conn.call(ctx, commit, func(c *coder) { table(c, 16, &offsets, (*coder).offset) }, none)
}

// Committed implements consumer.Session.
func (s *receiving) Committed(ctx context.Context, partitions ...record.TopicPartition) (all map[record.TopicPartition]consumer.Offset, err error) {
	err = s.conn.call(ctx, committed, func(c *coder) { c.partitions(&partitions) }, func(c *coder) {
		table(c, 16, &all, (*coder).offset)
	})
	return all, err
}

// Offsets implements consumer.Session.
func (s *receiving) Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (all map[record.TopicPartition]int64, err error) {
	err = s.conn.call(ctx, offsets, func(c *coder) {
		c.spec(&spec)
		c.partitions(&partitions)
	}, func(c *coder) { table(c, 8, &all, int64s) })
	return all, err
}

// Close implements consumer.Session.
func (s *receiving) Close() (err error) {
	s.once.Do(func() {
		err = s.conn.talk(context.Background(), closeConsumer, none, none, &dialogue{event: s.told, limit: patience})
		s.conn.close()
		s.client.removeSession(s)
		if fault.CodeOf(err) == fault.Closed {
			err = nil // the other side has closed it before
		}
	})
	return err
}
