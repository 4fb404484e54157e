package produce

import (
	"runtime"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// hasWork reports whether a sender would find something to do; mu is held.
func (l *lane) hasWork() bool {
	if l.closed != nil {
		return false
	}
	if l.unsent != nil {
		return l.unsent.ready
	}
	open := l.open.Load()
	return open != nil && l.due && l.queued == 0 && !open.isEmpty()
}

// start sees to it that there is a sender if there is something to do. inline
// asks the caller to be it, which is only right where an append waits for
// nothing.
func (l *lane) start(inline bool) {
	l.mu.Lock()
	if l.sending || !l.hasWork() {
		l.mu.Unlock()
		return
	}
	if inline && !l.partition.AppendWaits() {
		l.sending = true
		l.mu.Unlock()
		l.sendReady(inlineBatches)
		return
	}
	if !l.spawned {
		l.spawned = true
		l.session.running.Add(1)
		go l.sender()
	}
	l.mu.Unlock()
}

// sender is the sender as a goroutine. It finds the role taken if a caller could
// not wait for it.
func (l *lane) sender() {
	defer l.session.running.Done()
	l.mu.Lock()
	l.spawned = false
	if l.sending {
		l.mu.Unlock()
		return
	}
	l.sending = true
	l.mu.Unlock()
	l.sendReady(-1)
}

// sendReady hands batches to the partition until there are none or limit is
// reached, and gives the role of the sender up.
func (l *lane) sendReady(limit int) {
	for ; ; limit-- {
		if limit < 0 && l.partition.AppendWaits() {
			for range gatherYields {
				runtime.Gosched()
			}
		}
		l.mu.Lock()
		if limit == 0 || !l.hasWork() {
			l.sending = false
			l.mu.Unlock()
			if limit == 0 {
				l.start(false)
			}
			return
		}
		if l.unsent == nil {
			l.sealOpen()
		}
		b := l.unsent
		if !b.ready {
			l.sending = false
			l.mu.Unlock()
			return // its last copier goes on
		}
		b.sent = true
		l.unsent = b.next
		l.backlog--
		l.mu.Unlock()
		l.hand(b)
	}
}

// hand gives a batch to the partition.
func (l *lane) hand(b *openBatch) {
	if b.count == 0 { // whoever saw it full had looked at an earlier life of it
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

// Appended implements partition.Completion.
func (b *openBatch) Appended(base int64, err error) {
	l := b.lane
	l.mu.Lock()
	if b.sequence != record.NoSequence {
		l.handed--
	}
	if b.done { // the lane was closed meanwhile
		ended := l.hasEnded()
		l.mu.Unlock()
		if ended {
			l.partition.EndProducer(l.producerID)
		}
		return
	}
	if err != nil && b.doomed != nil {
		err = b.doomed
	}
	b.finish(base, err)
	if err != nil && b.sequence != record.NoSequence && b.doomed == nil {
		l.failBehind(b)
	}
	l.settle()
}

// finish notes the batch's outcome; the lane's mu is held.
func (b *openBatch) finish(offset int64, err error) { b.offset, b.err, b.done = offset, err, true }

// settle takes batches whose outcome is known off the queue and tells everybody,
// in order, unless somebody is at it. It is called with mu held and unlocks it.
func (l *lane) settle() {
	if l.settling {
		l.mu.Unlock()
		return
	}
	l.settling = true
	for b := l.first; b != nil && b.done; b = l.first {
		if b.program.Load() {
			l.mu.Unlock()
			callback.Go(l.settleNext)
			return
		}
		l.settleFirst(b)
	}
	l.endSettling()
}

// settleNext settles the first batch of the queue, as the settler on a goroutine
// of its own, and reports whether it has to be called again. That it is, too, when
// a callback has ended the goroutine.
func (l *lane) settleNext() (more bool) {
	l.mu.Lock()
	b := l.first
	if b == nil || !b.done {
		l.endSettling()
		return false
	}
	l.settleFirst(b)
	l.mu.Unlock()
	return true
}

// settleFirst tells everybody who waits for the first batch, unless they have been
// told, and takes it off the queue. mu is held, and given up meanwhile.
func (l *lane) settleFirst(b *openBatch) {
	if l.unsent == b {
		l.unsent = b.next
	}
	if b.told == 0 {
		l.queued--
	}
	l.mu.Unlock()
	l.tell(b)
	l.mu.Lock()
	// It stayed in the queue until here for flush to see it.
	if l.first = b.next; l.first == nil {
		l.last = nil
	}
	b.next = nil
	for i, f := range b.flushes {
		f.done()
		b.flushes[i] = nil
	}
	b.flushes = b.flushes[:0]
	if b == l.lastFailing {
		close(l.failing)
		l.failing, l.lastFailing = nil, nil
	}
	if l.closed == nil {
		b.next, l.free = l.free, b
	}
}

// endSettling gives the settler's role up. It is called with mu held and unlocks
// it.
func (l *lane) endSettling() {
	l.settling = false
	if l.settled != nil && l.first == nil {
		close(l.settled)
		l.settled = nil
	}
	work := l.hasWork() && !l.sending && !l.spawned
	l.mu.Unlock()
	if work {
		l.start(false)
	}
}

// tell tells everybody who waits for b its outcome. It goes on where it was left
// if a callback does not return.
func (l *lane) tell(b *openBatch) {
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
