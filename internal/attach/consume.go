package attach

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// OpenConsumer implements consumer.Backend.
func (c *Client) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	link, r, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := newReceiving(c, link, cfg)
	link.start(r)
	err = link.call(ctx, openConsumer, func(c *coder) { c.consumerConfig(&cfg) }, none)
	if err == nil {
		err = c.addSession(s)
	}
	if err != nil {
		link.close()
		return nil, err
	}
	return s, nil
}

// receiving is a consumer's session. Its state is on the server, except for the
// partitions that the program owns: when the connection ends, they are lost.
type receiving struct {
	client *Client
	conn   *conn
	cfg    consumer.Config
	gate   *closing.Gate // which goroutine ends the session
	asked  chan struct{} // closed to make a goroutine that waits in Fetch end the session
	asking sync.Once

	mu      sync.Mutex
	owned   map[record.TopicPartition]struct{}
	failure error // of closing
}

func newReceiving(c *Client, link *conn, cfg consumer.Config) *receiving {
	return &receiving{
		client: c, conn: link, cfg: cfg, gate: closing.New(), asked: make(chan struct{}),
		owned: map[record.TopicPartition]struct{}{},
	}
}

// The changes of an assignment.
const (
	tellAssigned int8 = iota
	tellRevoked
	tellLost
)

// event is a change of a session's assignment during a call.
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

// onEvent calls the callback for an event.
func (s *receiving) onEvent(body []byte) {
	var e event
	if err := decode(body, e.fields); err != nil {
		s.conn.cut()
		return
	}
	switch e.what {
	case tellAssigned:
		s.mu.Lock()
		for _, tp := range e.partitions {
			s.owned[tp] = struct{}{}
		}
		s.mu.Unlock()
		s.callback(s.cfg.OnAssigned, e.partitions)
	case tellRevoked:
		s.callback(s.cfg.OnRevoked, e.partitions)
		s.disown(e.partitions)
	case tellLost:
		s.disown(e.partitions)
		s.callback(s.cfg.OnLost, e.partitions)
	}
}

func (s *receiving) callback(fn func([]record.TopicPartition), partitions []record.TopicPartition) {
	if fn != nil {
		s.gate.Tell(func() { fn(slices.Clone(partitions)) })
	}
}

func (s *receiving) disown(partitions []record.TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tp := range partitions {
		delete(s.owned, tp)
	}
}

// lose calls OnLost for the partitions that the connection's end took away, on
// the goroutine that fetches.
func (s *receiving) lose() {
	s.mu.Lock()
	lost := slices.SortedFunc(maps.Keys(s.owned), record.TopicPartition.Compare)
	clear(s.owned)
	s.mu.Unlock()
	if len(lost) > 0 {
		s.callback(s.cfg.OnLost, lost)
	}
}

// broken reports whether a call failed because the connection ended, after
// which the server can report no more events.
func (s *receiving) broken(err error) bool { return err != nil && s.conn.failure() != nil }

// Fetch implements consumer.Session.
func (s *receiving) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (got consumer.Fetched, err error) {
	dst = dst[:0]
	if !s.gate.Enter() {
		return consumer.Fetched{Records: dst}, s.isOver()
	}
	defer func() {
		if s.gate.Leave() {
			s.finish()
			got, err = consumer.Fetched{Records: dst[:0]}, fault.Closed
		}
	}()
	if err := ctx.Err(); err != nil {
		return consumer.Fetched{Records: dst}, err
	}
	err = s.conn.talk(ctx, fetch, func(c *coder) { int64s(c, &wait) }, func(c *coder) { c.fetched(&got) }, &dialogue{
		event: s.onEvent, stay: true, stop: s.asked,
		part: func(body []byte) (err error) {
			dst, err = s.appendPart(dst, body)
			return err
		},
	})
	if err != nil {
		if s.broken(err) {
			s.lose()
		}
		return consumer.Fetched{Records: dst[:0]}, err
	}
	got.Records = dst
	return got, nil
}

