package log

import (
	"math"
	"slices"

	"github.com/runnel-go/runnel/record"
)

// verdict says what compaction makes of a batch.
type verdict int

const (
	same    verdict = iota // every record stays: the batch is copied byte for byte
	changed                // some stay, in a batch of the same offsets
	emptied                // none stays, and no batch for them
)

// filter decides which records stay, and encodes a new batch where some go.
//
// A record at or after end stays. One before it stays if it is not before the log's
// start, has a key, and is the key's last; keys has the last offsets of the dirty
// part, and a clean record whose key isn't there is the last one already. A
// tombstone among these stays until its delete horizon, which the first compaction
// that reads it sets (KIP-534): consumers that read slower would never learn of the
// deletion.
//
// The marker of a transaction stays as long as any batch of it does, be it an empty one,
// and until its own delete horizon, which the first compaction that finds nothing of the
// transaction sets.
type filter struct {
	keys    *keyMap
	codec   *record.Codec
	keep    func(h *record.BatchHeader) bool
	start   int64   // the log's: earlier records go
	from    int64   // the first dirty record, which may lie within a batch
	end     int64   // keys has every key from the first dirty record to here; later records stay
	now     int64   // milliseconds
	horizon int64   // the delete horizon for tombstones that have none yet; math.MaxInt64 for none
	aborted Aborted // the transactions that were aborted, in the segment at work: their records go

	// left has the producers of whose transaction, before the batch at work, a batch stays.
	left map[int64]bool

	// marked are the offsets of the markers, in the segments at work, of whose transaction a
	// batch stays.
	marked map[int64]bool

	// opaque means that a batch was found whose records cannot be decoded. It may
	// contain records that later tombstones delete, so these stay.
	opaque bool

	removed int64 // how many records went
	next    int64 // the earliest horizon of tombstones and markers that stay, math.MaxInt64 for none

	// Buffers of one batch.
	payload, records, packed []byte
	stay                     []bool
}

// judge returns the verdict on a batch, and what replaces it. The result is valid
// until the next call.
func (f *filter) judge(b record.Batch) (verdict, record.Batch, error) {
	if b.BaseOffset >= f.end {
		return same, b, nil
	}
	if b.Control() {
		return f.judgeMarker(b)
	}
	v, stays, err := f.judgeRecords(b)
	if b.Transactional() && v != emptied {
		f.left[b.ProducerID] = true
	}
	return v, stays, err
}

// judgeMarker is judge for a control batch. The last marker of a producer that is known
// stays: recovery and replicas learn the producer's epoch from it. So does what is no marker.
func (f *filter) judgeMarker(b record.Batch) (verdict, record.Batch, error) {
	h := &b.BatchHeader
	if h.Count == 0 && h.Transactional() { // Kafka's rest of a marker
		return emptied, b, nil
	}
	if _, ok := MarkerOf(b); !ok {
		return same, b, nil
	}
	if f.left[h.ProducerID] {
		delete(f.left, h.ProducerID)
		f.marked[h.BaseOffset] = true
		return same, b, nil
	}
	if f.keep != nil && f.keep(h) {
		return same, b, nil
	}
	horizon, known := h.DeleteHorizon()
	if known && f.now >= horizon {
		return emptied, b, nil
	}
	if !known {
		horizon = f.horizon
	}
	f.next = min(f.next, horizon)
	if known || horizon == math.MaxInt64 {
		return same, b, nil
	}
	f.stay = append(f.stay[:0], true)
	left, err := f.reduce(h, b.Bytes[record.HeaderLen:], 1, h.MaxTimestamp, horizon, true)
	return changed, left, err
}

// judgeRecords is judge for a batch that is no control batch.
func (f *filter) judgeRecords(b record.Batch) (verdict, record.Batch, error) {
	h := &b.BatchHeader
	if h.Count == 0 {
		return f.none(b)
	}
	if f.isAborted(h) {
		f.removed += int64(h.Count)
		return f.none(b)
	}
	payload, err := b.Payload(f.codec, f.payload)
	if err != nil {
		return f.passOver(b)
	}
	if h.Compression() != record.None {
		f.payload = payload
	}
	n, latest, tombstones, err := f.choose(h, payload)
	if err != nil {
		return f.passOver(b)
	}
	horizon, known := h.DeleteHorizon()
	if tombstones && !known {
		horizon = f.horizon
		tombstones = horizon != math.MaxInt64
	}
	if tombstones && !f.opaque {
		f.next = min(f.next, horizon)
	}
	f.removed += int64(h.Count) - int64(n)
	switch {
	case n == 0:
		return f.none(b)
	case n == h.Count && (known || !tombstones):
		return same, b, nil
	}
	left, err := f.reduce(h, payload, n, latest, horizon, known || tombstones)
	return changed, left, err
}

