package record

import (
	"math"

	"github.com/runnel-go/runnel/fault"
)

// Builder encodes records one after the other into a batch. It belongs to one
// goroutine. Reset makes it ready for the next batch; a Builder in steady use
// allocates nothing.
type Builder struct {
	buf      []byte // HeaderLen bytes for the header, then the records so far
	packed   []byte // the compressed batch, in use until Reset
	maxBytes int
	count    int32
	baseMs   int64
	maxMs    int64
}

// NewBuilder returns a Builder of batches of at most maxBytes bytes before
// compression. A larger record gets a batch to itself.
func NewBuilder(maxBytes int) *Builder {
	return &Builder{maxBytes: maxBytes, buf: make([]byte, HeaderLen)}
}

// Add appends a record with a timestamp in milliseconds. If the record does not
// fit, Add does nothing and returns false: seal the batch, Reset, and add the
// record again. The caller may reuse the slices when Add returns.
func (b *Builder) Add(ms int64, key, value []byte, headers []Header) bool {
	if b.count == 0 {
		b.baseMs, b.maxMs = ms, ms
	}
	size := Size(b.count, ms-b.baseMs, key, value, headers)
	pos := len(b.buf)
	if b.count > 0 && (pos+size > b.maxBytes || b.count == math.MaxInt32) {
		return false
	}
	b.grow(size)
	Put(b.buf[pos:], b.count, ms-b.baseMs, key, value, headers)
	b.count++
	b.maxMs = max(b.maxMs, ms)
	return true
}

// grow makes buf longer by n bytes.
func (b *Builder) grow(n int) {
	need := len(b.buf) + n
	if need > cap(b.buf) {
		larger := make([]byte, len(b.buf), max(need, min(2*cap(b.buf), b.maxBytes)))
		copy(larger, b.buf)
		b.buf = larger
	}
	b.buf = b.buf[:need]
}

// Count returns the number of records added since Reset.
func (b *Builder) Count() int { return int(b.count) }

// Len returns the length of the batch so far in bytes, before compression.
func (b *Builder) Len() int { return len(b.buf) }

// Batch seals the records added so far, compressed with c at level (0 for c's
// default). The batch shares the builder's bytes and is valid until Reset; do
// not call Add before that. codec may be nil for None. A Builder without
// records returns fault.InvalidRecord.
func (b *Builder) Batch(codec *Codec, c Compression, level int) (Batch, error) {
	if b.count == 0 {
		return Batch{}, fault.Newf(fault.InvalidRecord, "a batch without records")
	}
	buf := b.buf
	if c != None {
		if codec == nil {
			return Batch{}, fault.Newf(fault.UnsupportedCompression, "%s, and no codec", c)
		}
		if b.packed == nil {
			b.packed = make([]byte, HeaderLen)
		}
		packed, err := codec.Compress(b.packed[:HeaderLen], c, level, b.buf[HeaderLen:])
		if err != nil {
			return Batch{}, err
		}
		b.packed, buf = packed, packed
	}
	return Seal(buf, BatchHeader{
		LeaderEpoch: NoLeaderEpoch, Attributes: int16(c), LastOffsetDelta: b.count - 1,
		BaseTimestamp: b.baseMs, MaxTimestamp: b.maxMs,
		ProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, BaseSequence: NoSequence,
		Count: b.count,
	}), nil
}

// Reset empties the builder, which keeps its buffers for the next batch.
func (b *Builder) Reset() {
	b.buf, b.count = b.buf[:HeaderLen], 0
}
