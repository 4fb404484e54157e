package kafka

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// maxLinger is the longest that the client lingers.
const maxLinger = time.Minute

// retries is how often a record is sent again when a broker does not answer or
// returns a retriable error: about two minutes, which is Kafka's
// delivery.timeout.ms. (The client's own timeout starts at a record's
// timestamp, which may be any time.)
const retries = 60

// OpenProducer implements producer.Backend.
func (c *Cluster) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	s := &producing{
		cluster: c, cfg: cfg,
		room:    semaphore.NewWeighted(int64(cfg.BufferBytes)),
		codec:   record.NewCodec(0),
		writers: map[string]*writer{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	opts := []kgo.Opt{
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(s.partitioner)),
		kgo.ProducerLinger(min(cfg.Linger, maxLinger)),
		kgo.ProducerBatchCompression(compression(cfg.Compression, cfg.Level)),
		kgo.ProducerBatchMaxBytesFn(s.batchBytes),
		kgo.MaxBufferedRecords(math.MaxInt32), // s.room bounds them
		kgo.RecordRetries(retries),
		kgo.UnknownTopicRetries(2),
	}
	switch cfg.Acks {
	case producer.AcksLeader:
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
	case producer.AcksNone:
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()))
	}
	if !cfg.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if cfg.TransactionalID != "" {
		s.transaction = &transaction{id: cfg.TransactionalID}
		opts = append(opts, transactional(&cfg)...)
	}
	client, err := c.newClient(cfg.ClientID, opts...)
	if err != nil {
		return nil, err
	}
	s.client = client
	if s.transaction != nil {
		err = s.takeOver(ctx)
	}
	if err == nil {
		err = c.addSession(s)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

func compression(c record.Compression, level int) kgo.CompressionCodec {
	var codec kgo.CompressionCodec
	switch c {
	case record.Gzip:
		codec = kgo.GzipCompression()
	case record.Snappy:
		codec = kgo.SnappyCompression()
	case record.LZ4:
		codec = kgo.Lz4Compression()
	case record.Zstd:
		codec = kgo.ZstdCompression()
	default:
		return kgo.NoCompression()
	}
	if level != 0 {
		codec = codec.WithLevel(level)
	}
	return codec
}

// producing is a producer's session: a franz-go client that batches, and the
// guarantees of a session that the client does not give.
type producing struct {
	cluster *Cluster
	client  *kgo.Client
	cfg     producer.Config
	room    *semaphore.Weighted // bytes of the buffer that are still free
	codec   *record.Codec       // unpacks batches that are appended whole

	transaction *transaction // nil without a transactional ID

	ctx    context.Context // ends when the session closes
	cancel context.CancelFunc

	// sending is held for reading while a record is passed to the client, and
	// for writing while the session drops a topic or closes, so that no record
	// is passed in between.
	sending sync.RWMutex
	closed  bool           // guarded by sending
	flushes sync.WaitGroup // goroutines that wait for the client
	pushing atomic.Bool    // a flush is running because the buffer is full

	// told runs callbacks with the outcomes that the client reported. They do
	// not run on the client's goroutine, which a callback must not end.
	told callback.Queue

	mu      sync.Mutex
	writers map[string]*writer
	failed  error       // the first failure without a callback since the last Flush
	helper  *kgo.Client // for the offsets of transactions; nil until some are sent
}

// partitioner is called by the client once per topic. Through it the session
// learns a topic's number of partitions.
func (s *producing) partitioner(name string) func(*kgo.Record, int) int {
	w := s.writer(name)
	return func(r *kgo.Record, n int) int {
		w.loaded.Store(int32(n))
		return int(r.Partition)
	}
}

// writer returns the one writer of a topic.
func (s *producing) writer(name string) *writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writers[name]
	if w == nil {
		w = &writer{session: s, topic: name}
		s.writers[name] = w
	}
	return w
}

