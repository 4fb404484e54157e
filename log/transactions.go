package log

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sync/atomic"

	"github.com/runnel-go/runnel/record"
)

// Layout of the record in a control batch that ends a transaction, Kafka's.
const (
	markerKeyLen   = 2 + 2 // version 0, kind
	markerValueLen = 2 + 4 // version 0, coordinator epoch
	markerAbort    = 0
	markerCommit   = 1

	// maxMarker bounds how long a control batch may be that is looked at. A marker
	// takes 78 bytes; what is longer is another program's and ends no transaction.
	maxMarker = 4 << 10
)

// Marker is the record that ends a producer's transaction in a partition.
type Marker struct {
	Commit           bool  // or the transaction is aborted
	CoordinatorEpoch int32 // of the coordinator that wrote it
}

// Batch returns a control batch with the marker, for the producer whose transaction it
// ends, with a time in milliseconds.
func (m Marker) Batch(id int64, epoch int16, ms int64) []byte {
	var key [markerKeyLen]byte
	if m.Commit {
		binary.BigEndian.PutUint16(key[2:], markerCommit)
	}
	var value [markerValueLen]byte
	binary.BigEndian.PutUint32(value[2:], uint32(m.CoordinatorEpoch))
	b := make([]byte, record.HeaderLen+record.Size(0, 0, key[:], value[:], nil))
	record.Put(b[record.HeaderLen:], 0, 0, key[:], value[:], nil)
	return record.Seal(b, record.BatchHeader{
		LeaderEpoch: record.NoLeaderEpoch, Attributes: record.AttrTransactional | record.AttrControl,
		BaseTimestamp: ms, MaxTimestamp: ms, ProducerID: id, ProducerEpoch: epoch, BaseSequence: record.NoSequence, Count: 1,
	}).Bytes
}

// MarkerOf returns the marker in a batch. ok is false for a batch that ends no
// transaction.
func MarkerOf(b record.Batch) (m Marker, ok bool) {
	if !mayMark(&b.BatchHeader) || len(b.Bytes) < b.Size() {
		return Marker{}, false
	}
	it := b.Iterate(b.Bytes[record.HeaderLen:])
	var r record.Record
	if !it.Next(&r) || len(r.Key) < markerKeyLen || len(r.Value) < markerValueLen || binary.BigEndian.Uint16(r.Key) != 0 {
		return Marker{}, false
	}
	kind := binary.BigEndian.Uint16(r.Key[2:])
	m = Marker{Commit: kind == markerCommit, CoordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:]))}
	return m, kind <= markerCommit
}

// mayMark reports whether a batch may be a marker, by its header alone.
func mayMark(h *record.BatchHeader) bool {
	return h.Control() && h.ProducerID >= 0 && h.Count == 1 && h.Size() <= maxMarker && h.Compression() == record.None
}

// ended is a transaction that a marker has ended.
type ended struct {
	first   int64 // its first offset; -1: no transaction was open
	aborted bool
}

// end adds a marker of the producer's.
func (p *Producer) end(h *record.BatchHeader, m Marker) ended {
	if h.ProducerEpoch != p.Epoch {
		p.n = 0
	}
	e := ended{p.TxnFirst, !m.Commit}
	p.Epoch, p.Timestamp, p.CoordinatorEpoch, p.TxnFirst = h.ProducerEpoch, h.MaxTimestamp, m.CoordinatorEpoch, -1
	return e
}

// firstUnstable returns the first offset of the open transactions, or end if there are
// none before it.
func (ps producers) firstUnstable(end int64) int64 {
	for _, p := range ps {
		if p.TxnFirst >= 0 {
			end = min(end, p.TxnFirst)
		}
	}
	return end
}

// transactions are those that a reader may not see yet: they are open, or their marker is
// not below the high watermark. The writer changes the list, which readers load.
type transactions struct {
	undecided atomic.Pointer[[]undecided] // by their first offset; never changed in place
	high      atomic.Int64                // the high watermark, as far as the log was told
}

// undecided is the transaction of a producer from its first offset on.
type undecided struct {
	producer    int64
	first, last int64 // last is its marker's offset; math.MaxInt64 while it is open
}

// list returns the transactions, and pending those of them, in a slice of its own, whose
// marker is not below the high watermark. The others leave the list with its next change.
func (t *transactions) list() []undecided {
	if all := t.undecided.Load(); all != nil {
		return *all
	}
	return nil
}

func (t *transactions) pending() []undecided {
	high := t.high.Load()
	return slices.DeleteFunc(slices.Clone(t.list()), func(u undecided) bool { return u.last < high })
}

// begin adds a transaction. All others began before it.
func (t *transactions) begin(producer, first int64) {
	all := append(t.pending(), undecided{producer, first, math.MaxInt64})
	t.undecided.Store(&all)
}

// end sets the offset of a transaction's marker.
func (t *transactions) end(producer, last int64) {
	all := t.pending()
	for i := range all {
		if u := &all[i]; u.producer == producer && u.last == math.MaxInt64 {
			u.last = last
		}
	}
	t.undecided.Store(&all)
}

// reset makes the open transactions of these producers, and those whose markers lie before
// the log's end, all that there are.
func (t *transactions) reset(ps producers, end int64) {
	all := slices.DeleteFunc(t.pending(), func(u undecided) bool { return u.last >= end })
	for id, p := range ps {
		if p.TxnFirst >= 0 {
			all = append(all, undecided{id, p.TxnFirst, math.MaxInt64})
		}
	}
	slices.SortFunc(all, func(a, b undecided) int { return cmp.Compare(a.first, b.first) })
	t.undecided.Store(&all)
}

// SetHighWatermark tells the log how far its records are committed. It need not be told
// of each step, but without it, transactions would be kept as if they were undecided, and
// each one would cost more than the one before. One goroutine at a time calls it, with
// offsets that only rise.
func (l *Log) SetHighWatermark(high int64) { l.transactions.high.Store(high) }

// StableOffset returns the offset before which every transaction has been decided, by a
// marker before the high watermark: Kafka's last stable offset. The watermark only rises.
// Any goroutine may call StableOffset, which takes no lock.
func (l *Log) StableOffset(high int64) int64 {
	for _, u := range l.transactions.list() {
		if u.last >= high {
			return min(high, max(u.first, l.start.Load()))
		}
	}
	return high
}

// fold adds a batch to the producers, and to what is derived from their transactions. The
// batches come in the order of the log. body has the bytes of a batch that may be a marker.
func (l *Log) fold(h *record.BatchHeader, body []byte, index *liveIndex) {
	began, e := l.producers.fold(h, body)
	switch {
	case began:
		l.transactions.begin(h.ProducerID, h.BaseOffset)
	case e.first >= 0:
		l.transactions.end(h.ProducerID, h.LastOffset())
		if e.aborted && index != nil {
			index.addAborted(AbortedTxn{h.ProducerID, e.first, h.LastOffset(), l.producers.firstUnstable(h.NextOffset())})
		}
	}
}
