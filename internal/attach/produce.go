package attach

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// parcelBytes is how large a parcel of several records becomes, about.
const parcelBytes = 64 << 10

// maxFree is how many builders are kept for later.
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
		err = c.add(s)
	}
	if err != nil {
		link.close()
		return nil, err
	}
	return s, nil
}

// sending is a producer's session. Records that are sent gather in parcels, one
// that is open for each partition, until the connection's writing goroutine
// takes them: so while it is busy, parcels grow. Batches are made of them on the
// other side, by the broker's own session.
type sending struct {
	client *Client
	conn   *conn
	cfg    producer.Config
	room   room

	pushing atomic.Bool    // the other side is told to send what lingers
	pushes  sync.WaitGroup // goroutines that wait for that

	mu      sync.Mutex
	pending []*parcel          // not yet written, in order
	parcels map[uint32]*parcel // whose outcome is not wholly known, by ID
	writers map[uint32]*writer // by the other side's number
	written []*parcel          // being written: their builders are used again
	free    []*record.Builder  // to be used again
	last    uint32             // ID of the last parcel
	over    error              // why nothing is accepted any more, or nil
	failed  error              // of the first record without a callback since the last Flush
}

func newSending(client *Client, conn *conn, cfg producer.Config) *sending {
	s := &sending{
		client: client, conn: conn, cfg: cfg,
		room:    room{free: cfg.BufferBytes},
		parcels: map[uint32]*parcel{},
		writers: map[uint32]*writer{},
	}
	conn.fill, conn.outcomes, conn.lost = s.fill, s.outcomes, s.lost
	return s
}

// parcel is what is sent at once to one partition: records, or a whole batch.
type parcel struct {
	id        uint32
	writer    *writer
	partition int32
	heard     uint32 // see arrival
	kind      kind
	builder   *record.Builder // of records
	batch     []byte          // a whole batch
	fns       []producer.Callback
	sizes     []int // what each takes of the room; 0 once it is told
	left      int   // how many are not told
	taken     bool  // the writing goroutine has it
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
		w = &writer{session: s, number: number, topic: name, open: map[int32]*parcel{}, heard: map[int32]uint32{}}
		s.writers[number] = w
	}
	w.partitions.Store(partitions)
	return w, nil
}

// Flush implements producer.Session.
func (s *sending) Flush(ctx context.Context) error {
	err := s.conn.call(ctx, flush, none, none)
	if err != nil && fault.CodeOf(err) != fault.Closed {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		err, s.failed = s.failed, nil
	}
	return err
}

// push has the other side send what lingers, because somebody waits for room.
func (s *sending) push() {
	if s.cfg.Linger == 0 || !s.pushing.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return // and Close waits for nobody who comes now
	}
	s.pushes.Go(func() {
		err := s.conn.call(context.Background(), flush, none, none)
		s.pushing.Store(false)
		if err == nil && s.room.isAwaited() { // some came meanwhile
			s.push()
		}
	})
}