// batchBytes allows a topic records that are larger than BatchBytes: they get a
// batch to themselves, up to what the cluster accepts.
func (s *producing) batchBytes(string) int32 { return int32(min(s.cfg.BatchBytes, math.MaxInt32)) }

// Topic implements producer.Session.
func (s *producing) Topic(ctx context.Context, name string) (producer.Writer, error) {
	if s.ctx.Err() != nil {
		return nil, fault.Closed
	}
	if topic.IsInternal(name) {
		return nil, fault.At(fault.InvalidTopic, name, -1, -1).Detailf("the cluster keeps its own state in it")
	}
	w := s.writer(name)
	if err := w.refresh(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// Flush implements producer.Session.
func (s *producing) Flush(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return fault.Closed
	}
	if err := s.drain(ctx); err != nil {
		return err
	}
	return s.takeFailure()
}

// drain sends what is buffered, and waits until everything has its outcome and its
// callbacks have run.
func (s *producing) drain(ctx context.Context) error {
	if err := s.client.Flush(ctx); err != nil {
		return failure(err)
	}
	select {
	case <-s.told.Drained():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeFailure returns the first failure that was not reported yet, once.
func (s *producing) takeFailure() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err, s.failed = s.failed, nil
	return err
}

// push sends lingering batches because a sender waits for room.
func (s *producing) push() {
	if s.cfg.Linger == 0 || !s.pushing.CompareAndSwap(false, true) {
		return
	}
	s.flushes.Go(func() {
		defer s.pushing.Store(false)
		_ = s.client.Flush(s.ctx)
	})
}

// Close implements producer.Session.
func (s *producing) Close() error {
	s.end()
	return s.takeFailure()
}

// end is Close by the cluster. Failures that were not reported yet are left for
// the program's own Close.
func (s *producing) end() {
	s.cancel()
	s.sending.Lock()
	first := !s.closed
	s.closed = true
	s.sending.Unlock()
	if first {
		s.client.Close()
		s.mu.Lock()
		helper := s.helper
		s.mu.Unlock()
		if helper != nil {
			helper.Close()
		}
		s.cluster.removeSession(s)
	}
	s.flushes.Wait()
	// The client has failed the records that it held. Acquiring all of the room
	// waits for the last callback.
	if err := s.room.Acquire(context.Background(), int64(s.cfg.BufferBytes)); err == nil {
		s.room.Release(int64(s.cfg.BufferBytes))
	}
	<-s.told.Drained()
}

// refuse reports that a record or batch was not accepted.
func (s *producing) refuse(fn producer.Callback, at record.Position, err error) {
	if fn != nil {
		fn(at, err)
		return
	}
	s.note(err)
}

// note keeps a failure for Flush, as no callback reports it.
func (s *producing) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// writer is a session's writer to one topic.
type writer struct {
	session *producing
	topic   string

	known  atomic.Int32 // partitions, as the cluster says
	loaded atomic.Int32 // partitions, as the client saw them last; 0 before that

	mu sync.Mutex
	id [16]byte // of the topic that known belongs to

	stale bool // the client is to drop what it knows before the next transaction begins
}

// refresh asks the cluster about the topic. If the client knows another number
// of partitions, or the previous topic was deleted, the session flushes the
// client and makes it drop what it knows.
func (w *writer) refresh(ctx context.Context) error {
	t, err := w.session.cluster.metadata(ctx, w.topic)
	if err != nil {
		return err
	}
	n := int32(len(t.Partitions))
	w.mu.Lock()
	defer w.mu.Unlock()
	loaded := w.loaded.Load()
	stale := loaded != 0 && loaded != n || w.id != [16]byte{} && w.id != t.TopicID
	w.id = t.TopicID
	w.known.Store(n)
	s := w.session
	if stale && s.transaction != nil { // dropped with the topic, the client would take the transaction for one without it
		w.stale = true
		s.client.ForceMetadataRefresh()
		return nil
	}
	if !stale {
		return nil
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.closed {
		return fault.Closed
	}
	// Close waits for this call, so it must end it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if err := s.client.Flush(ctx); err != nil {
		return failureAt(err, w.topic, -1)
	}
	s.client.PurgeTopicsFromProducing(w.topic)
	w.loaded.Store(0)
	return nil
}

// Partitions implements producer.Writer.
func (w *writer) Partitions() int32 { return max(1, w.known.Load(), w.loaded.Load()) }

// Send implements producer.Writer.
func (w *writer) Send(ctx context.Context, r record.Record) (record.Position, error) {
	type outcome struct {
		at  record.Position
		err error
	}
	done := make(chan outcome, 1)
	w.SendAsync(ctx, r, func(at record.Position, err error) { done <- outcome{at, err} })
	select {
	case o := <-done:
		return o.at, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done:
		return o.at, o.err
	default:
		return record.Position{}, fault.At(fault.UnknownOutcome, w.topic, r.Partition, -1).Because(ctx.Err())
	}
}

// SendIf implements producer.Writer: Kafka has no conditions.
func (w *writer) SendIf(_ context.Context, r record.Record, _ producer.Condition) (record.Position, error) {
	return record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1},
		fault.At(fault.UnsupportedVersion, w.topic, r.Partition, -1).Detailf("Kafka appends without conditions").
			Try("let one process write each key, with a transactional ID that fences the process before it")
}

// SendAsync implements producer.Writer.
func (w *writer) SendAsync(ctx context.Context, r record.Record, fn producer.Callback) {
	if err := w.accept(ctx, r, fn); err != nil {
		w.session.refuse(fn, record.Position{Topic: w.topic, Partition: r.Partition, Offset: -1}, err)
	}
}

// accept takes a copy of r into the buffer. If it returns an error, r was not
// accepted and fn was not called.
func (w *writer) accept(ctx context.Context, r record.Record, fn producer.Callback) error {
	s := w.session
	if err := ctx.Err(); err != nil {
		return err
	}
	if t := s.transaction; t != nil {
		if err := t.enter(); err != nil {
			return err
		}
		defer t.leave()
	}
	return s.fail(w.pass(ctx, r, fn))
}

// pass passes a copy of r to the client.
func (w *writer) pass(ctx context.Context, r record.Record, fn producer.Callback) error {
	s := w.session
	if r.Partition < 0 || r.Partition >= w.Partitions() {
		if err := w.findPartition(ctx, r.Partition); err != nil {
			return err
		}
	}
	own := &sent{writer: w, fn: fn}
	own.copy(r)
	own.size = min(own.size, int64(s.cfg.BufferBytes))
	if !s.room.TryAcquire(own.size) {
		s.push()
		if err := s.room.Acquire(ctx, own.size); err != nil {
			return err
		}
	}
	s.sending.RLock()
	defer s.sending.RUnlock()
	if s.closed {
		s.room.Release(own.size)
		return fault.At(fault.Closed, w.topic, r.Partition, -1)
	}
	// ctx limits only the wait for room, so the client does not get it.
	s.client.Produce(context.Background(), &own.Record, own.done)
	return nil
}

// findPartition asks the cluster for a partition that the writer does not know.
func (w *writer) findPartition(ctx context.Context, partition int32) error {
	if w.session.ctx.Err() != nil {
		return fault.At(fault.Closed, w.topic, partition, -1)
	}
	if partition >= 0 {
		if err := w.refresh(ctx); err != nil {
			return err
		}
	}
	if partition < 0 || partition >= w.Partitions() {
		return fault.At(fault.UnknownTopic, w.topic, partition, -1).Detailf("the topic has %d partitions", w.Partitions())
	}
	return nil
}

// Append implements producer.Writer: it sends the batch's records one by one.
func (w *writer) Append(ctx context.Context, partition int32, b *record.Batch, fn producer.Callback) {
	at := record.Position{Topic: w.topic, Partition: partition, Offset: -1}
	records, err := w.session.unpack(b)
	if err != nil {
		w.session.refuse(fn, at, err)
		return
	}
	all := &whole{session: w.session, fn: fn, left: len(records), at: at}
	for _, r := range records {
		r.Partition = partition
		w.SendAsync(ctx, r, all.done)
	}
}

// unpack returns the records of a batch.
func (s *producing) unpack(b *record.Batch) ([]record.Record, error) {
	if err := b.VerifyCRC(); err != nil {
		return nil, err
	}
	it, err := b.Records(s.codec)
	if err != nil {
		return nil, err
	}
	var records []record.Record
	for r := (record.Record{}); it.Next(&r); {
		records = append(records, r)
	}
	if err := it.Err(); err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, fault.Newf(fault.InvalidRecord, "a batch without records")
	}
	return records, nil
}

