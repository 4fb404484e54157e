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
	// backlogBatches is how many full batches may wait for the lane's goroutine
	// before a sender that fills another one sends them itself. It must, or on a
	// single processor the goroutine never gets to run.
	backlogBatches = 4

	// idleBytes is up to what size a record is sent without a buffer of the
	// session.
	idleBytes = 4 << 10
)

// A lane is one session's way into one partition: a batch that is open for
// records, and behind it a queue of batches that were sealed, in the order in
// which they get their offsets.
//
// The open batch is sealed when it is full, or when its linger is over and
// no batch of the lane is on its way: so a record never waits on an idle lane, and on a
// busy one batches grow while the one before is written.
//
// Callbacks of the program run on a goroutine of the lane's alone. One that blocks
// or ends it, by runtime.Goexit, stops neither the goroutine that sends nor the one that
// writes for many partitions' sessions, and no role is lost.
type lane struct {
	session   *Session
	writer    *writer
	partition host.Partition
	topic     string
	number    int32

	producerID    int64 // record.NoProducerID: the lane is not idempotent
	producerEpoch int16 // record.NoProducerEpoch then

	// open takes records, or is nil. It changes under mu, and is read without it: a
	// sender that sees one that is no longer open finds it sealed.
	open atomic.Pointer[openBatch]

	mu    sync.Mutex
	queue queue
	free  *openBatch // settled batches, to be opened again

	// sender hands batches to the partition in the queue's order, settler delivers their
	// outcomes in the same order. They are separate because a callback may take as long as
	// it wants while the partition goes on.
	sender  role.Role
	handing *openBatch // what the sender has claimed
	settler role.Role
	telling *openBatch // what the settler has claimed, or nil
	told    bool       // all of telling's senders have their outcome

	// due says that the open batch's linger is over. It is kept here and not with the
	// batch because Flush and a session short of memory set it whether there is one or not.
	due    bool
	linger *time.Timer

	// sequence is the next record's, if the lane is idempotent. It goes back when a batch
	// with sequences fails. handed counts batches with a sequence of which the partition has
	// not called Appended, in whatever state: closing ends them before.
	sequence int32
	handed   int

	// failing is not nil while failures are being delivered, and closed when lastFailing,
	// the queue's last batch when the latest failure came, is settled.
	failing     chan struct{}
	lastFailing *openBatch

	closed  error         // why nothing is accepted any more, or nil; final
	settled chan struct{} // made by close, and closed when the queue is empty and nothing is being told
}

// newLane returns w's lane into a partition.
func newLane(w *writer, number int32, p host.Partition) *lane {
	s := w.session
	l := &lane{
		session: s, writer: w, partition: p, topic: w.topic.Name, number: number,
		producerID: s.producerID.Load(), producerEpoch: record.NoProducerEpoch,
	}
	if l.isIdempotent() {
		l.producerEpoch = 0 // until a transaction fences one that came before
	}
	l.sender.Init(&l.mu, l.nextToHandLocked, l.hand, &s.running)
	l.sender.Gather = l.gather
	l.settler.Init(&l.mu, l.nextToTellLocked, l.tell, nil) // close waits for settled instead
	return l
}

// send takes r into the open batch. now says that somebody waits for it.
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
			return l.sendAlone(ctx, r, ms, fn, now)
		}
		if err := l.makeRoom(ctx, limit, ms); err != nil {
			return err
		}
	}
}

// sendIdle sends r at once and by itself, if the lane is idle and its partition
// waits for nothing: what the open batch is good for would only cost time then.
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
	l.queue.hand() // which is b: there is nothing else
	l.sender.Hold()
	l.mu.Unlock()
	if ms == record.NoTimestamp {
		ms = time.Now().UnixMilli()
	}
	bytes := make([]byte, size) // and not the session's buffer: the log would keep it for one record
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

// makeRoom makes sure that a batch is open. A record of the time ms is about to
// be put there.
//
// Opening one needs bytes of the session's allowance, which may have to be waited for, and
// a lane that accepts records, which may have to be waited for, too. Neither wait is
// under the lock, so after each the lane is looked at again.
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

// openLocked opens a batch, whose bytes of the allowance are held.
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

// takeFreeLocked returns a batch that is settled and reset.
func (l *lane) takeFreeLocked() *openBatch {
	b := l.free
	if b == nil {
		return newBatch(l)
	}
	l.free, b.next = b.next, nil
	b.resetLocked()
	return b
}

// beginLingerLocked starts the open batch's linger. There is none while senders wait for
// bytes: what lingers holds them.
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

// lingerOver says that the open batch has waited long enough.
func (l *lane) lingerOver() {
	l.mu.Lock()
	l.due = true
	l.mu.Unlock()
	l.start(false)
}

// sendAlone sends a record that is larger than a batch may grow as a batch of
// its own.
func (l *lane) sendAlone(ctx context.Context, r *record.Record, ms int64, fn producer.Callback, now bool) error {
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
	b.count, b.fn = 1, fn
	b.program.Store(fn != nil && !now)
	return l.enqueue(ctx, b, now)
}

// sendWhole sends a batch as it is.
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

// ownBatch returns a batch that nobody else fills, with room for size bytes.
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

// enqueue puts a ready batch behind everything that was sent before.
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

// sealFull seals b, unless another sender that found it full has.
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

// becomesReady follows the copy of the last record into a batch that was sealed before.
// Where the lane has failed or closed meanwhile, the batch was left for this to end.
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

// flush seals the open batch and has f wait for everything in the queue.
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

// close fails what is unacknowledged with an error of this code, and what is sent
// from now on. It returns when no callback runs any more. It does not wait for the
// partition: what was handed over gets its outcome here, and Appended ignores the later one.
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
		b.finishLocked(-1, l.closed) // but not what is being copied to: that ends in becomesReady
	}
	l.queue.withdraw()
	ended := l.hasEndedLocked()
	if l.settled == nil {
		l.settled = make(chan struct{})
	}
	settled := l.settled
	lead := l.settler.Take() // which closes settled at once if the queue is empty
	l.mu.Unlock()
	if lead {
		l.settler.Lead(untilDone)
	}
	if ended {
		l.partition.EndProducer(l.producerID)
	}
	<-settled
}