// fill returns the parcels at hand, for the connection to write. The call means
// that those of the last one are written.
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
		if p.writer.open[p.partition] == p {
			delete(p.writer.open, p.partition)
		}
	}
	s.mu.Unlock()
	all := make([][]byte, 0, 2*len(ps))
	for _, p := range ps {
		batch := p.batch
		if p.builder != nil {
			b, err := p.builder.Batch(nil, record.None, 0)
			if err != nil {
				continue // it has records, so there is none
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

// outcomes takes a frame of outcomes. It runs on the connection's reading
// goroutine, and so do callbacks.
func (s *sending) outcomes(body []byte) error {
	var news outcomes
	if err := decode(body, news.fields); err != nil {
		return err
	}
	s.mu.Lock()
	for _, t := range news.topics {
		if w := s.writers[t.writer]; w != nil {
			w.partitions.Store(t.partitions)
		}
	}
	s.mu.Unlock()
	for _, r := range news.runs {
		if err := s.outcome(r); err != nil {
			return err
		}
	}
	return nil
}

// outcome tells what has become of some records of a parcel.
func (s *sending) outcome(r run) error {
	s.mu.Lock()
	p := s.parcels[r.parcel]
	ok := p != nil && p.taken && r.first >= 0 && r.count > 0 && int(r.count) <= len(p.sizes) && int(r.first) <= len(p.sizes)-int(r.count) &&
		!slices.Contains(p.sizes[r.first:r.first+r.count], 0)
	if !ok {
		s.mu.Unlock()
		return fault.Newf(fault.InvalidRequest, "an outcome of records that were not sent")
	}
	if p.left -= int(r.count); p.left == 0 {
		delete(s.parcels, p.id)
	}
	s.mu.Unlock()
	s.tell(p, int(r.first), int(r.count), r.base, r.err)
	if r.failure == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := p.writer; r.failure > w.heard[p.partition] {
		w.heard[p.partition] = r.failure
		delete(w.open, p.partition) // what is in it was sent before
	}
	return nil
}

// tell tells the outcome of some records of a parcel, and gives their room back.
func (s *sending) tell(p *parcel, first, count int, base int64, err error) {
	at := record.Position{Topic: p.writer.topic, Partition: p.partition, Offset: -1}
	bytes := 0
	for i := first; i < first+count; i++ {
		if err == nil && base >= 0 {
			at.Offset = base + int64(i-first)
		}
		s.settle(p.fns[i], at, err)
		p.fns[i] = nil
		bytes += p.sizes[i]
		p.sizes[i] = 0
	}
	s.room.give(bytes)
}

// settle calls fn, or keeps a failure for Flush where there is none.
func (s *sending) settle(fn producer.Callback, at record.Position, err error) {
	if fn != nil {
		fn(at, err)
		return
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// lost fails all that is not acknowledged, in order. What was on its way when the
// other side died may have been written.
func (s *sending) lost(said bool, err error) {
	s.mu.Lock()
	if s.over == nil {
		s.over = err
	}
	err = s.over
	parcels := s.parcels
	s.parcels, s.pending = map[uint32]*parcel{}, nil
	s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(parcels)) {
		p := parcels[id]
		why := err
		if p.taken && !said {
			why = fault.At(fault.UnknownOutcome, p.writer.topic, p.partition, -1).Because(err)
		}
		for i, size := range p.sizes {
			if size != 0 {
				s.tell(p, i, 1, -1, why)
			}
		}
	}
}

// Close implements producer.Session.
func (s *sending) Close() error {
	s.mu.Lock()
	if s.over == nil {
		s.over = fault.Closed
	}
	s.pending = nil
	s.mu.Unlock()
	s.conn.close()
	s.pushes.Wait()
	s.client.removeSession(s)
	return nil
}

// writer is a session's way into one topic.
type writer struct {
	session    *sending
	number     uint32 // the other side's
	topic      string
	partitions atomic.Int32

	// By partition, and guarded by session.mu: the parcels that take records, and
	// the numbers of the last failures that were told.
	open  map[int32]*parcel
	heard map[int32]uint32
}

// Partitions implements producer.Writer: the number as it was with the last
// acknowledgement.
func (w *writer) Partitions() int32 { return w.partitions.Load() }

// Send implements producer.Writer.
func (w *writer) Send(ctx context.Context, r record.Record) (record.Position, error) {
	type outcome struct {
		at  record.Position
		err error
	}
	nowhere := record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1}
	if w.session.cfg.Acks == producer.AcksNone {
		return nowhere, w.accept(ctx, &r, nil)
	}
	done := make(chan outcome, 1)
	if err := w.accept(ctx, &r, func(at record.Position, err error) { done <- outcome{at, err} }); err != nil {
		return nowhere, err
	}
	select {
	case o := <-done:
		return o.at, o.err
	case <-ctx.Done():
		return nowhere, fault.At(fault.UnknownOutcome, w.topic, r.Partition, -1).Because(ctx.Err())
	}
}

// SendAsync implements producer.Writer.
func (w *writer) SendAsync(ctx context.Context, r record.Record, fn producer.Callback) {
	if err := w.accept(ctx, &r, fn); err != nil {
		w.session.settle(fn, record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1}, err)
	}
}

// accept takes r into the partition's open parcel. After an error it has not,
// and fn is not called.
func (w *writer) accept(ctx context.Context, r *record.Record, fn producer.Callback) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ms := record.NoTimestamp
	if !r.Timestamp.IsZero() {
		if ms = r.Timestamp.UnixMilli(); ms < 0 {
			return fault.At(fault.InvalidTimestamp, w.topic, r.Partition, -1).Detailf("%v is before 1970", r.Timestamp)
		}
	}
	size := record.HeaderLen + record.MaxRecordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += record.MaxHeaderOverhead + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	s := w.session
	if err := w.hold(ctx, r.Partition, size); err != nil {
		return err
	}
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		s.room.give(size)
		return s.over
	}
	p := w.open[r.Partition]
	if p == nil || !p.builder.Add(ms, r.Key, r.Value, r.Headers) {
		p = s.begin(w, r.Partition, kindParcel)
		p.builder = s.newBuilder()
		p.builder.Add(ms, r.Key, r.Value, r.Headers)
		w.open[r.Partition] = p
	}
	p.add(fn, size)
	s.mu.Unlock()
	s.conn.poke()
	return nil
}

// hold takes room for a record or a batch.
func (w *writer) hold(ctx context.Context, partition int32, size int) error {
	s := w.session
	if size > s.cfg.BufferBytes || size > maxBody/2 {
		return fault.At(fault.RecordTooLarge, w.topic, partition, -1).
			Detailf("%d bytes, the producer's buffer holds %d and a connection takes %d at once", size, s.cfg.BufferBytes, maxBody/2)
	}
	return s.room.take(ctx, size, s.push)
}

// begin returns a new parcel behind all others; mu is held.
func (s *sending) begin(w *writer, partition int32, k kind) *parcel {
	s.last++
	p := &parcel{id: s.last, writer: w, partition: partition, heard: w.heard[partition], kind: k}
	s.parcels[p.id] = p
	s.pending = append(s.pending, p)
	return p
}

func (p *parcel) add(fn producer.Callback, size int) {
	p.fns, p.sizes = append(p.fns, fn), append(p.sizes, size)
	p.left++
}

func (s *sending) newBuilder() *record.Builder {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return record.NewBuilder(parcelBytes)
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
	if err := w.hold(ctx, partition, len(b.Bytes)); err != nil {
		return err
	}
	s := w.session
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		s.room.give(len(b.Bytes))
		return s.over
	}
	delete(w.open, partition) // what is sent later comes later
	p := s.begin(w, partition, kindBatch)
	p.batch = slices.Clone(b.Bytes)
	p.add(fn, len(b.Bytes))
	s.mu.Unlock()
	s.conn.poke()
	return nil
}