// whole collects the outcomes of a batch's records.
type whole struct {
	session *producing
	fn      producer.Callback

	mu   sync.Mutex
	left int
	at   record.Position // of the first record
	err  error           // the first failure
}

func (b *whole) done(at record.Position, err error) {
	if !b.addOutcome(at, err) {
		return
	}
	if b.fn != nil {
		b.fn(b.at, b.err)
		return
	}
	b.session.note(b.err)
}

// addOutcome records the outcome of one record, and reports whether it was the last
// one.
func (b *whole) addOutcome(at record.Position, err error) (all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.Offset < 0 && err == nil {
		b.at = at
	}
	if b.err == nil {
		b.err = err
	}
	if b.err != nil {
		b.at.Offset = -1
	}
	b.left--
	return b.left == 0
}

// sent is a record in flight, with bytes of its own. It implements
// callback.Item.
type sent struct {
	kgo.Record
	writer *writer
	fn     producer.Callback
	size   int64 // how much of the session's buffer it takes
	called bool  // fn has been
	err    error
}

// copy fills s from r. Null stays null and empty stays empty.
func (s *sent) copy(r record.Record) {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	s.size = int64(n + record.MaxRecordOverhead + len(r.Headers)*record.MaxHeaderOverhead)
	buf := make([]byte, 0, n)
	keep := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		from := len(buf)
		buf = append(buf, b...)
		return buf[from:len(buf):len(buf)]
	}
	s.Topic, s.Partition, s.Timestamp = s.writer.topic, r.Partition, r.Timestamp
	s.Key, s.Value = keep(r.Key), keep(r.Value)
	if len(r.Headers) > 0 {
		s.Headers = make([]kgo.RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			s.Headers[i] = kgo.RecordHeader{Key: strings.Clone(h.Key), Value: keep(h.Value)}
		}
	}
}

