package log

import (
	"math"

	"github.com/runnel-go/runnel/record"
)

// ProducerBatches is how many of a producer's last batches a log remembers, as
// Kafka does: as many as its clients may have on their way at once.
const ProducerBatches = 5

// Producer is what a log knows of an idempotent producer: the last batches that
// it wrote. It belongs to the log's writer and may not be changed.
type Producer struct {
	ID        int64
	Epoch     int16
	Timestamp int64 // of its last batch, in milliseconds

	recent [ProducerBatches]ProducerBatch // the first n, oldest first
	n      int                            // 1 <= n
}

// ProducerBatch is where a producer's batch stands. A sequence that is behind
// 2^31-1 begins again at 0.
type ProducerBatch struct {
	FirstSequence, LastSequence int32
	FirstOffset, LastOffset     int64
}

// Last returns the producer's last batch.
func (p *Producer) Last() ProducerBatch { return p.recent[p.n-1] }

// Find returns the batch of exactly these sequences, if it is one of the last.
func (p *Producer) Find(first, last int32) (ProducerBatch, bool) {
	for _, b := range p.recent[:p.n] {
		if b.FirstSequence == first && b.LastSequence == last {
			return b, true
		}
	}
	return ProducerBatch{}, false
}

// Next returns the sequence that follows the last batch's.
func (p *Producer) Next() int32 { return NextSequence(p.Last().LastSequence, 1) }

// NextSequence returns the sequence that is n behind another one.
func NextSequence(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
}

// note takes up a batch of the producer.
func (p *Producer) note(h *record.BatchHeader) {
	if p.n > 0 && h.ProducerEpoch != p.Epoch {
		p.n = 0
	}
	if p.n == ProducerBatches {
		copy(p.recent[:], p.recent[1:])
		p.n--
	}
	p.recent[p.n] = ProducerBatch{h.BaseSequence, h.LastSequence(), h.BaseOffset, h.LastOffset()}
	p.n++
	p.Epoch, p.Timestamp = h.ProducerEpoch, h.MaxTimestamp
}

// producers is all producers that a log knows, by ID: a fold of its batches. It
// belongs to the writer.
type producers map[int64]*Producer

// note takes up a batch, in the order of the log.
func (ps producers) note(h *record.BatchHeader) {
	if h.ProducerID < 0 || h.BaseSequence < 0 {
		return
	}
	p := ps[h.ProducerID]
	if p == nil {
		p = &Producer{ID: h.ProducerID}
		ps[h.ProducerID] = p
	}
	p.note(h)
}

// Producer returns what the log knows of a producer, or nil. Like Append it is
// the writer's.
func (l *Log) Producer(id int64) *Producer { return l.producers[id] }

// Producers returns how many producers the log knows. It is the writer's.
func (l *Log) Producers() int { return len(l.producers) }

// ForgetProducers forgets those producers of whom gone says so: what comes of
// them afterwards is of an unknown producer. It is the writer's.
func (l *Log) ForgetProducers(gone func(*Producer) bool) {
	for id, p := range l.producers {
		if gone(p) {
			delete(l.producers, id)
			l.snapshots.stale = true
		}
	}
}

// LastBatches enters the offset that follows the last batch of each known producer
// into a map, by the producer's ID. It is the writer's.
func (l *Log) LastBatches(next map[int64]int64) {
	for id, p := range l.producers {
		next[id] = p.Last().LastOffset + 1
	}
}