// isAborted reports whether a batch's transaction was aborted: its records are never
// seen, and make no earlier ones obsolete.
func (f *filter) isAborted(h *record.BatchHeader) bool {
	return h.Transactional() && f.aborted.Has(h.ProducerID, h.BaseOffset)
}

// passOver keeps a batch whose checksum matches and whose records cannot be
// decoded: another program may be able to read it.
func (f *filter) passOver(b record.Batch) (verdict, record.Batch, error) {
	f.opaque = f.opaque || b.LastOffset() >= f.start
	return same, b, nil
}

// choose sets which records of the batch stay, and returns how many, their
// latest timestamp, and whether there are tombstones among them.
func (f *filter) choose(h *record.BatchHeader, payload []byte) (left int32, latest int64, tombstones bool, err error) {
	horizon, known := h.DeleteHorizon()
	expired := known && f.now >= horizon
	f.stay = f.stay[:0]
	latest = math.MinInt64
	it := h.Iterate(payload)
	var r record.Record
	for it.Next(&r) {
		stays := r.Offset >= f.end ||
			r.Offset >= f.start && r.Key != nil && r.Offset >= f.keys.last(r.Key) && (r.Value != nil || !expired || f.opaque)
		f.stay = append(f.stay, stays)
		if stays {
			left++
			latest = max(latest, r.Timestamp.UnixMilli())
			tombstones = tombstones || r.Value == nil && r.Offset < f.end
		}
	}
	return left, latest, tombstones, it.Err()
}

// none returns the verdict on a batch of which no record stays. It is an empty
// batch if it is its producer's last: recovery and replicas rebuild the producer's
// sequence from it.
func (f *filter) none(b record.Batch) (verdict, record.Batch, error) {
	h := b.BatchHeader
	if h.ProducerID == record.NoProducerID || f.keep == nil || !f.keep(&h) {
		return emptied, b, nil
	}
	if h.Count == 0 {
		return same, b, nil
	}
	h.Count, h.BaseTimestamp, h.MaxTimestamp = 0, record.NoTimestamp, record.NoTimestamp
	h.Attributes &^= record.AttrCompression | record.AttrDeleteHorizon
	f.records = slices.Grow(f.records[:0], record.HeaderLen)[:record.HeaderLen]
	return changed, record.Seal(f.records, h), nil
}

// reduce writes the records that stay into a batch of the same offsets, producer and
// compression. With hasHorizon, the base timestamp is the delete horizon, as in
// Kafka: the records' timestamps are deltas, and count from it.
func (f *filter) reduce(h *record.BatchHeader, payload []byte, left int32, latest, horizon int64, hasHorizon bool) (record.Batch, error) {
	out := *h
	out.Count = left
	if hasHorizon {
		out.BaseTimestamp = horizon
		out.Attributes |= record.AttrDeleteHorizon
	}
	if !h.LogAppendTime() {
		out.MaxTimestamp = latest
	}
	b := slices.Grow(f.records[:0], record.HeaderLen)[:record.HeaderLen]
	it := h.Iterate(payload)
	var r record.Record
	for i := 0; it.Next(&r); i++ {
		if !f.stay[i] {
			continue
		}
		delta, ms := int32(r.Offset-h.BaseOffset), r.Timestamp.UnixMilli()-out.BaseTimestamp
		pos, size := len(b), record.Size(delta, ms, r.Key, r.Value, r.Headers)
		b = slices.Grow(b, size)[:pos+size]
		record.Put(b[pos:], delta, ms, r.Key, r.Value, r.Headers)
	}
	f.records = b
	if c := h.Compression(); c != record.None {
		packed, err := f.codec.Compress(slices.Grow(f.packed[:0], record.HeaderLen)[:record.HeaderLen], c, 0, b[record.HeaderLen:])
		if err != nil {
			return record.Batch{}, err
		}
		f.packed, b = packed, packed
	}
	return record.Seal(b, out), nil
}

// learn adds the batch's keys to the map. If there is no room for one, its record
// becomes the filter's end, and learn returns false.
func (f *filter) learn(b record.Batch) (more bool, err error) {
	if b.Control() || b.Count == 0 || f.isAborted(&b.BatchHeader) {
		return true, nil
	}
	payload, err := b.Payload(f.codec, f.payload)
	if err != nil {
		return true, nil // see passOver
	}
	if b.Compression() != record.None {
		f.payload = payload
	}
	it := b.Iterate(payload)
	var r record.Record
	for it.Next(&r) {
		if r.Key != nil && r.Offset >= f.from && !f.keys.put(r.Key, r.Offset) {
			f.end = r.Offset
			return false, nil
		}
	}
	return true, nil
}
