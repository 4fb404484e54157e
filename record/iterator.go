package record

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/runnel-go/runnel/fault"
)

// Iterator decodes the records of one batch, in order. It is a value: a copy is
// a second iterator that continues from the same record. Only one goroutine may
// use it.
//
//	it, err := batch.Records(codec)
//	for it.Next(&rec) { … }
//	err = it.Err()
type Iterator struct {
	data []byte // the records, uncompressed
	pos  int    // where the next one begins

	left       int32 // records still to come
	epoch      int32
	baseOffset int64
	lastDelta  int64 // of the record before, or -1
	maxDelta   int64
	baseMs     int64 // what timestamp deltas count from
	appendMs   int64 // every record's timestamp, if appendTime
	appendTime bool

	headers []Header // room for the headers of records to come
	err     error
}

// Records returns an iterator over the batch's records, decompressing them into
// a new buffer if need be. codec may be nil when the batch is not compressed.
// Errors are those of Codec.Decompress.
func (b Batch) Records(codec *Codec) (Iterator, error) {
	payload, err := b.Payload(codec, nil)
	if err != nil {
		return Iterator{}, err
	}
	return b.Iterate(payload), nil
}

// Iterate returns an iterator over payload, which Payload returned for a batch
// with this header.
func (h BatchHeader) Iterate(payload []byte) Iterator {
	return Iterator{
		data: payload, left: h.Count, epoch: h.LeaderEpoch,
		baseOffset: h.BaseOffset, lastDelta: -1, maxDelta: int64(h.LastOffsetDelta),
		baseMs: h.BaseTimestamp, appendMs: h.MaxTimestamp, appendTime: h.LogAppendTime(),
	}
}

// Err returns fault.CorruptMessage if the bytes contradict the header: a record
// that is truncated or too long, an offset outside the batch or not above the
// previous one, or bytes after the last record.
func (it *Iterator) Err() error { return it.err }

// Next decodes the next record into r and reports whether there was one. It
// sets Offset, LeaderEpoch, Timestamp, Key, Value and Headers, and leaves Topic
// and Partition unchanged. The slices and the headers' keys point into the
// batch's bytes (or into the decompressed bytes), without capacity beyond their
// length.
//
// A record without headers costs no allocation. Headers are cut from slices
// shared by several records and are never reused.
func (it *Iterator) Next(r *Record) bool {
	if it.left <= 0 {
		return it.end()
	}
	return it.fillUsual(unsafe.Slice(r, 1), r.Topic, r.Partition) == 1 || it.nextAny(r)
}

// nextAny is Next for all records, and reports what is wrong with an invalid
// one. The caller has checked that a record is left.
func (it *Iterator) nextAny(r *Record) bool {
	size, pos := varint(it.data, it.pos)
	if pos < 0 || size < 0 || size > len(it.data)-pos {
		return it.fail("a bad record length at byte %d", it.pos)
	}
	it.left--
	it.pos = pos + size
	body := it.data[pos:it.pos:it.pos]
	// body[0] is the record's attributes, which have no meaning yet.
	timestampDelta, pos := varlong(body, 1)
	if pos < 0 {
		return it.fail("a bad record timestamp")
	}
	offsetDelta, pos := varint(body, pos)
	if pos < 0 || int64(offsetDelta) <= it.lastDelta || int64(offsetDelta) > it.maxDelta {
		return it.fail("a bad record offset")
	}
	it.lastDelta = int64(offsetDelta)
	var ok bool
	if r.Key, pos, ok = nullable(body, pos); !ok {
		return it.fail("a bad record key")
	}
	if r.Value, pos, ok = nullable(body, pos); !ok {
		return it.fail("a bad record value")
	}
	if r.Headers, ok = it.readHeaders(body, pos); !ok {
		return it.fail("bad record headers")
	}
	r.Offset, r.LeaderEpoch = it.baseOffset+int64(offsetDelta), it.epoch
	ms := it.baseMs + timestampDelta
	if it.appendTime {
		ms = it.appendMs
	}
	r.Timestamp = time.UnixMilli(ms)
	return true
}

// end is Next after the last record.
func (it *Iterator) end() bool {
	if it.left == 0 && it.pos != len(it.data) && it.err == nil {
		it.fail("%d bytes after its last record", len(it.data)-it.pos)
	}
	return false
}

// fail ends the iteration; it returns false for Next to return.
func (it *Iterator) fail(format string, args ...any) bool {
	it.left = -1
	what := fmt.Sprintf(format, args...)
	it.err = fault.Newf(fault.CorruptMessage, "the batch at offset %d has %s", it.baseOffset, what)
	return false
}

// nullable reads a length and the bytes after it; the length -1 is null.
func nullable(body []byte, pos int) ([]byte, int, bool) {
	n, pos := varint(body, pos)
	if pos < 0 || n < -1 || n > len(body)-pos {
		return nil, 0, false
	}
	if n < 0 {
		return nil, pos, true
	}
	return body[pos : pos+n : pos+n], pos + n, true
}

// readHeaders reads the number of headers at body[pos] and the headers, which
// must end where body ends.
func (it *Iterator) readHeaders(body []byte, pos int) ([]Header, bool) {
	n, pos := varint(body, pos)
	// A header takes two bytes at least, which bounds the count and so the
	// allocation.
	if pos < 0 || n < 0 || n > (len(body)-pos)/2 {
		return nil, false
	}
	headers := it.takeHeaders(n)
	for i := range headers {
		key, next, ok := nullable(body, pos)
		if !ok || key == nil {
			return nil, false
		}
		headers[i].Key = unsafe.String(unsafe.SliceData(key), len(key))
		if headers[i].Value, pos, ok = nullable(body, next); !ok {
			return nil, false
		}
	}
	return headers, pos == len(body)
}

// headerChunk is how many headers are allocated at once: few enough that a
// record which is kept keeps little memory alive.
const headerChunk = 32

func (it *Iterator) takeHeaders(n int) []Header {
	if n == 0 {
		return nil
	}
	if n > len(it.headers) {
		it.headers = make([]Header, max(n, headerChunk))
	}
	taken := it.headers[:n:n]
	it.headers = it.headers[n:]
	return taken
}
