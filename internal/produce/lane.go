package produce

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

const (
	// backlogBatches is how many full batches may wait for the lane's goroutine. A
	// sender that fills another one sends them itself: on a single processor the
	// goroutine would otherwise never get to run, and the queue would grow.
	backlogBatches = 4

	// idleBytes is the largest batch of one record that sendIdle allocates by itself.
	// For a larger one, a pooled buffer of the session is cheaper.
	idleBytes = 4 << 10
)

// lane is one session's path into one partition: a batch that is open for records, and
// a queue of sealed batches, in the order in which they get their offsets.
//
// The open batch is sealed when it is full, or when its linger is over and no batch of
// the lane is on its way. So a record never waits on an idle lane, and on a busy one
// batches grow while the one before is written.
//
// Callbacks of the program run on a goroutine that serves only this lane. A callback may
// block, or end its goroutine by runtime.Goexit: that stops neither the sender nor the
// partition's writer, which serves many sessions, and no role is lost.
type lane struct {
	session   *Session
	writer    *writer
	partition host.Partition
	topic     string
	number    int32

	// The producer's, record.NoProducerID and NoProducerEpoch if the lane is not idempotent.
	// With transactions they change before the first record of each, while the lane is idle.
	producerID    int64
	producerEpoch int16
	wanted        atomic.Uint64 // the number of the session's transaction that the lane is to be part of
	enlisted      atomic.Uint64 // and of the one that it is part of

	// open is the batch that takes records, or nil. It changes under mu and is read
	// without it: a sender that loads a batch which is no longer open finds it sealed, and
	// looks again.
	open atomic.Pointer[openBatch]

	mu    sync.Mutex
	queue queue
	free  *openBatch // settled batches, to be opened again

	// sender hands batches to the partition in the queue's order; settler delivers their
	// outcomes in the same order. They are two roles because a callback may take as long
	// as it wants, and meanwhile the partition should get the next batches.
	sender  role.Role
	handing *openBatch // what the sender has claimed
	settler role.Role
	telling *openBatch // what the settler has claimed, or nil
	told    bool       // all of telling's senders have their outcome

	// due means that the open batch's linger is over. It belongs to the lane and not to
	// the batch because Flush, and a session that is short of memory, set it without
	// looking whether there is a batch.
	due    bool
	linger *time.Timer

	// sequence is that of the next record, if the lane is idempotent. It goes back when a
	// batch with sequences fails. handed counts the batches with a sequence for which the
	// partition has not called Appended yet. It is not the number of batches in
	// stateHanded, because close finishes these without waiting for the partition.
	sequence int32
	handed   int

	// failing is not nil while failures are being delivered. It is closed when lastFailing
	// is settled: the batch that was the queue's last when the latest failure came.
	failing     chan struct{}
	lastFailing *openBatch

	closed  error         // why the lane accepts nothing any more, or nil; never reset
	settled chan struct{} // made by close; closed when the queue is empty and no callback runs
}

// newLane returns a lane of a producer ID into a partition of w's topic.
func newLane(w *writer, number int32, p host.Partition, producerID int64) *lane {
	s := w.session
	l := &lane{
		session: s, writer: w, partition: p, topic: w.topic.Name, number: number,
		producerID: producerID, producerEpoch: record.NoProducerEpoch,
	}
	if l.isIdempotent() {
		l.producerEpoch = 0 // higher ones fence earlier producers with the same ID, which only transactions have
	}
	l.sender.Init(&l.mu, l.nextToHandLocked, l.hand, &s.running)
	l.sender.Gather = l.gather
	l.settler.Init(&l.mu, l.nextToTellLocked, l.tell, nil) // close waits for settled instead
	return l
}

