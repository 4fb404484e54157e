package produce

import (
	"cmp"
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// isIdempotent reports whether the lane's batches bear sequences.
func (l *lane) isIdempotent() bool { return l.producerID != record.NoProducerID }

// takeSequence gives b, which is whole or packed, the lane's next sequences, as
// the sender, or returns why it must not be appended. It comes after everything that can
// be wrong with b alone, its size included: once b has sequences, its failure leaves a gap,
// and everything behind it fails, too.
func (l *lane) takeSequence(b *openBatch, bytes []byte) error {
	if !l.isIdempotent() {
		return nil
	}
	if err := l.partition.CheckSize(len(bytes)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.doomed != nil {
		return b.doomed
	}
	l.numberLocked(b)
	return nil
}

// numberLocked gives b the lane's next sequences. An outcome by Appended must follow,
// because hasEndedLocked waits for it.
func (l *lane) numberLocked(b *openBatch) {
	if l.isIdempotent() {
		b.sequence = l.sequence
		l.sequence = log.NextSequence(l.sequence, b.count)
		l.handed++
	}
}

// seal writes the header of a batch that was packed, or the producer's identity
// into that of a whole one.
func (l *lane) seal(b *openBatch, bytes []byte) {
	if b.whole {
		if h, _ := record.ParseHeader(bytes); l.isIdempotent() || h.ProducerID != l.producerID {
			record.StampProducer(bytes, l.producerID, l.producerEpoch, b.sequence)
		}
		return
	}
	record.Seal(bytes, record.BatchHeader{
		LeaderEpoch: record.NoLeaderEpoch, Attributes: int16(l.session.cfg.Compression),
		LastOffsetDelta: b.count - 1, Count: b.count,
		BaseTimestamp: b.base.Load(), MaxTimestamp: b.latest.Load(),
		ProducerID: l.producerID, ProducerEpoch: l.producerEpoch, BaseSequence: b.sequence,
	})
}

// failBehindLocked deals with the failure of b, which had sequences. They are free
// again, and everything that was sent behind b fails too, or the partition would have a
// hole where b is missing. Each state has its own end:
//
//   - handed: the partition refuses it, because its sequence does not follow. Its
//     outcome is on its way, and doomed is the better reason.
//   - ready: it is done here.
//   - sealed: its last copier ends it, who still writes to its memory.
//   - open: it is sealed first, even if it is empty. A sender may be about to reserve
//     room in it that did not know of the failure.
//
// Until all of them are settled the lane accepts nothing, and senders wait. A program
// that sends a record again from its callback would otherwise put it in front of others whose
// failure has not been delivered; and whoever sends after a failure it knows of gets its
// own outcome, not that of earlier records.
func (l *lane) failBehindLocked(b *openBatch) {
	l.sequence = b.sequence
	cause := fault.At(fault.CodeOf(b.err), l.topic, l.number, -1).
		Detailf("what was sent before failed, and this must not be written without it").Because(b.err)
	if l.open.Load() != nil {
		l.sealOpenLocked()
	}
	for next := b.next; next != nil; next = next.next {
		if next.state == stateDone || next.doomed != nil {
			continue // it has its reason
		}
		next.doomed = cause
		if next.state != stateHanded {
			next.finishLocked(-1, cause)
		}
	}
	l.queue.withdraw()
	if l.lastFailing = l.queue.last; l.failing == nil {
		l.failing = make(chan struct{})
	}
}

// acceptsLocked reports whether the lane takes a record under ctx: it is open, every
// failure was delivered, and ctx has not ended. A callback may end ctx because of a failure,
// to take back what was sent in ignorance of it; internal/attach does so. That
// holds only if ctx is looked at in the same step as the lane: a failure may begin and be
// delivered between two.
func (l *lane) acceptsLocked(ctx context.Context) bool {
	return l.closed == nil && l.failing == nil && ctx.Err() == nil
}

// awaitFailures returns nil once the lane accepts records, or why it does not: it is
// closed, or ctx has ended. It takes the lane's lock only to look, so the caller asks
// acceptsLocked once it has the lock, and otherwise waits again.
func (l *lane) awaitFailures(ctx context.Context) error {
	for {
		l.mu.Lock()
		closed, failing := l.closed, l.failing
		l.mu.Unlock()
		if closed != nil || failing == nil {
			return cmp.Or(closed, ctx.Err())
		}
		select {
		case <-failing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hasEndedLocked reports whether the partition may forget the lane's producer: the lane
// appends no more, and has the outcomes of all that it did append. Earlier, a batch on its
// way would come from a producer that the partition no longer knows.
func (l *lane) hasEndedLocked() bool { return l.closed != nil && l.handed == 0 && l.isIdempotent() }
