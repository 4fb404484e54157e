package produce

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/quota"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Sessions opens the sessions of producers on a host.
type Sessions struct {
	host         *host.Host
	newID        func(context.Context) (int64, error)
	transactions Transactions
}

// Transactions is the coordinator of transactions, which documents the methods.
type Transactions interface {
	Init(ctx context.Context, id string, timeout time.Duration) (txn.Identity, error)
	Add(ctx context.Context, id string, who txn.Identity, partitions ...record.TopicPartition) error
	SendOffsets(ctx context.Context, id string, who txn.Identity, m consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error
	End(ctx context.Context, id string, who txn.Identity, commit bool) (txn.Identity, error)
}

// New returns the Sessions of a host. newID returns a producer ID that no producer has or
// ever had.
func New(h *host.Host, newID func(context.Context) (int64, error), t Transactions) *Sessions {
	return &Sessions{host: h, newID: newID, transactions: t}
}

// Open opens a session for a producer. See producer.Backend.
func (o *Sessions) Open(ctx context.Context, cfg producer.Config) (*Session, error) {
	if cfg.BatchBytes > maxBatchBytes {
		return nil, fault.Newf(fault.InvalidConfig, "a batch of %d bytes; at most %d", cfg.BatchBytes, maxBatchBytes)
	}
	s := &Session{
		host: o.host, newID: o.newID, transactions: o.transactions, cfg: cfg, codec: o.host.Codec(),
		writers: map[string]*writer{}, closing: make(chan struct{}),
	}
	s.producerID.Store(record.NoProducerID)
	if id := cfg.TransactionalID; id != "" {
		who, err := o.transactions.Init(ctx, id, cfg.TransactionTimeout)
		if err != nil {
			return nil, err
		}
		t := &transaction{session: s, id: id, who: who, adding: make(chan struct{}, 1)}
		t.left = t.leave
		t.gate.Store(isShut)
		s.transaction = t
		t.ctx, t.cancel = context.WithCancel(context.Background())
		s.producerID.Store(who.ProducerID)
	}
	s.allowance.Total = cfg.BufferBytes
	s.buffers.New = func() any {
		return &buffer{bytes: make([]byte, max(cfg.BatchBytes, record.HeaderLen)), pool: &s.buffers}
	}
	s.callbacks.New = func() any {
		fns := make([]producer.Callback, maxBatchRecords)
		return &fns
	}
	s.acks.New = func() any { return newAck() }
	if err := o.host.AddSession(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Session is one producer's connection to the broker. Its lanes do the work.
type Session struct {
	host  *host.Host
	newID func(context.Context) (int64, error)
	cfg   producer.Config
	codec *record.Codec

	transactions Transactions
	transaction  *transaction // nil without a transactional ID

	// producerID is set with the first topic, if the session is idempotent.
	producerID atomic.Int64

	allowance quota.Quota
	buffers   sync.Pool // of *buffer, of cfg.BatchBytes each, and room for a header at least
	callbacks sync.Pool // of *[]producer.Callback, of maxBatchRecords each
	acks      sync.Pool // of *ack

	running sync.WaitGroup // the lanes' senders, on goroutines of their own or callers'
	closing chan struct{}  // closed when Close begins
	closed  sync.Once

	mu      sync.Mutex
	writers map[string]*writer
	lanes   []*lane // of all writers
	done    bool
	failed  error // of the first record without a callback that failed since the last Flush
}

// Topic implements producer.Session.
func (s *Session) Topic(ctx context.Context, name string) (producer.Writer, error) {
	if topic.IsInternal(name) {
		return nil, fault.At(fault.InvalidTopic, name, -1, -1).Detailf("the broker keeps its own state in it")
	}
	t, err := s.host.Topic(name)
	if err != nil {
		return nil, err
	}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		return nil, fault.Closed
	}
	w := s.writers[name]
	if w != nil && w.topic == t {
		s.mu.Unlock()
		return w, nil
	}
	fresh := &writer{session: s, topic: t}
	s.writers[name] = fresh
	s.mu.Unlock()
	if w != nil {
		s.retireLanes()
	}
	return fresh, nil
}

// identify gives an idempotent session its producer ID.
func (s *Session) identify(ctx context.Context) error {
	if !s.cfg.Idempotent || s.producerID.Load() != record.NoProducerID {
		return nil
	}
	id, err := s.newID(ctx)
	if err == nil {
		s.producerID.CompareAndSwap(record.NoProducerID, id)
	}
	return err
}

// retireLanes ends the lanes into topics that were deleted.
func (s *Session) retireLanes() {
	gone := func(l *lane) bool { return l.writer.topic.IsGone() }
	for _, l := range s.allLanes() {
		if gone(l) {
			l.close(fault.UnknownTopic)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes = slices.DeleteFunc(slices.Clone(s.lanes), func(l *lane) bool { return gone(l) && l.isClosed() })
}

// hold takes bytes of the session's allowance for a batch, and waits for them if
// necessary. Before it waits, it sends the batches that linger, because they hold bytes.
func (s *Session) hold(ctx context.Context, bytes int) error {
	return s.allowance.Take(ctx, s.closing, bytes, func() {
		for _, l := range s.allLanes() {
			l.lingerOver()
		}
	})
}

func (s *Session) allLanes() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[:len(s.lanes):len(s.lanes)]
}

// addLane returns a new lane of w's, with a producer ID, into a partition.
func (s *Session) addLane(w *writer, number int32, p host.Partition, producerID int64) (*lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil, fault.Closed
	}
	l := newLane(w, number, p, producerID)
	s.lanes = append(s.lanes, l)
	return l, nil
}

// pack returns the batch's bytes, compressed, and the buffer that they are in, which is
// no longer the batch's. Unless the batch is whole, its header is not written yet.
func (s *Session) pack(b *openBatch) ([]byte, *buffer, error) {
	buf, size := b.buf, b.size
	b.buf = nil
	if b.whole {
		return buf.bytes[:size], buf, nil
	}
	if c := s.cfg.Compression; c != record.None {
		packed := s.buffers.Get().(*buffer)
		out, err := s.codec.Compress(packed.bytes[:record.HeaderLen], c, s.cfg.Level, buf.bytes[record.HeaderLen:size])
		buf.Recycle(nil)
		if err != nil {
			packed.Recycle(nil)
			return nil, nil, err
		}
		if buf, size = packed, len(out); &out[0] != &packed.bytes[0] { // the codec needed more room
			packed.Recycle(nil)
			buf = &buffer{bytes: out}
		}
	}
	return buf.bytes[:size], buf, nil
}

// fail keeps the failure of a record without a callback, for Flush and Close.
func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// flush waits for several batches.
type flush struct {
	left atomic.Int32 // how many batches are left, plus one while Flush still adds them
	over chan struct{}
}

func (f *flush) done() {
	if f.left.Add(-1) == 0 {
		close(f.over)
	}
}

// Flush implements producer.Session.
func (s *Session) Flush(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	err := s.takeFailure()
	if err == nil && s.isDone() {
		err = fault.Closed
	}
	return err
}

// settle sends what is buffered, and waits until all that was sent has its outcome.
func (s *Session) settle(ctx context.Context) error {
	if t := s.transaction; t != nil {
		t.enlistAll(ctx)
	}
	f := &flush{over: make(chan struct{})}
	f.left.Store(1)
	for _, l := range s.allLanes() {
		l.flush(f)
	}
	f.done()
	select {
	case <-f.over:
	default:
		select {
		case <-f.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// takeFailure returns the first failure that was not reported yet, once.
func (s *Session) takeFailure() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err, s.failed = s.failed, nil
	return err
}

func (s *Session) isDone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Close implements producer.Session.
func (s *Session) Close() error {
	s.End()
	return s.takeFailure()
}

// End is Close by the broker. Failures that were not reported yet are left for the
// program's own Close.
func (s *Session) End() {
	s.closed.Do(func() {
		s.mu.Lock()
		s.done = true
		s.mu.Unlock()
		close(s.closing)
		if t := s.transaction; t != nil {
			t.cancel()
		}
		for _, l := range s.allLanes() {
			l.close(fault.Closed)
		}
		s.running.Wait()
		s.host.RemoveSession(s)
	})
}

// writer appends to one topic for a session.
type writer struct {
	session *Session
	topic   *host.Topic
	lanes   atomic.Pointer[[]*lane] // by partition; nil for those to which nothing was sent yet

	mu     sync.Mutex       // held while lanes is replaced
	trials map[int32]*trial // by partition: those of SendIf. Guarded by mu
}

// Partitions implements producer.Writer.
func (w *writer) Partitions() int32 {
	if w.topic.IsGone() {
		return 0
	}
	return int32(len(w.topic.Partitions()))
}

// lane returns the lane into a partition.
func (w *writer) lane(number int32) (*lane, error) {
	if lanes := w.lanes.Load(); lanes != nil && uint32(number) < uint32(len(*lanes)) {
		if l := (*lanes)[number]; l != nil {
			return l, nil
		}
	}
	return w.addLane(number)
}

// partition returns a partition that may be appended to.
func (w *writer) partition(number int32) (host.Partition, error) {
	p, err := w.topic.Partition(number)
	if err != nil {
		return nil, err
	}
	if err := p.Err(); err != nil {
		if _, damaged := errors.AsType[*fault.Corruption](err); !damaged {
			p, err = w.session.host.Sound(w.topic, number)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (w *writer) addLane(number int32) (*lane, error) {
	p, err := w.partition(number)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lanes := make([]*lane, max(int(number)+1, len(w.topic.Placement())))
	if old := w.lanes.Load(); old != nil {
		copy(lanes, *old)
	}
	if lanes[number] == nil {
		l, err := w.session.addLane(w, number, p, w.session.producerID.Load())
		if err != nil {
			return nil, err
		}
		lanes[number] = l
	}
	w.lanes.Store(&lanes)
	return lanes[number], nil
}

// ack receives the outcome for one waiting Send.
type ack struct {
	state atomic.Int32
	at    record.Position
	err   error
	woken chan struct{}     // one slot, so that the settler never blocks
	told  producer.Callback // bound once, so that Send allocates nothing
}

const (
	ackOpen    = iota
	ackAwaited // Send waits on woken
	ackTold
)

func newAck() *ack {
	a := &ack{woken: make(chan struct{}, 1)}
	a.told = func(at record.Position, err error) {
		a.at, a.err = at, err
		if a.state.Swap(ackTold) == ackAwaited {
			a.woken <- struct{}{}
		}
	}
	return a
}

// enter returns the lane into a partition, for a call that is about to send. With a
// transactional ID, the lane takes part in the open transaction, which does not end before
// leave is called. now means that the caller waits, within ctx, until the lane is part of it.
func (w *writer) enter(ctx context.Context, number int32, now bool) (l *lane, leave func(), err error) {
	t := w.session.transaction
	if t == nil {
		l, err = w.lane(number)
		return l, func() {}, err
	}
	if err := t.enter(); err != nil {
		return nil, nil, err
	}
	switch l, err = w.lane(number); {
	case err != nil:
	case now:
		err = t.enlist(ctx, l)
	default:
		t.want(l)
	}
	if err != nil {
		t.leave()
		return nil, nil, w.failed(err)
	}
	return l, t.left, nil
}

// spoiled returns err, of a call that a lane has not seen. There may be no callback that
// gets it, so it makes the open transaction, if there is one, one that can only be aborted.
func (w *writer) spoiled(err error) error {
	if t := w.session.transaction; t != nil && err != nil {
		t.spoil(err)
	}
	return err
}

// failed returns err, which makes the open transaction one that can only be aborted.
func (w *writer) failed(err error) error {
	if t := w.session.transaction; t != nil && err != nil {
		t.fail(err)
	}
	return err
}

// Send implements producer.Writer.
func (w *writer) Send(ctx context.Context, r record.Record) (record.Position, error) {
	nowhere := record.Position{Topic: w.topic.Name, Partition: r.Partition, Offset: -1}
	if err := ctx.Err(); err != nil {
		return nowhere, err
	}
	l, leave, err := w.enter(ctx, r.Partition, true)
	if err != nil {
		return nowhere, err
	}
	defer leave()
	if w.session.cfg.Acks == producer.AcksNone {
		return nowhere, l.send(ctx, &r, nil, false)
	}
	a := w.session.acks.Get().(*ack)
	a.state.Store(ackOpen)
	if err := l.send(ctx, &r, a.told, true); err != nil {
		w.session.acks.Put(a)
		return nowhere, w.failed(err)
	}
	if a.state.CompareAndSwap(ackOpen, ackAwaited) {
		select {
		case <-a.woken:
		case <-ctx.Done():
			// The settler may be writing the outcome right now, so the ack is not reused.
			return nowhere, fault.At(fault.UnknownOutcome, l.topic, l.number, -1).Because(ctx.Err())
		}
	}
	at, err := a.at, a.err
	w.session.acks.Put(a)
	return at, err
}

// SendAsync implements producer.Writer.
func (w *writer) SendAsync(ctx context.Context, r record.Record, fn producer.Callback) {
	err := w.spoiled(ctx.Err())
	if err == nil {
		var l *lane
		var leave func()
		if l, leave, err = w.enter(ctx, r.Partition, false); err == nil {
			err = w.failed(l.send(ctx, &r, fn, false))
			leave()
		}
	}
	if err != nil {
		w.refuse(r.Partition, fn, err)
	}
}

// Append implements producer.Writer.
func (w *writer) Append(ctx context.Context, number int32, b *record.Batch, fn producer.Callback) {
	err := ctx.Err()
	if err == nil && b.Count == 0 {
		err = errors.New("a batch without records")
	}
	err = w.spoiled(err)
	if err == nil {
		var l *lane
		var leave func()
		if l, leave, err = w.enter(ctx, number, false); err == nil {
			err = w.failed(l.sendWhole(ctx, b, fn))
			leave()
		}
	}
	if err != nil {
		w.refuse(number, fn, err)
	}
}

// refuse reports that a record or a batch was not accepted.
func (w *writer) refuse(number int32, fn producer.Callback, err error) {
	if fn == nil {
		w.session.fail(err)
		return
	}
	fn(record.Position{Topic: w.topic.Name, Partition: number, Offset: -1}, err)
}

// Held returns how many bytes the session holds for records that are not acknowledged
// yet, and how many callers wait for some.
func (s *Session) Held() (bytes, waiting int) { return s.allowance.Held() }
