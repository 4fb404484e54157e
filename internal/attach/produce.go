package attach

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/internal/quota"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// parcelBytes is about how large a parcel of several records gets.
const parcelBytes = 64 << 10

// maxFree is how many builders are kept for reuse.
const maxFree = 16

// OpenProducer implements producer.Backend.
func (c *Client) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	link, r, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := newSending(c, link, cfg)
	link.start(r)
	err = link.call(ctx, openProducer, func(c *coder) { c.producerConfig(&cfg) }, none)
	if err == nil {
		err = c.addSession(s)
	}
	if err != nil {
		link.close()
		return nil, err
	}
	return s, nil
}

// sending is a producer's session on the client. Records gather in parcels, one
// open parcel per partition, until the connection's writing goroutine takes
// them: while that is busy, parcels grow. The server's session makes batches of
// them.
type sending struct {
	client *Client
	conn   *conn
	cfg    producer.Config
	room   quota.Quota
	told   callback.Queue // runs the callbacks of *news, once the server has sent the outcomes

	pushing atomic.Bool    // the server is being asked to send lingering batches
	pushes  sync.WaitGroup // goroutines that wait for the answer

	mu      sync.Mutex
	pending []*parcel          // not yet written, in order
	parcels map[uint32]*parcel // parcels with outcomes still unknown, by ID
	writers map[uint32]*writer // by the server's number
	written []*parcel          // being written; their builders are reused afterwards
	free    []*record.Builder  // for reuse
	last    uint32             // ID of the last parcel
	over    error              // why nothing is accepted any more, or nil
	failed  error              // of the first record without a callback since the last Flush
	spoiled error              // of the first record that failed in the open transaction
}

func newSending(client *Client, conn *conn, cfg producer.Config) *sending {
	s := &sending{
		client: client, conn: conn, cfg: cfg,
		room:    quota.Quota{Total: cfg.BufferBytes},
		parcels: map[uint32]*parcel{},
		writers: map[uint32]*writer{},
	}
	conn.fill, conn.outcomes, conn.lost = s.fill, s.outcomes, s.lost
	return s
}

// Topic implements producer.Session.
func (s *sending) Topic(ctx context.Context, name string) (producer.Writer, error) {
	var number uint32
	var partitions int32
	err := s.conn.call(ctx, openTopic, func(c *coder) { text(c, &name) }, func(c *coder) {
		int32s(c, &number)
		int32s(c, &partitions)
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writers[number]
	if w == nil {
		w = &writer{session: s, number: number, topic: name, lanes: map[int32]*lane{}}
		s.writers[number] = w
	}
	w.partitions.Store(partitions)
	return w, nil
}

// Flush implements producer.Session.
func (s *sending) Flush(ctx context.Context) error {
	err := s.settleAll(ctx)
	if err != nil && fault.CodeOf(err) != fault.Closed {
		return err
	}
	return cmp.Or(s.takeFailure(), err)
}

// settleAll sends what is buffered, and waits until everything has its outcome and its
// callbacks have run. fault.Closed means that it has, because the connection has ended.
func (s *sending) settleAll(ctx context.Context) error {
	err := s.conn.call(ctx, flush, none, none)
	if err != nil && fault.CodeOf(err) != fault.Closed {
		return err
	}
	if err != nil {
		<-s.conn.over // the connection is ending, and unacknowledged records fail
	}
	select {
	case <-s.told.Drained(): // outcomes arrive before the answer to flush, and their callbacks run first
	case <-ctx.Done():
		return ctx.Err()
	}
	return err
}

// takeFailure returns the first failure that was not reported yet, once.
func (s *sending) takeFailure() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err, s.failed = s.failed, nil
	return err
}

// push makes the server send lingering batches, because a sender waits for
// room.
func (s *sending) push() {
	if s.cfg.Linger == 0 || !s.pushing.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return // Close waits for running pushes, so none may start now
	}
	s.pushes.Go(func() {
		err := s.conn.call(context.Background(), flush, none, none)
		s.pushing.Store(false)
		if err == nil && s.room.IsAwaited() { // another sender has begun to wait
			s.push()
		}
	})
}

