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
// the sender, or returns why it must not be appended. What concerns b alone has
// been found out before, or is now, so that it concerns nobody behind it.
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
	b.sequence = l.sequence
	l.sequence = log.NextSequence(l.sequence, b.count)
	l.handed++
	return nil
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

// failBehind is told that a batch with a sequence was refused. Its sequences are
// free again, and everything that was sent behind it fails too, or the partition
// would have a hole: what the partition has been handed, it refuses by its
// sequence; the rest is not handed to it. Whoever sends meanwhile waits until all
// of them have been told. mu is held.
func (l *lane) failBehind(b *openBatch) {
	l.sequence = b.sequence
	cause := fault.At(fault.CodeOf(b.err), l.topic, l.number, -1).
		Detailf("what was sent before failed, and this must not be written without it").Because(b.err)
	if l.open.Load() != nil {
		l.sealOpen() // an empty one, too: somebody may be about to reserve room in it
	}
	for next := b.next; next != nil; next = next.next {
		if next.done || next.doomed != nil {
			continue
		}
		next.doomed = cause
		if next.sent {
			continue // its outcome is on its way
		}
		l.backlog--
		if next.ready {
			next.finish(-1, cause) // otherwise its last copier does
		}
	}
	l.unsent = nil
	if l.lastFailing = l.last; l.failing == nil {
		l.failing = make(chan struct{})
	}
}

// awaitFailures returns once nobody is still to be told that a batch failed before
// what is sent now, or why the lane accepts nothing: because it is closed, or
// because ctx has ended. mu is held, and given up while it waits.
func (l *lane) awaitFailures(ctx context.Context) error {
	for l.closed == nil && l.failing != nil {
		told := l.failing
		l.mu.Unlock()
		var err error
		select {
		case <-told:
		case <-ctx.Done():
			err = ctx.Err()
		}
		l.mu.Lock()
		if err != nil {
			return err
		}
	}
	return cmp.Or(l.closed, ctx.Err())
}

// hasEnded reports whether the partition may forget the lane's producer: it
// appends no more, and has been told all outcomes. mu is held.
func (l *lane) hasEnded() bool { return l.closed != nil && l.handed == 0 && l.isIdempotent() }
