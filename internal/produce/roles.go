package produce

import (
	"runtime"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

const (
	// inlineBatches is how many batches a caller sends before a goroutine takes over. A
	// caller of SendAsync should get back to its own work.
	inlineBatches = 2 * backlogBatches

	// untilDone is the settler's limit: none. Any goroutine may wake waiting Sends, and
	// that takes little time. Callbacks of the program run on a goroutine of their own
	// (nextToTellLocked).
	untilDone = -1

	// gatherYields is how often the sender's goroutine lets others run before it seals a
	// batch for an fsync. The callers that the last fsync served have just been woken, and
	// send their next records at once: these records can share the next fsync.
	gatherYields = 3
)

// hasWorkLocked reports whether a sender would find something to do. The open batch
// counts only while no other batch is on its way: until then it can grow at no cost, and
// the settler looks again when that batch has its outcome.
func (l *lane) hasWorkLocked() bool {
	if l.closed != nil {
		return false
	}
	if next := l.queue.unsent; next != nil {
		return next.state == stateReady // otherwise records are still copied, and the last copier calls start
	}
	open := l.open.Load()
	return open != nil && l.due && l.queue.isQuiet() && !open.isEmpty()
}

// start makes sure that there is a sender if there is something to do. inline allows the
// caller to be the sender, if appends don't wait: switching to another goroutine costs
// more than writing a record. If appends wait, for an fsync or for replicas, a goroutine
// is the sender, and gathers what others send meanwhile. So it is where the lane's partition
// must be added to a transaction first.
func (l *lane) start(inline bool) {
	l.mu.Lock()
	lead := false
	switch {
	case l.sender.IsTaken() || !l.hasWorkLocked():
	case inline && !l.partition.AppendWaits() && l.session.transaction.has(l):
		lead = l.sender.Take()
	default:
		l.sender.Call()
	}
	l.mu.Unlock()
	if lead {
		l.sender.Lead(inlineBatches)
	}
}

// gather lets others send before the sender's goroutine seals the open batch.
func (l *lane) gather() {
	if l.partition.AppendWaits() {
		for range gatherYields {
			runtime.Gosched()
		}
	}
}

// nextToHandLocked claims the next batch for the sender. It seals the open batch if the
// queue has nothing to hand over. The role calls it with mu held.
func (l *lane) nextToHandLocked() role.Next {
	if !l.hasWorkLocked() {
		return role.None
	}
	if l.queue.unsent == nil {
		l.sealOpenLocked()
	}
	if l.handing = l.queue.claimUnsent(); l.handing == nil {
		return role.None // records are still copied into it: the last copier calls start
	}
	return role.Any
}

// hand gives the batch that the sender has claimed to the partition. Appended follows in
// every case, exactly once: from the partition, or from hand itself for a batch that
// doesn't get there.
func (l *lane) hand() {
	b := l.handing
	if b.count == 0 { // sealed by a sender that had seen an earlier generation full, or by a failure
		b.buf.Recycle(nil)
		b.buf = nil
		b.Appended(-1, nil)
		return
	}
	bytes, buf, err := l.session.pack(b)
	if err != nil {
		b.Appended(-1, err)
		return
	}
	if t := l.session.transaction; t != nil {
		err = t.enlist(t.ctx, l)
	}
	if err == nil {
		err = l.takeSequence(b, bytes)
	}
	if err != nil {
		buf.Recycle(nil)
		b.Appended(-1, err)
		return
	}
	l.seal(b, bytes)
	if b.condition.Demand != record.Anything {
		l.partition.AppendIf(bytes, b.condition, b)
		return
	}
	if len(bytes) < len(buf.bytes)/2 {
		// The log's memory tail would keep the whole buffer for a few bytes.
		small := append(make([]byte, 0, len(bytes)), bytes...)
		buf.Recycle(nil)
		l.partition.Append(small, nil, b)
		return
	}
	l.partition.Append(bytes, buf, b)
}

// Appended implements partition.Completion. It runs on the partition's writer, which
// serves other sessions, too, or within hand. So it doesn't call the program: the settler
// does.
//
// With an error, everything behind the batch must fail, too, or the log would have a
// hole: see failBehindLocked.
func (b *openBatch) Appended(base int64, err error) {
	l := b.lane
	l.mu.Lock()
	lead, ended := false, false
	if b.sequence != record.NoSequence {
		l.handed--
	}
	if err != nil && b.doomed != nil {
		err = b.doomed
	}
	if b.finishLocked(base, err) {
		if t := l.session.transaction; t != nil && err != nil {
			t.fail(err)
		}
		if err != nil && b.sequence != record.NoSequence && b.doomed == nil {
			l.failBehindLocked(b)
		}
		lead = l.settler.Take()
	} else { // close has finished the batch. If this was the last one, the producer can end now
		ended = l.hasEndedLocked()
	}
	l.mu.Unlock()
	if lead {
		l.settler.Lead(untilDone)
	}
	if ended {
		l.partition.EndProducer(l.producerID)
	}
}

// nextToTellLocked removes the batch whose outcome was delivered from the queue and
// claims the next one for the settler. If there is none, it does what has waited for
// that: it ends close, and starts a sender for the open batch. The role calls it with mu
// held.
func (l *lane) nextToTellLocked() role.Next {
	if l.told {
		l.settledLocked(l.queue.pop())
	}
	if l.telling, l.told = l.queue.claimDone(), false; l.telling != nil {
		if l.telling.program.Load() {
			return role.Own // a callback of the program may block, or end its goroutine
		}
		return role.Any
	}
	if l.settled != nil && l.queue.isEmpty() {
		close(l.settled)
		l.settled = nil
	}
	if !l.sender.IsTaken() && l.hasWorkLocked() {
		l.sender.Call() // nothing is on its way any more, so the open batch can go
	}
	return role.None
}

// settledLocked completes a batch that has left the queue: it counts down the flushes
// that wait for it, lets senders in again after the last failure, and keeps the batch for
// reuse.
func (l *lane) settledLocked(b *openBatch) {
	if len(b.flushes) > 0 {
		for _, f := range b.flushes {
			f.done()
		}
		clear(b.flushes)
		b.flushes = b.flushes[:0]
	}
	if b == l.lastFailing {
		close(l.failing)
		l.failing, l.lastFailing = nil, nil
	}
	if l.closed == nil { // else the partition may still have the batch
		b.next, l.free = l.free, b
	}
}

// tell delivers the outcome of the batch that the settler has claimed to all its
// senders. A callback may end the goroutine. Then the role passes to another one, which
// claims the same batch again and continues behind that callback: b.told counts a
// callback before it is called, so that none is called twice.
func (l *lane) tell() {
	b := l.telling
	at := record.Position{Topic: l.topic, Partition: l.number, Offset: -1}
	step := int64(0)
	if b.err == nil && l.session.cfg.Acks != producer.AcksNone {
		at.Offset, step = b.offset, 1
	}
	fns := b.fns.Load()
	switch {
	case fns != nil:
		at.Offset += step * int64(b.told)
		for b.told < b.count {
			fn := (*fns)[b.told]
			(*fns)[b.told] = nil
			b.told++
			if fn != nil {
				l.call(fn, at, b.err)
			} else if b.err != nil {
				l.session.fail(b.err)
			}
			at.Offset += step
		}
		b.fns.Store(nil)
		l.session.callbacks.Put(fns)
	case b.told > 0:
	case b.fn != nil:
		b.told = 1
		l.call(b.fn, at, b.err)
	case b.err != nil && b.count > 0:
		l.session.fail(b.err)
	}
	b.fn = nil
	if b.held > 0 {
		l.session.allowance.Give(b.held)
	}
	l.told = true
}

// call calls a callback. If it panics, Flush returns the panic as an error.
func (l *lane) call(fn producer.Callback, at record.Position, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.session.fail(fault.At(fault.Unknown, l.topic, l.number, at.Offset).Detailf("a callback panicked").Because(callback.Panicked(v)))
		}
	}()
	fn(at, err)
}