// appendPart appends the records of a part.
func (s *receiving) appendPart(dst []record.Record, body []byte) ([]record.Record, error) {
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
		return dst, fault.Newf(fault.InvalidRequest, "an unexpected part of an answer")
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

// Release implements consumer.Session. There are no leases, because records
// own their bytes here, whatever Config.ReuseBuffers says.
func (s *receiving) Release(consumer.Lease) {}

// Assign implements consumer.Session.
func (s *receiving) Assign(ctx context.Context, partitions []record.TopicPartition) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.gate.Enter() {
		return s.isOver()
	}
	defer s.exit()
	err := s.conn.talk(ctx, assign, func(c *coder) { c.partitions(&partitions) }, none, &dialogue{event: s.onEvent, stay: true})
	if s.broken(err) {
		s.lose()
	}
	return err
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
	if !s.gate.Enter() {
		return fault.Closed
	}
	defer s.exit()
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
	return s.conn.changeGroup(ctx, commit, func(c *coder) { table(c, 16, &offsets, (*coder).offset) })
}

// GroupMetadata implements consumer.Session.
func (s *receiving) GroupMetadata(ctx context.Context) (g consumer.GroupMetadata, err error) {
	err = s.conn.call(ctx, groupMetadata, none, func(c *coder) { c.groupMetadata(&g) })
	return g, err
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
func (s *receiving) Close() error {
	switch s.gate.Close() {
	case closing.Mine:
		s.finish()
	case closing.Within:
		s.ask() // the goroutine within a call ends it
		return nil
	case closing.Theirs:
		s.ask()
		late, cancel := closing.Late()
		defer cancel()
		if !s.gate.Wait(late.Done()) {
			return s.giveUpWaiting()
		}
	case closing.Over:
		s.lose()
	}
	return s.closeError()
}

// abandon is Close by the client, which does not run on the goroutine that
// fetches. If that goroutine is not within a call, its next call reports the
// lost partitions.
func (s *receiving) abandon() error {
	if s.gate.Close() == closing.Mine {
		s.dispose(nil)
		return nil
	}
	s.ask()
	late, cancel := closing.Late()
	defer cancel()
	if !s.gate.Wait(late.Done()) {
		return s.giveUpWaiting()
	}
	return s.closeError()
}

func (s *receiving) ask() { s.asking.Do(func() { close(s.asked) }) }

// giveUpWaiting ends the connection even though the goroutine that fetches has
// not returned. That goroutine later finds its partitions lost.
func (s *receiving) giveUpWaiting() error {
	s.conn.close()
	s.client.removeSession(s)
	return fault.Newf(fault.TimedOut, "a consumer's callback, or what it waits for, took longer than %v: the session was closed under it", closing.Patience)
}

// exit ends a call of the goroutine that fetches.
func (s *receiving) exit() {
	if s.gate.Leave() {
		s.finish()
	}
}

// finish ends the session, on the goroutine that fetches, because the server's events
// during closeConsumer call the program.
func (s *receiving) finish() {
	var err error
	defer func() { s.dispose(err) }()
	err = s.conn.talk(context.Background(), closeConsumer, none, none, &dialogue{event: s.onEvent, limit: patience})
	s.lose() // partitions for which the server sent no event
	if fault.CodeOf(err) == fault.Closed {
		err = nil // the server has already closed it
	}
}

// dispose releases all resources. If the server does not know, it notices the end
// of the connection.
func (s *receiving) dispose(err error) {
	s.conn.close()
	s.mu.Lock()
	s.failure = err
	s.mu.Unlock()
	s.client.removeSession(s)
	s.gate.End()
}

func (s *receiving) closeError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// isOver calls OnLost for lost partitions and returns the error of a call after
// the session's end.
func (s *receiving) isOver() error {
	s.lose()
	return fault.Closed
}
