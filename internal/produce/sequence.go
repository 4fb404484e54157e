package produce

import (
	"cmp"
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// isIdempotent reports whether the lane's batches have sequences.
func (l *lane) isIdempotent() bool { return l.producerID != record.NoProducerID }

// takeSequence gives b the lane's next sequences, or returns why it must not be appended.
// The sender calls it last, after all checks that concern b alone, its size included:
// once b has sequences, its failure leaves a gap, and everything behind it fails, too.
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

// numberLocked gives b the lane's next sequences. Appended must follow, because
// hasEndedLocked waits for it.
func (l *lane) numberLocked(b *openBatch) {
	if l.isIdempotent() {
		b.sequence = l.sequence
		l.sequence = log.NextSequence(l.sequence, b.count)
		l.handed++
	}
}

// seal writes the header of a packed batch. A whole batch has one: there seal only writes
// the producer's identity.
func (l *lane) seal(b *openBatch, bytes []byte) {
	attributes := int16(l.session.cfg.Compression)
	if l.session.transaction != nil {
		attributes |= record.AttrTransactional
	}
	if b.whole {
		if l.session.transaction != nil {
			record.StampTransaction(bytes, l.producerID, l.producerEpoch, b.sequence)
			return
		}
		if h, _ := record.ParseHeader(bytes); l.isIdempotent() || h.ProducerID != l.producerID {
			record.StampProducer(bytes, l.producerID, l.producerEpoch, b.sequence)
		}
		return
	}
	record.Seal(bytes, record.BatchHeader{
		LeaderEpoch: record.NoLeaderEpoch, Attributes: attributes,
		LastOffsetDelta: b.count - 1, Count: b.count,
		BaseTimestamp: b.base.Load(), MaxTimestamp: b.latest.Load(),
		ProducerID: l.producerID, ProducerEpoch: l.producerEpoch, BaseSequence: b.sequence,
	})
}

// failBehindLocked handles the failure of b, which had sequences. The sequences are free
// again, and everything that was sent behind b fails, too: otherwise the partition would
// have a hole where b is missing. What happens to a batch behind b depends on its state:
//
//   - handed: the partition refuses it, because its sequence doesn't follow. Its outcome
//     is on its way, and doomed replaces it as the better reason.
//   - ready: it is finished here.
//   - sealed: a sender still copies to its memory. The last copier finishes it.
//   - open: it is sealed first, even if it is empty. A sender that doesn't know of the
//     failure may be about to reserve room in it.
//
// Until all of them are settled, the lane accepts nothing, and senders wait. Otherwise a
// program that sends a record again from its callback would put it in front of records
// whose failure has not been delivered yet. So a record that is sent after its sender got
// a failure has an outcome of its own, and not that of earlier records.
func (l *lane) failBehindLocked(b *openBatch) {
	l.sequence = b.sequence
	cause := fault.At(fault.CodeOf(b.err), l.topic, l.number, -1).
		Detailf("a record sent before failed, and this one must not be written without it").Because(b.err)
	if l.open.Load() != nil {
		l.sealOpenLocked()
	}
	for next := b.next; next != nil; next = next.next {
		if next.state == stateDone || next.doomed != nil {
			continue // it has an outcome, or a reason to fail, already
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

// acceptsLocked reports whether the lane accepts a record under ctx: it is not closed,
// every failure was delivered, and ctx has not ended. A callback may cancel ctx when it
// gets a failure, to withdraw what was sent without knowing of it; internal/attach does
// so. That works only if ctx and the lane are checked in one step: between two steps, a
// failure could begin and be delivered.
func (l *lane) acceptsLocked(ctx context.Context) bool {
	return l.closed == nil && l.failing == nil && ctx.Err() == nil
}

// awaitFailures waits until failures are delivered. It returns an error if the lane is
// closed or ctx has ended. It doesn't keep the lane's lock, so the caller then checks
// acceptsLocked under the lock, and waits again if that is false.
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
// is closed, and has the outcomes of all batches that it has handed over. Before that, a
// batch could reach the partition after it has forgotten the producer. The producer of
// transactions outlives the session.
func (l *lane) hasEndedLocked() bool {
	return l.closed != nil && l.handed == 0 && l.isIdempotent() && l.session.transaction == nil
}