// send adds r to the open batch. now means that a caller waits for the outcome.
//
// Each turn of the loop either finds room, or changes what stood in the way: it seals a
// full batch, or opens one. Other senders do the same at the same time, so no turn can
// rely on what the one before it has seen.
func (l *lane) send(ctx context.Context, r *record.Record, fn producer.Callback, now bool) error {
	ms, err := l.check(r)
	if err != nil {
		return err
	}
	if now && l.sendIdle(r, ms, fn) {
		return nil
	}
	for {
		if b := l.open.Load(); b != nil {
			at, outcome := b.reserve(r, ms)
			switch {
			case outcome == gotRoom:
				if b.fill(at, r, fn, now) {
					l.becomesReady(b)
				}
				if now || at.number == 0 {
					l.start(now)
				}
				return nil
			case outcome == isFull:
				l.sealFull(b)
			}
		}
		limit := l.batchLimit()
		if record.HeaderLen+largestSize(r) > limit {
			return l.sendAlone(ctx, r, ms, record.Condition{}, fn, now)
		}
		if err := l.makeRoom(ctx, limit, ms); err != nil {
			return err
		}
	}
}

// sendIdle sends r at once, as a batch of its own, if the lane is idle and the partition
// appends without waiting. Nothing could join the record in an open batch then, so one
// would only cost time.
func (l *lane) sendIdle(r *record.Record, ms int64, fn producer.Callback) bool {
	size := record.HeaderLen + record.Size(0, 0, r.Key, r.Value, r.Headers)
	if size > idleBytes || size > l.batchLimit() || l.session.cfg.Linger > 0 ||
		l.session.cfg.Compression != record.None || l.partition.AppendWaits() {
		return false
	}
	l.mu.Lock()
	if l.closed != nil || l.sender.IsTaken() || !l.queue.isEmpty() || l.open.Load() != nil {
		l.mu.Unlock()
		return false
	}
	b := l.takeFreeLocked()
	b.count, b.fn = 1, fn
	b.enterLocked(stateReady)
	l.numberLocked(b)
	l.queue.push(b)
	l.queue.claimUnsent() // claims b, which is alone in the queue
	l.sender.Hold()
	l.mu.Unlock()
	if ms == record.NoTimestamp {
		ms = time.Now().UnixMilli()
	}
	bytes := make([]byte, size) // not a buffer of the session: the log's memory tail would keep all of it for one record
	record.Put(bytes[record.HeaderLen:], 0, 0, r.Key, r.Value, r.Headers)
	b.base.Store(ms)
	b.latest.Store(ms)
	l.seal(b, bytes)
	l.partition.Append(bytes, nil, b)
	l.sender.GoOn(inlineBatches)
	return true
}

// batchLimit returns how large a batch of several records may become.
func (l *lane) batchLimit() int {
	limit := l.session.cfg.BatchBytes
	if most := l.partition.Settings().MaxMessageBytes; most > 0 {
		limit = min(limit, most)
	}
	return limit
}

// makeRoom makes sure that a batch is open. The caller is about to add a record with the
// time ms, from which a new batch counts its times.
//
// Opening a batch needs bytes of the session's allowance, and a lane that accepts
// records. Both may take a wait, which must not happen under the lock. So after each
// wait makeRoom looks at the lane again.
func (l *lane) makeRoom(ctx context.Context, limit int, ms int64) error {
	held := l.session.cfg.BatchBytes
	for holds := false; ; {
		err := l.awaitFailures(ctx)
		l.mu.Lock()
		accepts := l.acceptsLocked(ctx)
		isOpen := l.open.Load() != nil // another sender was faster
		opens := accepts && !isOpen && (holds || l.session.allowance.Try(held))
		if opens {
			l.openLocked(held, limit, ms)
		}
		l.mu.Unlock()
		switch {
		case opens:
			return nil
		case err != nil || accepts && isOpen:
			if holds {
				l.session.allowance.Give(held)
			}
			return err
		case accepts:
			if err := l.session.hold(ctx, held); err != nil {
				return err
			}
			holds = true
		}
	}
}

