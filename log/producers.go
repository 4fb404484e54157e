package log

import (
	"maps"
	"math"
	"slices"

	"github.com/runnel-go/runnel/record"
)

// ProducerBatches is how many of a producer's last batches a log remembers. As in
// Kafka, that is how many a client may have in flight, and so may send again.
const ProducerBatches = 5

// Producer is what a log knows of an idempotent producer: its last batches, and its open
// transaction. It belongs to the log's writer; the caller may not change it.
type Producer struct {
	ID        int64
	Epoch     int16
	Timestamp int64 // of its last batch or marker, in milliseconds

	CoordinatorEpoch int32 // of its last marker; -1 for none
	TxnFirst         int64 // the first offset of its open transaction; -1 for none

	recent [ProducerBatches]ProducerBatch // the first n, oldest first
	n      int                            // 0 <= n; 0 if its epoch has only a marker
}

// ProducerBatch has the sequences and offsets of a producer's batch. The sequence
// after 2^31-1 is 0.
type ProducerBatch struct {
	FirstSequence, LastSequence int32
	FirstOffset, LastOffset     int64
}

// noBatch is the last batch of a producer without any in its epoch.
var noBatch = ProducerBatch{-1, -1, -1, -1}

func newProducer(id int64) *Producer { return &Producer{ID: id, CoordinatorEpoch: -1, TxnFirst: -1} }

// Last returns the producer's last batch; all its numbers are -1 where the producer's
// epoch has none, only the marker of a transaction.
func (p *Producer) Last() ProducerBatch {
	if p.n == 0 {
		return noBatch
	}
	return p.recent[p.n-1]
}

// Find returns the batch of exactly these sequences, if it is one of the last.
func (p *Producer) Find(first, last int32) (ProducerBatch, bool) {
	for _, b := range p.recent[:p.n] {
		if b.FirstSequence == first && b.LastSequence == last {
			return b, true
		}
	}
	return ProducerBatch{}, false
}

// Next returns the sequence that follows the last batch's, 0 if there is none.
func (p *Producer) Next() int32 { return NextSequence(p.Last().LastSequence, 1) }

// NextSequence returns the sequence that is n behind another one.
func NextSequence(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
}

// add adds a batch of the producer. A new epoch starts with its own sequences, so
// the batches of the old one are dropped.
func (p *Producer) add(h *record.BatchHeader) {
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

// fold adds a batch, in the order of the log. body has the bytes of one that may be a
// marker, and is nil otherwise. It returns whether the batch began a transaction, and
// which one it has ended.
func (ps producers) fold(h *record.BatchHeader, body []byte) (began bool, e ended) {
	e = ended{first: -1}
	if h.ProducerID < 0 {
		return false, e
	}
	m, isMarker := Marker{}, false
	if h.Control() {
		if m, isMarker = MarkerOf(record.Batch{BatchHeader: *h, Bytes: body}); !isMarker {
			return false, e
		}
	} else if h.BaseSequence < 0 {
		return false, e
	}
	p := ps[h.ProducerID]
	if p == nil {
		p = newProducer(h.ProducerID)
		ps[h.ProducerID] = p
	}
	if isMarker {
		return false, p.end(h, m)
	}
	p.add(h)
	if h.Transactional() && p.TxnFirst < 0 {
		p.TxnFirst, began = h.BaseOffset, true
	}
	return began, e
}

// Producer returns what the log knows of a producer, or nil. Only the writer may
// call it.
func (l *Log) Producer(id int64) *Producer { return l.producers[id] }

// OpenTransactions returns the producers with an open transaction, by its first offset. Only
// the writer may call it.
func (l *Log) OpenTransactions() (open []*Producer) {
	for _, u := range l.transactions.list() {
		if p := l.producers[u.producer]; p != nil && p.TxnFirst == u.first && u.last == math.MaxInt64 {
			open = append(open, p)
		}
	}
	return open
}

// Producers returns how many producers the log knows. Only the writer may call it.
func (l *Log) Producers() int { return len(l.producers) }

// ForgetProducers forgets the producers for which gone returns true, except those
// with an open transaction. Their next batch is that of an unknown producer. Only the
// writer may call it.
func (l *Log) ForgetProducers(gone func(*Producer) bool) {
	for id, p := range l.producers {
		if p.TxnFirst < 0 && gone(p) {
			delete(l.producers, id)
			l.snapshots.stale = true
		}
	}
}

// LastBatches returns a function that reports whether a batch is the last one of its
// producer, if the log knows that one now: its last batch or, where the producer's epoch has
// none, the marker with which the epoch began. Only the writer may call LastBatches; the
// function belongs to its caller.
func (l *Log) LastBatches() func(h *record.BatchHeader) bool {
	type last struct {
		epoch int16
		next  int64 // the offset after the last batch, 0 if there is only a marker
	}
	known := make(map[int64]last, len(l.producers))
	for id, p := range l.producers {
		known[id] = last{p.Epoch, p.Last().LastOffset + 1}
	}
	return func(h *record.BatchHeader) bool {
		p, ok := known[h.ProducerID]
		if h.Control() {
			return ok && p.next == 0 && p.epoch == h.ProducerEpoch
		}
		return ok && p.next == h.NextOffset()
	}
}

// ProducerTable is a copy of what a log knows of its producers. It serves to judge
// batches that are not in the log yet: its owner adds them in their order. It is not
// safe for concurrent use, and shares nothing with the log.
type ProducerTable struct{ known producers }

// CopyProducers returns a copy of what the log knows of its producers. Only the
// writer may call it.
func (l *Log) CopyProducers() ProducerTable {
	known := make(producers, len(l.producers))
	for id, p := range l.producers {
		q := *p
		known[id] = &q
	}
	return ProducerTable{known}
}

// Producer returns what the table knows of a producer, or nil.
func (t *ProducerTable) Producer(id int64) *Producer { return t.known[id] }

// All returns a copy of what is known of each producer, by ID.
func (t *ProducerTable) All() []Producer {
	all := make([]Producer, 0, len(t.known))
	for _, id := range slices.Sorted(maps.Keys(t.known)) {
		all = append(all, *t.known[id])
	}
	return all
}

// Len returns how many producers the table knows.
func (t *ProducerTable) Len() int { return len(t.known) }

// Add adds a batch that follows all those before. body has the bytes of a control batch.
func (t *ProducerTable) Add(h *record.BatchHeader, body []byte) { t.known.fold(h, body) }

// Forget forgets the producers for which gone returns true, except those with an open
// transaction.
func (t *ProducerTable) Forget(gone func(*Producer) bool) {
	for id, p := range t.known {
		if p.TxnFirst < 0 && gone(p) {
			delete(t.known, id)
		}
	}
}