// fill returns the pending parcels, for the connection to write. A call means
// that the parcels of the previous call are written.
func (s *sending) fill() [][]byte {
	s.mu.Lock()
	for _, p := range s.written {
		if p.builder != nil && len(s.free) < maxFree {
			p.builder.Reset()
			s.free = append(s.free, p.builder)
		}
		p.builder, p.batch = nil, nil
	}
	ps := s.pending
	s.pending, s.written = nil, ps
	for _, p := range ps {
		p.taken = true
		if p.lane.open == p {
			p.lane.open = nil
		}
	}
	s.mu.Unlock()
	all := make([][]byte, 0, 2*len(ps))
	for _, p := range ps {
		batch := p.batch
		if p.builder != nil {
			b, err := p.builder.Batch(nil, record.None, 0)
			if err != nil {
				continue // it has records, so this does not happen
			}
			batch = b.Bytes
		}
		const head = 12
		c := writing()
		c.w.B = appendHead(make([]byte, 0, frameHead+head), p.kind, p.id, head+len(batch))
		(&arrival{target: p.writer.number, partition: p.partition, heard: p.heard}).fields(c)
		all = append(all, c.w.B, batch)
	}
	return all
}

// Close implements producer.Session.
func (s *sending) Close() error {
	s.abandon()
	return s.takeFailure()
}

// abandon is Close by the client. Failures that were not reported yet are left for
// the program's own Close.
func (s *sending) abandon() {
	s.mu.Lock()
	if s.over == nil {
		s.over = fault.Closed
	}
	s.pending = nil
	s.mu.Unlock()
	s.conn.close()
	s.pushes.Wait()
	<-s.told.Drained()
	s.client.removeSession(s)
}

// writer is a session's writer to one topic.
type writer struct {
	session    *sending
	number     uint32 // the server's
	topic      string
	partitions atomic.Int32
	lanes      map[int32]*lane // by partition; guarded by session.mu
}

// Partitions implements producer.Writer. The number is as of the last
// acknowledgement, or of the client's own last change.
func (w *writer) Partitions() int32 { return w.partitions.Load() }

// setPartitions sets the number of partitions, 0 for a deleted topic. A topic's number
// never decreases, so a smaller number is an outdated one. The caller holds
// session.mu.
func (w *writer) setPartitions(partitions int32) {
	if before := w.partitions.Load(); partitions == 0 || before != 0 && partitions > before {
		w.partitions.Store(partitions)
	}
}

// partitionsChanged sets the number of partitions in all writers of a topic.
func (s *sending) partitionsChanged(name string, partitions int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writers {
		if w.topic == name {
			w.setPartitions(partitions)
		}
	}
}

// Send implements producer.Writer.
func (w *writer) Send(ctx context.Context, r record.Record) (record.Position, error) {
	type outcome struct {
		at  record.Position
		err error
	}
	nowhere := record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1}
	if w.session.cfg.Acks == producer.AcksNone {
		return nowhere, w.gather(ctx, &r, nil, false)
	}
	done := make(chan outcome, 1)
	if err := w.gather(ctx, &r, func(at record.Position, err error) { done <- outcome{at, err} }, false); err != nil {
		return nowhere, err
	}
	select {
	case o := <-done:
		return o.at, o.err
	case <-ctx.Done():
		return nowhere, fault.At(fault.UnknownOutcome, w.topic, r.Partition, -1).Because(ctx.Err())
	}
}

