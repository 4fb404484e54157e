package produce

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

const (
	// backlogBatches is how many full batches may wait for the lane's goroutine
	// before a sender that fills another one sends them itself. It must, or on a
	// single processor the goroutine never gets to run.
	backlogBatches = 4

	// inlineBatches is how many batches a sender sends before a goroutine goes
	// on.
	inlineBatches = 2 * backlogBatches

	// idleBytes is up to what size a record is sent without a buffer of the
	// session.
	idleBytes = 4 << 10

	// gatherYields is how often the goroutine lets others run before it seals
	// what an fsync is to serve.
	gatherYields = 3
)

// A lane is one session's way into one partition: a batch that is open for
// records, and behind it a queue of batches that were sealed, in the order in
// which they get their offsets.
//
// Two roles are passed as tokens. The sender seals the open batch when its time
// has come and hands ready batches to the partition, in order; the settler takes
// batches off the queue once their outcome is known, in order, and runs their
// callbacks. Whoever brings work and finds nobody in the role takes it on, or
// starts a goroutine that does; with the lane idle there is none.
//
// Callbacks of the program run on a goroutine of the lane's alone. One that blocks
// or ends it, by runtime.Goexit, does so neither to who sends nor to who writes
// for many, and no role is lost.
//
// The open batch's time has come when it is full, or when its linger is over and
// no batch of the lane is on its way: so nobody waits on an idle lane, and on a
// busy one batches grow while the one before is written.
type lane struct {
	session   *Session
	writer    *writer
	partition host.Partition
	topic     string
	number    int32

	producerID    int64 // record.NoProducerID: the lane is not idempotent
	producerEpoch int16 // record.NoProducerEpoch then

	// open takes records, or is nil. It changes under mu.
	open atomic.Pointer[openBatch]

	mu          sync.Mutex
	first, last *openBatch // the queue: sealed, not settled
	unsent      *openBatch // the first in the queue that the partition hasn't got
	queued      int        // how many batches in the queue have no outcome yet, or wait for the settler
	backlog     int        // how many the partition hasn't got
	sending     bool       // somebody is the sender
	spawned     bool       // a goroutine is on its way to become the sender
	settling    bool       // somebody is the settler
	due         bool       // the open batch's linger is over
	linger      *time.Timer
	free        *openBatch    // batches to use again
	closed      error         // why nothing is accepted any more, or nil
	sequence    int32         // of the next record, if the lane is idempotent
	handed      int           // batches with a sequence of which the partition has not told the outcome
	failing     chan struct{} // nothing is accepted until lastFailing is settled, when it is closed; or nil
	lastFailing *openBatch
	settled     chan struct{} // closed when a closed lane's queue is empty and nobody settles
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
	if l.closed != nil || l.sending || l.first != nil || l.open.Load() != nil {
		l.mu.Unlock()
		return false
	}
	b := l.takeFree()
	b.sent, b.done, b.ready, b.whole = true, false, true, false
	b.held, b.count, b.fn, b.told = 0, 1, fn, 0
	b.program.Store(false)
	b.sequence, b.doomed = record.NoSequence, nil
	if l.isIdempotent() {
		b.sequence = l.sequence
		l.sequence = log.NextSequence(l.sequence, 1)
		l.handed++
	}
	l.sending = true
	l.push(b)
	l.unsent = nil
	l.backlog--
	l.mu.Unlock()
	if ms == record.NoTimestamp {
		ms = time.Now().UnixMilli()
	}
	bytes := make([]byte, size)
	record.Put(bytes[record.HeaderLen:], 0, 0, r.Key, r.Value, r.Headers)
	b.base.Store(ms)
	b.latest.Store(ms)
	l.seal(b, bytes)
	l.partition.Append(bytes, nil, b)
	l.sendReady(inlineBatches)
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
func (l *lane) makeRoom(ctx context.Context, limit int, ms int64) error {
	held := l.session.cfg.BatchBytes
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.awaitFailures(ctx); err != nil || l.open.Load() != nil {
		return err
	}
	if !l.session.allowance.Try(held) {
		l.mu.Unlock()
		err := l.session.hold(ctx, held)
		l.mu.Lock()
		if err != nil {
			return err
		}
		if err := l.awaitFailures(ctx); err != nil || l.open.Load() != nil {
			l.session.allowance.Give(held)
			return err
		}
	}
	b := l.takeFree()
	b.held = held
	now := time.Now().UnixMilli()
	if ms == record.NoTimestamp {
		ms = now
	}
	b.begin(l.session.buffers.Get().(*buffer), limit, now, ms)
	l.open.Store(b)
	l.beginLinger()
	return nil
}

// largestSize returns the most bytes that r can take in a batch.
func largestSize(r *record.Record) int {
	n := record.MaxRecordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += record.MaxHeaderOverhead + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// takeFree returns a batch to open; mu is held.
func (l *lane) takeFree() *openBatch {
	b := l.free
	if b == nil {
		b = &openBatch{lane: l}
		b.state.Store(sealedBit)
		return b
	}
	l.free, b.next = b.next, nil
	return b
}

// beginLinger starts the open batch's linger; mu is held.
func (l *lane) beginLinger() {
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
	b := &openBatch{lane: l, held: size, size: size, ready: true, sequence: record.NoSequence}
	if pooled {
		b.held = cfg.BatchBytes
	}
	b.state.Store(sealedBit)
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
	l.mu.Lock()
	if err := l.awaitFailures(ctx); err != nil {
		l.mu.Unlock()
		b.buf.Recycle(nil)
		l.session.allowance.Give(b.held)
		return err
	}
	if open := l.open.Load(); open != nil && !open.isEmpty() {
		l.sealOpen()
	}
	l.push(b)
	l.mu.Unlock()
	l.start(now)
	return nil
}

// sealFull seals b, unless somebody has.
func (l *lane) sealFull(b *openBatch) {
	l.mu.Lock()
	if l.open.Load() != b {
		l.mu.Unlock()
		return
	}
	l.sealOpen()
	crowded := l.backlog >= backlogBatches
	l.mu.Unlock()
	l.start(crowded)
}

// sealOpen puts the open batch, which is not empty, into the queue; mu is held.
func (l *lane) sealOpen() {
	b := l.open.Load()
	b.seal()
	l.open.Store(nil)
	l.push(b)
}

// push adds a sealed batch to the queue; mu is held.
func (l *lane) push(b *openBatch) {
	if l.last == nil {
		l.first = b
	} else {
		l.last.next = b
	}
	l.last = b
	if l.unsent == nil {
		l.unsent = b
	}
	l.queued++
	l.backlog++
}

// becomesReady is told by the last copier of a batch that was sealed before.
func (l *lane) becomesReady(b *openBatch) {
	l.mu.Lock()
	b.ready = true
	if refused := cmp.Or(l.closed, b.doomed); refused != nil && !b.done && !b.sent {
		b.finish(-1, refused)
		l.settle()
		return
	}
	l.mu.Unlock()
	l.start(false)
}

// flush seals the open batch and has f wait for everything in the queue.
func (l *lane) flush(f *flush) {
	l.mu.Lock()
	l.due = true
	if open := l.open.Load(); open != nil && !open.isEmpty() && l.closed == nil {
		l.sealOpen()
	}
	if l.last != nil {
		f.left.Add(1)
		l.last.flushes = append(l.last.flushes, f)
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
// from now on. It returns when no callback runs any more.
func (l *lane) close(code fault.Code) {
	l.mu.Lock()
	if l.closed == nil {
		l.closed = fault.At(code, l.topic, l.number, -1)
	}
	if l.linger != nil {
		l.linger.Stop()
	}
	if l.open.Load() != nil {
		l.sealOpen()
	}
	for b := l.first; b != nil; b = b.next {
		if b.done || !b.ready {
			continue // a batch that is being copied to is failed by its last copier
		}
		b.finish(-1, l.closed)
	}
	ended := l.hasEnded()
	settled := make(chan struct{})
	if l.settled == nil {
		l.settled = settled
	} else {
		settled = l.settled
	}
	l.settle()
	if ended {
		l.partition.EndProducer(l.producerID)
	}
	<-settled
}