// openLocked opens a batch. The caller has taken held bytes of the allowance for it.
func (l *lane) openLocked(held, limit int, ms int64) {
	now := time.Now().UnixMilli()
	if ms == record.NoTimestamp {
		ms = now
	}
	b := l.takeFreeLocked()
	b.held = held
	b.beginLocked(l.session.buffers.Get().(*buffer), limit, now, ms)
	l.open.Store(b)
	l.beginLingerLocked()
}

// largestSize returns the most bytes that r can take in a batch.
func largestSize(r *record.Record) int {
	n := record.MaxRecordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += record.MaxHeaderOverhead + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// takeFreeLocked returns a batch from the free list, reset, or a new one.
func (l *lane) takeFreeLocked() *openBatch {
	b := l.free
	if b == nil {
		return newBatch(l)
	}
	l.free, b.next = b.next, nil
	b.resetLocked()
	return b
}

// beginLingerLocked starts the open batch's linger. While senders wait for bytes of the
// allowance, batches don't linger, because they hold these bytes.
func (l *lane) beginLingerLocked() {
	d := l.session.cfg.Linger
	if l.due = d == 0 || l.session.allowance.IsAwaited(); l.due {
		return
	}
	if l.linger == nil {
		l.linger = time.AfterFunc(d, l.lingerOver)
		return
	}
	l.linger.Reset(d)
}

// lingerOver ends the linger of the open batch, and sends it if nothing is on its way.
func (l *lane) lingerOver() {
	l.mu.Lock()
	l.due = true
	l.mu.Unlock()
	l.start(false)
}

// sendAlone sends a record as a batch of its own: one that doesn't fit into an open batch,
// or has a condition.
func (l *lane) sendAlone(ctx context.Context, r *record.Record, ms int64, condition record.Condition, fn producer.Callback, now bool) error {
	if ms == record.NoTimestamp {
		ms = time.Now().UnixMilli()
	}
	size := record.HeaderLen + record.Size(0, 0, r.Key, r.Value, r.Headers)
	if l.session.cfg.Compression == record.None {
		if err := l.partition.CheckSize(size); err != nil {
			return err
		}
	}
	b, err := l.ownBatch(ctx, size)
	if err != nil {
		return err
	}
	record.Put(b.buf.bytes[record.HeaderLen:size], 0, 0, r.Key, r.Value, r.Headers)
	b.base.Store(ms)
	b.latest.Store(ms)
	b.count, b.fn, b.condition = 1, fn, condition
	b.program.Store(fn != nil && !now)
	return l.enqueue(ctx, b, now)
}

// sendWhole sends a complete batch of the program's as it is.
func (l *lane) sendWhole(ctx context.Context, whole *record.Batch, fn producer.Callback) error {
	if err := l.checkReplicas(); err != nil {
		return err
	}
	if err := l.partition.Check(whole.Bytes); err != nil {
		return err
	}
	b, err := l.ownBatch(ctx, len(whole.Bytes))
	if err != nil {
		return err
	}
	copy(b.buf.bytes, whole.Bytes)
	b.count, b.fn, b.whole = whole.Count, fn, true
	b.program.Store(fn != nil)
	return l.enqueue(ctx, b, true)
}

// ownBatch returns a batch that only the caller fills, with a buffer of size bytes at
// least. A pooled buffer serves if the batch uses more than half of it.
func (l *lane) ownBatch(ctx context.Context, size int) (*openBatch, error) {
	cfg := &l.session.cfg
	if size > cfg.BufferBytes {
		return nil, fault.At(fault.RecordTooLarge, l.topic, l.number, -1).
			Detailf("%d bytes, the producer's buffer holds %d", size, cfg.BufferBytes)
	}
	pooled := size > cfg.BatchBytes/2 && size <= cfg.BatchBytes
	b := newBatch(l)
	b.held, b.size = size, size
	if pooled {
		b.held = cfg.BatchBytes
	}
	b.enterLocked(stateReady) // no one else has seen it
	if err := l.session.hold(ctx, b.held); err != nil {
		return nil, err
	}
	if pooled {
		b.buf = l.session.buffers.Get().(*buffer)
	} else {
		b.buf = &buffer{bytes: make([]byte, size)}
	}
	return b, nil
}

// enqueue adds a ready batch to the queue. What was sent before goes first: so it seals
// the open batch.
func (l *lane) enqueue(ctx context.Context, b *openBatch, now bool) error {
	for queued := false; !queued; {
		if err := l.awaitFailures(ctx); err != nil {
			b.buf.Recycle(nil)
			l.session.allowance.Give(b.held)
			return err
		}
		l.mu.Lock()
		if queued = l.acceptsLocked(ctx); queued {
			if open := l.open.Load(); open != nil && !open.isEmpty() {
				l.sealOpenLocked()
			}
			l.queue.push(b)
		}
		l.mu.Unlock()
	}
	l.start(now)
	return nil
}

// sealFull seals b, unless another sender has done so.
func (l *lane) sealFull(b *openBatch) {
	l.mu.Lock()
	if l.open.Load() != b {
		l.mu.Unlock()
		return
	}
	l.sealOpenLocked()
	crowded := l.queue.backlog >= backlogBatches
	l.mu.Unlock()
	l.start(crowded)
}

// sealOpenLocked puts the open batch into the queue.
func (l *lane) sealOpenLocked() {
	b := l.open.Load()
	b.sealLocked()
	l.open.Store(nil)
	l.queue.push(b)
}

// becomesReady is called after the last record was copied into a batch that had been
// sealed before. If the lane has failed or closed meanwhile, becomesReady finishes the
// batch: close and failBehindLocked could not, because its memory was in use.
func (l *lane) becomesReady(b *openBatch) {
	l.mu.Lock()
	b.enterLocked(stateReady)
	refused := cmp.Or(l.closed, b.doomed)
	lead := refused != nil && b.finishLocked(-1, refused) && l.settler.Take()
	l.mu.Unlock()
	if lead {
		l.settler.Lead(untilDone)
		return
	}
	l.start(false)
}

// flush seals the open batch and adds f to the last batch in the queue. Batches are
// settled in order, so f then waits for all of them.
func (l *lane) flush(f *flush) {
	l.mu.Lock()
	l.due = true
	if open := l.open.Load(); open != nil && !open.isEmpty() && l.closed == nil {
		l.sealOpenLocked()
	}
	if last := l.queue.last; last != nil {
		f.left.Add(1)
		last.flushes = append(last.flushes, f)
	}
	l.mu.Unlock()
	l.start(true)
}

// isClosed reports whether close was called.
func (l *lane) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed != nil
}

// close fails with this code what is not acknowledged yet and what is sent from now on.
// It returns when no callback of the lane runs any more. It doesn't wait for the
// partition: batches that were handed over get their outcome here, and Appended ignores
// the one that comes later.
func (l *lane) close(code fault.Code) {
	l.mu.Lock()
	if l.closed == nil {
		l.closed = fault.At(code, l.topic, l.number, -1)
	}
	if l.linger != nil {
		l.linger.Stop()
	}
	if l.open.Load() != nil {
		l.sealOpenLocked()
	}
	for b := l.queue.first; b != nil; b = b.next {
		b.finishLocked(-1, l.closed) // except batches that are still copied to: becomesReady finishes those
	}
	l.queue.withdraw()
	ended := l.hasEndedLocked()
	if l.settled == nil {
		l.settled = make(chan struct{})
	}
	settled := l.settled
	lead := l.settler.Take() // the settler closes settled, at once if the queue is empty
	l.mu.Unlock()
	if lead {
		l.settler.Lead(untilDone)
	}
	if ended {
		l.partition.EndProducer(l.producerID)
	}
	<-settled
}
