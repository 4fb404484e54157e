package partition

import (
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// sequenceState is the result of comparing a batch's sequence with its producer's.
type sequenceState int8

const (
	sequenceFollows sequenceState = iota // the next batch of its producer: append it
	sequenceWritten                      // a duplicate of a batch in the log
	sequenceUnclear                      // compare again when the run being gathered is in the log
)

// staged is the end of one producer's batches in the run being gathered, which the
// log doesn't know yet. Only a batch that continues exactly there is clear; a gap,
// a duplicate, or a new epoch is decided by the log's state after the run, because
// the write may fail.
type staged struct {
	id    int64
	epoch int16
	next  int32 // the sequence that the producer's next batch begins with

	transactional bool
}

// maxStaged is how many producers may share a run. They are searched linearly.
const maxStaged = 64

// JudgeSequence decides whether the batch of an idempotent producer continues the
// producer's last one, of which known is what the log knows, or nil (KIP-98).
// Otherwise the batch is one that is written already, at base, or the error, which
// names no place yet, says why it must not be appended:
//
//	known producer?  epoch     first sequence       outcome
//	no               any       0                    append
//	no               any       other                UnknownProducer
//	yes              lower     any                  InvalidProducerEpoch
//	yes              same      the next one         append
//	yes              same      one of the last five duplicate, at base
//	yes              same      earlier              DuplicateSequence
//	yes              same      later                OutOfOrderSequence
//	yes              higher    0                    append
//	yes              higher    other                OutOfOrderSequence
//
// While a transaction of the producer is open, only its batches follow: others, and those
// of a higher epoch, are InvalidTxnState.
//
// Kafka accepts any first sequence from an unknown producer. That would append a
// batch twice whose producer was forgotten in between, so only 0 is accepted here.
func JudgeSequence(known *log.Producer, h *record.BatchHeader) (written bool, base int64, err *fault.Error) {
	first, last := h.BaseSequence, h.LastSequence()
	switch {
	case known == nil && first != 0:
		return false, -1, fault.At(fault.UnknownProducer, "", -1, -1).
			Detailf("producer %d begins with sequence %d; its earlier ones may be written or not", h.ProducerID, first)
	case known != nil && known.TxnFirst >= 0 && h.ProducerEpoch == known.Epoch && !h.Transactional():
		return false, -1, fault.At(fault.InvalidTxnState, "", -1, -1).
			Detailf("producer %d has a transaction here since offset %d, and the batch belongs to none", h.ProducerID, known.TxnFirst)
	case known != nil && known.TxnFirst >= 0 && h.ProducerEpoch > known.Epoch:
		return false, -1, fault.At(fault.InvalidTxnState, "", -1, -1).
			Detailf("producer %d has a transaction of epoch %d here, which must end before epoch %d begins", h.ProducerID, known.Epoch, h.ProducerEpoch)
	case known == nil || h.ProducerEpoch > known.Epoch && first == 0:
		return false, -1, nil
	case h.ProducerEpoch < known.Epoch:
		return false, -1, fault.At(fault.InvalidProducerEpoch, "", -1, -1).
			Detailf("producer %d has epoch %d, and epoch %d has written since", h.ProducerID, h.ProducerEpoch, known.Epoch)
	case h.ProducerEpoch == known.Epoch && first == known.Next():
		return false, -1, nil
	case h.ProducerEpoch > known.Epoch:
		return false, -1, fault.At(fault.OutOfOrderSequence, "", -1, -1).
			Detailf("producer %d begins epoch %d with sequence %d instead of 0", h.ProducerID, h.ProducerEpoch, first)
	}
	if b, ok := known.Find(first, last); ok {
		return true, b.FirstOffset, nil
	}
	// Sequences wrap around at 2^31, so one is earlier than another if it lies less
	// than half of that behind.
	newest := known.Last().LastSequence
	if behind := uint32(newest-last) & math.MaxInt32; behind < math.MaxInt32/2 {
		return false, -1, fault.At(fault.DuplicateSequence, "", -1, -1).
			Detailf("producer %d sends the sequences %d to %d again, whose offsets are not known any more; its last one is %d", h.ProducerID, first, last, newest)
	}
	return false, -1, fault.At(fault.OutOfOrderSequence, "", -1, -1).
		Detailf("producer %d sends sequence %d after %d", h.ProducerID, first, newest)
}

// JudgeMarker decides whether a marker may end a producer's transaction, as Append
// documents. written means that it is in the log already. A marker has a later epoch than
// the transaction (KIP-890), so one that comes late never ends the next transaction: that
// has the marker's own epoch.
func JudgeMarker(known *log.Producer, h *record.BatchHeader, m log.Marker) (written bool, err *fault.Error) {
	switch {
	case known == nil:
		return false, nil
	case m.CoordinatorEpoch < known.CoordinatorEpoch:
		return false, fault.At(fault.CoordinatorFenced, "", -1, -1).
			Detailf("a marker of coordinator epoch %d for producer %d, and one of epoch %d has written since", m.CoordinatorEpoch, h.ProducerID, known.CoordinatorEpoch)
	case h.ProducerEpoch == known.Epoch && known.TxnFirst < 0 && known.Last().LastOffset < 0:
		return true, nil
	case h.ProducerEpoch <= known.Epoch:
		return false, fault.At(fault.InvalidProducerEpoch, "", -1, -1).
			Detailf("a marker of epoch %d for producer %d, which has written with epoch %d", h.ProducerEpoch, h.ProducerID, known.Epoch)
	}
	return false, nil
}

// afterMarker is staged.next of a producer with a marker in the run: no batch is clear.
const afterMarker = -1

// checkSequence judges a batch by what the log knows and what is staged.
func (p *Partition) checkSequence(h *record.BatchHeader, batch []byte) (_ sequenceState, base int64, err error) {
	first, last := h.BaseSequence, h.LastSequence()
	for i := range p.staged {
		if s := &p.staged[i]; s.id == h.ProducerID {
			if s.epoch != h.ProducerEpoch || s.next != first || h.Control() || s.transactional != h.Transactional() {
				return sequenceUnclear, -1, nil
			}
			s.next = log.NextSequence(last, 1)
			return sequenceFollows, -1, nil
		}
	}
	if len(p.staged) == maxStaged {
		return sequenceUnclear, -1, nil
	}
	known := p.log.Producer(h.ProducerID)
	state, base, err := p.compareSequence(known, h, batch)
	if err != nil || state != sequenceFollows {
		return state, base, err
	}
	// The producer of a transaction may go on in another process, so its end is unknown. What
	// is open of it is never forgotten.
	if known == nil && !h.Transactional() {
		p.live[h.ProducerID] = struct{}{}
	}
	next := int32(afterMarker)
	if !h.Control() {
		next = log.NextSequence(last, 1)
	}
	p.staged = append(p.staged, staged{h.ProducerID, h.ProducerEpoch, next, h.Transactional()})
	return sequenceFollows, -1, nil
}

// compareSequence decides by JudgeSequence. known is what is known of the batch's
// producer, or nil.
func (p *Partition) compareSequence(known *log.Producer, h *record.BatchHeader, batch []byte) (_ sequenceState, base int64, err error) {
	var written bool
	var refused *fault.Error
	if h.Control() {
		m, ok := log.MarkerOf(record.Batch{BatchHeader: *h, Bytes: batch})
		if !ok {
			return 0, -1, p.fault(fault.InvalidRecord, -1).Detailf("a control batch of a producer that ends no transaction")
		}
		base = -1
		written, refused = JudgeMarker(known, h, m)
	} else {
		written, base, refused = JudgeSequence(known, h)
	}
	switch {
	case refused != nil:
		refused.Topic, refused.Partition = p.topic, p.number
		return 0, -1, refused
	case written:
		return sequenceWritten, base, nil
	}
	return sequenceFollows, -1, nil
}

// EndProducer marks a producer as ended: it knows the outcomes of all its batches
// and will append no more, so the partition may forget it.
func (p *Partition) EndProducer(id int64) {
	p.mu.Lock()
	p.ended = append(p.ended, id)
	crowded := len(p.ended)%p.crowd == 0
	p.mu.Unlock()
	if crowded { // producers that never append don't make appendRun forget any
		p.enqueue(pending{task: func(refused error) {
			if refused == nil {
				p.forgetProducers()
			}
		}})
	}
}

// forgetProducers forgets the producers that have ended, and those of earlier
// processes whose last batch is older than ProducerExpiration. A live producer is
// never forgotten, however long it is silent: its next batch would be refused. The
// writer calls it.
func (p *Partition) forgetProducers() {
	p.mu.Lock()
	ended := make(map[int64]struct{}, len(p.ended))
	for _, id := range p.ended {
		ended[id] = struct{}{}
		delete(p.live, id)
	}
	p.ended = nil
	p.mu.Unlock()
	expired := p.producersExpired()
	p.log.ForgetProducers(func(q *log.Producer) bool {
		_, gone := ended[q.ID]
		_, live := p.live[q.ID]
		return gone || !live && q.Timestamp < expired
	})
	p.crowded = max(p.crowd, 2*p.log.Producers())
}

// Producers returns what the log knows of idempotent producers, by ID. It waits for the
// writer's turn.
func (p *Partition) Producers() ([]log.Producer, error) {
	type outcome struct {
		all []log.Producer
		err error
	}
	told := make(chan outcome, 1)
	p.enqueue(pending{task: func(refused error) {
		if refused != nil {
			told <- outcome{err: refused}
			return
		}
		known := p.log.CopyProducers()
		told <- outcome{all: known.All()}
	}})
	o := <-told
	return o.all, o.err
}

// producersExpired returns the time, in milliseconds, before which the last batch of
// an expired producer lies.
func (p *Partition) producersExpired() int64 {
	if d := p.settings.Load().ProducerExpiration; d > 0 {
		return time.Now().Add(-d).UnixMilli()
	}
	return math.MinInt64
}