// The client calls done once, in the order of offsets.
func (s *sent) done(_ *kgo.Record, err error) {
	if s.err = err; err != nil {
		s.err = s.writer.session.fail(s.failure(err))
	}
	if t := s.writer.session.transaction; t != nil && err == nil {
		t.mu.Lock()
		t.records = true
		t.mu.Unlock()
	}
	s.writer.session.told.Add(s)
}

// Step runs the record's callback.
func (s *sent) Step() bool {
	if s.called {
		return false // fn was called, and has ended its goroutine
	}
	s.called = true
	session := s.writer.session
	defer session.room.Release(s.size)
	if s.fn == nil {
		if s.err != nil {
			session.note(s.err)
		}
		return false
	}
	at := record.Position{Topic: s.writer.topic, Partition: s.Partition, Offset: s.Offset}
	if s.err != nil || session.cfg.Acks == producer.AcksNone {
		at.Offset = -1
	}
	defer func() {
		if v := recover(); v != nil {
			session.note(fault.At(fault.Unknown, at.Topic, at.Partition, at.Offset).Detailf("a callback panicked").Because(callback.Panicked(v)))
		}
	}()
	s.fn(at, s.err)
	return false
}

// failure converts the client's error to one that says what it means for the
// record.
func (s *sent) failure(err error) error {
	if s.writer.session.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed)) {
		return fault.At(fault.Closed, s.Topic, s.Partition, -1)
	}
	return failureAt(err, s.Topic, s.Partition)
}
