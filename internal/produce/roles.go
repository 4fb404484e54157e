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
	// inlineBatches is how many batches a caller sends before a goroutine goes
	// on. A caller of SendAsync should get back to its own work.
	inlineBatches = 2 * backlogBatches

	// untilDone is for the settler: waiting Sends are woken by any goroutine, and
	// there is never much of it.
	untilDone = -1

	// gatherYields is how often the sender's goroutine lets others run before it seals
	// what an fsync is to serve: those that the last one served send again at once.
	gatherYields = 3
)

// hasWorkLocked reports whether a sender would find something to do. An open batch counts
// only while the lane is quiet: behind a batch on its way it grows at no cost, and the
// settler looks again when that one has its outcome.
func (l *lane) hasWorkLocked() bool {
	if l.closed != nil {
		return false
	}
	if next := l.queue.unsent; next != nil {
		return next.state == stateReady // otherwise its last copier looks again
	}
	open := l.open.Load()
	return open != nil && l.due && l.queue.isQuiet() && !open.isEmpty()
}

// start sees to it that there is a sender if there is something to do. inline
// asks the caller to be it, where an append waits for nothing: a Send that is alone
// is then served without changing goroutines, which costs more than writing does. Where
// an append waits, a goroutine gathers what others send meanwhile.
func (l *lane) start(inline bool) {
	l.mu.Lock()
	lead := false
	switch {
	case l.sender.IsTaken() || !l.hasWorkLocked():
	case inline && !l.partition.AppendWaits():
		lead = l.sender.Take()
	default:
		l.sender.Call()
	}
	l.mu.Unlock()
	if lead {
		l.sender.Lead(inlineBatches)
	}
}

// gather lets others send before the sender's goroutine seals what is open.
func (l *lane) gather() {
	if l.partition.AppendWaits() {
		for range gatherYields {
			runtime.Gosched()
		}
	}
}

// nextToHandLocked claims the next batch for the sender.
func (l *lane) nextToHandLocked() role.Next {
	if !l.hasWorkLocked() {
		return role.None
	}
	if l.queue.unsent == nil {
		l.sealOpenLocked()
	}
	if l.handing = l.queue.hand(); l.handing == nil {
		return role.None // what was open is still copied to: its last copier starts a sender
	}
	return role.Any
}

// hand gives the batch that the sender has claimed to the partition. Whatever becomes of
// it, Appended follows.
func (l *lane) hand() {
	b := l.handing
	if b.count == 0 { // sealed by a sender that saw it full in an earlier life, or by a failure
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
	if err := l.takeSequence(b, bytes); err != nil {
		buf.Recycle(nil)
		b.Appended(-1, err)
		return
	}
	l.seal(b, bytes)
	if len(bytes) < len(buf.bytes)/2 {
		// The log would keep the whole buffer for a few bytes.
		small := append(make([]byte, 0, len(bytes)), bytes...)
		buf.Recycle(nil)
		l.partition.Append(small, nil, b)
		return
	}
	l.partition.Append(bytes, buf, b)
}

// Appended implements partition.Completion. It runs on the goroutine that writes for
// many, or within hand: the settler's role keeps callbacks of the program off both.
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
		if err != nil && b.sequence != record.NoSequence && b.doomed == nil {
			l.failBehindLocked(b)
		}
		lead = l.settler.Take()
	} else { // the lane was closed meanwhile, and could not end its producer
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

// nextToTellLocked takes the batch that was told off the queue and claims the next one
// for the settler. When there is none, it does what waits for that.
func (l *lane) nextToTellLocked() role.Next {
	if l.told {
		l.settledLocked(l.queue.pop())
	}
	if l.telling, l.told = l.queue.tell(), false; l.telling != nil {
		if l.telling.program.Load() {
			return role.Own // it may block, or end its goroutine
		}
		return role.Any
	}
	if l.settled != nil && l.queue.isEmpty() {
		close(l.settled)
		l.settled = nil
	}
	if !l.sender.IsTaken() && l.hasWorkLocked() {
		l.sender.Call() // the lane is quiet, for which the open batch has waited
	}
	return role.None
}

// settledLocked lets go of a batch that has left the queue.
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
	if l.closed == nil { // otherwise the partition may still have it
		b.next, l.free = l.free, b
	}
}

// tell delivers the outcome of the batch that the settler has claimed to all its senders.
// A callback may end the goroutine: then the settler claims the same batch again, and
// told keeps it from calling one twice. So it is counted before the call.
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

// call calls a callback. What panics there is a failure that Flush returns.
func (l *lane) call(fn producer.Callback, at record.Position, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.session.fail(fault.At(fault.Unknown, l.topic, l.number, at.Offset).Detailf("a callback panicked").Because(callback.Panicked(v)))
		}
	}()
	fn(at, err)
}