// SendIf implements producer.Writer. It is a call, which the connection sends behind the
// parcels that were gathered before it.
func (w *writer) SendIf(ctx context.Context, r record.Record, condition producer.Condition) (record.Position, error) {
	at := record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1}
	if err := cmp.Or(ctx.Err(), w.session.accepts()); err != nil {
		return at, err
	}
	if _, err := record.Milliseconds(r.Timestamp, w.topic, r.Partition); err != nil {
		return at, err
	}
	size := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += len(r.Headers[i].Key) + len(r.Headers[i].Value) + record.MaxHeaderOverhead
	}
	if err := w.reserve(ctx, r.Partition, size); err != nil {
		return at, err
	}
	defer w.session.room.Give(size)
	offset := int64(-1)
	err := w.session.conn.call(ctx, sendIf, func(c *coder) {
		int32s(c, &w.number)
		c.sentIf(&r, &condition)
	}, func(c *coder) { int64s(c, &offset) })
	lost := w.session.conn.failure()
	switch why := ctx.Err(); {
	case err == nil:
		at.Offset = offset
	case why != nil && errors.Is(err, why), lost != nil && errors.Is(err, lost):
		err = fault.At(fault.UnknownOutcome, w.topic, r.Partition, -1).Because(err)
	case fault.CodeOf(err) == fault.UnknownTopic:
		w.partitions.Store(0) // look again
	}
	return at, err
}

// accepts returns why nothing is accepted any more, or nil.
func (s *sending) accepts() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// SendAsync implements producer.Writer.
func (w *writer) SendAsync(ctx context.Context, r record.Record, fn producer.Callback) {
	if err := w.gather(ctx, &r, fn, fn != nil); err != nil {
		w.session.settle(fn, record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1}, err)
	}
}

// gather adds r to the partition's open parcel. If it returns an error, it has
// not, and has not called fn.
func (w *writer) gather(ctx context.Context, r *record.Record, fn producer.Callback, program bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := w.session
	ms, err := record.Milliseconds(r.Timestamp, w.topic, r.Partition)
	if err != nil {
		return s.refused(err)
	}
	size := record.HeaderLen + record.MaxRecordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += record.MaxHeaderOverhead + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	if err := w.reserve(ctx, r.Partition, size); err != nil {
		return s.refused(err)
	}
	s.mu.Lock()
	to, err := w.enter(ctx, r.Partition)
	if err != nil {
		s.spoil(err)
		s.mu.Unlock()
		s.room.Give(size)
		return err
	}
	p := to.open
	if p == nil || !p.builder.Add(ms, r.Key, r.Value, r.Headers) {
		p = s.newParcel(w, to, r.Partition, kindParcel)
		p.builder = s.newBuilder()
		p.builder.Add(ms, r.Key, r.Value, r.Headers)
		to.open = p
	}
	p.add(fn, size, program)
	s.mu.Unlock()
	s.conn.poke()
	return nil
}

// reserve reserves room in the buffer for a record or a batch.
func (w *writer) reserve(ctx context.Context, partition int32, size int) error {
	s := w.session
	if size > s.cfg.BufferBytes || size > maxArrival/2 {
		return fault.At(fault.RecordTooLarge, w.topic, partition, -1).
			Detailf("%d bytes, the producer's buffer holds %d and a connection takes %d at once", size, s.cfg.BufferBytes, maxArrival/2)
	}
	return s.room.Take(ctx, nil, size, s.push)
}

// Append implements producer.Writer.
func (w *writer) Append(ctx context.Context, partition int32, b *record.Batch, fn producer.Callback) {
	err := ctx.Err()
	if err == nil && b.Count == 0 {
		err = errors.New("a batch without records")
	}
	if err == nil {
		err = w.append(ctx, partition, b, fn)
	}
	if err != nil {
		w.session.settle(fn, record.Position{Topic: w.topic, Partition: partition, Offset: -1}, err)
	}
}

func (w *writer) append(ctx context.Context, partition int32, b *record.Batch, fn producer.Callback) error {
	s := w.session
	if err := w.reserve(ctx, partition, len(b.Bytes)); err != nil {
		return s.refused(err)
	}
	s.mu.Lock()
	to, err := w.enter(ctx, partition)
	if err != nil {
		s.spoil(err)
		s.mu.Unlock()
		s.room.Give(len(b.Bytes))
		return err
	}
	to.open = nil // later records go to a later parcel
	p := s.newParcel(w, to, partition, kindBatch)
	p.batch = slices.Clone(b.Bytes)
	p.add(fn, len(b.Bytes), fn != nil)
	s.mu.Unlock()
	s.conn.poke()
	return nil
}
