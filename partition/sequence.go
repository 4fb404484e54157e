package partition

import (
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// sequenceState is what a producer's sequence says of a batch.
type sequenceState int8

const (
	sequenceFollows sequenceState = iota // it is the one to append
	sequenceWritten                      // it was appended before
	sequenceUnclear                      // that depends on what is about to be written
)

// staged is the end of what one producer has in the write that is being
// gathered.
type staged struct {
	id    int64
	epoch int16
	next  int32
}

// maxStaged is how many producers share a write: they are searched one by one.
const maxStaged = 64

// checkSequence says whether the batch of an idempotent producer follows on from
// the producer's last one, or was written already, at base (KIP-98). Otherwise
// the error says why it must not be appended. Unlike Kafka, which takes any
// sequence from a producer that it doesn't know, it takes only the first: what
// was forgotten could be written twice.
func (p *Partition) checkSequence(h *record.BatchHeader) (_ sequenceState, base int64, err error) {
	first, last := h.BaseSequence, h.LastSequence()
	for i := range p.staged {
		if s := &p.staged[i]; s.id == h.ProducerID {
			if s.epoch != h.ProducerEpoch || s.next != first {
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
	switch {
	case known == nil && first != 0:
		return 0, -1, p.fault(fault.UnknownProducer, -1).
			Detailf("producer %d begins with sequence %d; its earlier ones may be written or not", h.ProducerID, first)
	case known == nil || h.ProducerEpoch > known.Epoch && first == 0:
	case h.ProducerEpoch < known.Epoch:
		return 0, -1, p.fault(fault.InvalidProducerEpoch, -1).
			Detailf("producer %d has epoch %d, and epoch %d has written since", h.ProducerID, h.ProducerEpoch, known.Epoch)
	case h.ProducerEpoch == known.Epoch && first == known.Next():
	default:
		return p.outOfSequence(known, h)
	}
	if known == nil {
		p.live[h.ProducerID] = struct{}{}
	}
	p.staged = append(p.staged, staged{h.ProducerID, h.ProducerEpoch, log.NextSequence(last, 1)})
	return sequenceFollows, -1, nil
}

// outOfSequence says what a batch is that doesn't follow on from the last one of
// a known producer.
func (p *Partition) outOfSequence(known *log.Producer, h *record.BatchHeader) (_ sequenceState, base int64, err error) {
	first, last := h.BaseSequence, h.LastSequence()
	if h.ProducerEpoch > known.Epoch {
		return 0, -1, p.fault(fault.OutOfOrderSequence, -1).
			Detailf("producer %d begins epoch %d with sequence %d instead of 0", h.ProducerID, h.ProducerEpoch, first)
	}
	if b, ok := known.Find(first, last); ok {
		return sequenceWritten, b.FirstOffset, nil
	}
	newest := known.Last().LastSequence
	if behind := uint32(newest-last) & math.MaxInt32; behind < math.MaxInt32/2 {
		return 0, -1, p.fault(fault.DuplicateSequence, -1).
			Detailf("producer %d sends the sequences %d to %d again, whose offsets are not known any more; its last one is %d", h.ProducerID, first, last, newest)
	}
	return 0, -1, p.fault(fault.OutOfOrderSequence, -1).
		Detailf("producer %d sends sequence %d after %d", h.ProducerID, first, newest)
}

// EndProducer says that a producer which appended here has been told all
// outcomes and will append no more, so that it may be forgotten.
func (p *Partition) EndProducer(id int64) {
	p.mu.Lock()
	p.ended = append(p.ended, id)
	crowded := len(p.ended)%p.crowd == 0
	p.mu.Unlock()
	if crowded { // with those that have written nothing
		p.enqueue(pending{task: func(refused error) {
			if refused == nil {
				p.forgetProducers()
			}
		}})
	}
}

// forgetProducers forgets those who have ended, and those who wrote before this
// process began and nothing for so long that they are expired. It is the
// writer's.
func (p *Partition) forgetProducers() {
	p.mu.Lock()
	ended := make(map[int64]struct{}, len(p.ended))
	for _, id := range p.ended {
		ended[id] = struct{}{}
		delete(p.live, id)
	}
	p.ended = nil
	p.mu.Unlock()
	expired := int64(math.MinInt64)
	if d := p.settings.Load().ProducerExpiration; d > 0 {
		expired = time.Now().Add(-d).UnixMilli()
	}
	p.log.ForgetProducers(func(q *log.Producer) bool {
		_, gone := ended[q.ID]
		_, live := p.live[q.ID]
		return gone || !live && q.Timestamp < expired
	})
	p.crowded = max(p.crowd, 2*p.log.Producers())
}
