package fetch

import (
	"fmt"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// reading is where a source stands between two batches of what it reads.
type reading int8

const (
	readNext   reading = iota // the next batch is to be read, if there is one
	readBatch                 // a batch is being decoded
	readAnyway                // Wait returned false: read even where nothing is visible, for the error of a closed partition
)

// source is one assigned partition. Except for the last block it belongs to the
// goroutine that fetches.
type source struct {
	session *Session
	tp      record.TopicPartition
	offset  atomic.Int64 // of the next record to return; unknownOffset until it is known; any goroutine reads it

	// Which partition of which topic, and where to begin. While part is nil the
	// partition is awaited: there is none of that name, or not the one that the
	// group means.
	part    host.Partition
	id      topic.ID          // of the topic; zero until one was found or the group has named it
	awaited bool              // part was nil when it was assigned, or another topic took the name: with Latest it begins at its first record
	sought  *topic.OffsetSpec // where Seek said to begin; valid while part is nil

	// What is being read. rest is a part of chunk; batchEnd, records and unpacked are
	// of the batch before rest.
	reading   reading
	chunk     chunk           // what was read last
	held      *buffer         // the buffer of chunk; nil where it is the garbage collector's
	rest      []byte          // batches of chunk that are still to be decoded
	records   record.Iterator // valid in readBatch
	batchEnd  int64           // the offset after the batch that was begun last
	unpacked  *buffer         // what that was decompressed into; nil where it wasn't, or is the garbage collector's
	trailing  error           // what is wrong behind the last record that was returned: the next fetch returns it
	readAhead *readAhead      // of the chunks after this one; nil where that is not worth it
	high      int64           // the high watermark when chunk was read
	epoch     int32           // of the batch that was begun last

	// Guarded by session.mu.
	turn    turn
	holds   holds
	waiting bool // a Waker is with the partition: Wake will come, or stopWaiting takes it back
}

// unknownOffset stands for an offset that is still to be found out.
const unknownOffset = -1

// chunk is what one read brought.
type chunk struct {
	partition.Slice
	buf  []byte // what Read was given, for another time
	next int64  // the offset after it; 0 if nobody looked
	err  error
}

// readAheadFrom is the length from which on a chunk of a file is worth reading
// the next one meanwhile.
const readAheadFrom = 32 << 10

// Wake is what the partition calls when there are records.
func (src *source) Wake() {
	s := src.session
	s.mu.Lock()
	src.waiting = false
	src.enqueueLocked()
	s.mu.Unlock()
	s.wake()
}

// park lets a source that has nothing wait for records.
func (src *source) park() {
	s := src.session
	s.mu.Lock()
	src.restLocked()
	wait := src.part != nil && !src.waiting && src.turn != turnEnded
	src.waiting = src.waiting || wait
	s.mu.Unlock()
	if wait && !src.part.Wait(src.offset.Load(), src) {
		src.reading = readAnyway // there are records by now, or the partition is closed
		s.mu.Lock()
		src.waiting = false
		src.enqueueLocked()
		s.mu.Unlock()
	}
}

// fetch decodes the next records, at most MaxRecords, into dst, and reports
// whether the offset moved: without records it did where all that was passed
// over had none. After an error it has brought none.
func (src *source) fetch(dst []record.Record) (records []record.Record, moved bool, err error) {
	dst = dst[:0]
	if err := src.find(nil); err != nil || src.part == nil {
		return dst, false, src.halt(err)
	}
	if err := src.trailing; err != nil {
		src.trailing = nil
		return dst, false, src.fail(err)
	}
	from, limit := src.offset.Load(), src.session.cfg.MaxRecords
	for len(dst) < limit {
		if src.reading != readBatch {
			more, err := src.nextBatch(len(dst) > 0)
			if err != nil && len(dst) == 0 {
				return dst, false, src.fail(err)
			}
			if !more || err != nil {
				break // an error comes again when it is alone
			}
		}
		dst = src.decode(grow(dst, limit), limit)
		if err := src.records.Err(); err != nil {
			src.discard()
			if len(dst) == 0 {
				return dst, false, src.fail(src.undecodable(err))
			}
			if end := src.batchEnd; src.offset.Load() == end { // else it comes again
				src.trailing = src.undecodableAt(end-1, err)
			}
			break
		}
	}
	return dst, src.offset.Load() != from, nil
}

// grow makes room for some more records.
func grow(dst []record.Record, limit int) []record.Record {
	if len(dst) < cap(dst) {
		return dst
	}
	larger := make([]record.Record, len(dst), min(limit, max(16, 4*cap(dst))))
	copy(larger, dst)
	return larger
}

// decode appends records of the batch at hand as far as dst has room.
func (src *source) decode(dst []record.Record, limit int) []record.Record {
	n, from := len(dst), src.offset.Load()
	room := dst[n:min(cap(dst), limit)]
	got := room[:src.records.Fill(room, src.tp.Topic, src.tp.Partition)]
	src.lease(len(got))
	if len(got) < len(room) {
		src.reading = readNext
		src.dropUnpacked()
	}
	switch {
	case len(got) < len(room) && src.records.Err() == nil:
		src.offset.Store(src.batchEnd)
	case len(got) > 0 && got[len(got)-1].Offset >= from:
		src.offset.Store(got[len(got)-1].Offset + 1)
	}
	before := 0 // of those that were not asked for
	for before < len(got) && got[before].Offset < from {
		before++
	}
	if before > 0 {
		copy(got, got[before:])
	}
	return dst[:n+len(got)-before]
}

// lease notes what n records point into that were decoded.
func (src *source) lease(n int) {
	used := src.held
	if src.unpacked != nil {
		used = src.unpacked
	}
	if used != nil && n > 0 {
		src.session.buffers.lease(used)
	}
}

func (src *source) dropUnpacked() {
	src.session.buffers.drop(src.unpacked)
	src.unpacked = nil
}

func (src *source) dropChunk() {
	if src.held != nil {
		src.session.buffers.drop(src.held)
		src.held = nil
	}
	src.chunk = chunk{}
}

// nextBatch begins to decode the next batch that has records for programs. With
// some, there are records at hand already, and it reads on only where that
// costs little.
func (src *source) nextBatch(some bool) (bool, error) {
	for {
		if len(src.rest) == 0 {
			if some && !src.chunk.Memory {
				return false, nil
			}
			if more, err := src.read(); !more || err != nil {
				return false, err
			}
		}
		h, err := record.ParseHeader(src.rest)
		if err != nil {
			src.discard()
			return false, err
		}
		size := h.Size()
		if size > len(src.rest) {
			src.discard()
			return false, fault.At(fault.CorruptMessage, src.tp.Topic, src.tp.Partition, src.offset.Load()).Detailf("a batch that is cut short")
		}
		raw := src.rest[:size:size]
		src.rest = src.rest[size:]
		src.epoch, src.batchEnd = h.LeaderEpoch, h.NextOffset()
		if src.batchEnd <= src.offset.Load() {
			continue
		}
		if h.Control() || h.Count == 0 {
			src.offset.Store(src.batchEnd)
			continue
		}
		payload, err := src.payload(record.Batch{BatchHeader: h, Bytes: raw})
		if err != nil {
			src.discard()
			return false, src.undecodable(err)
		}
		src.records, src.reading = h.Iterate(payload), readBatch
		return true, nil
	}
}

// payload returns the records of a batch, decompressed if need be.
func (src *source) payload(b record.Batch) ([]byte, error) {
	s := src.session
	if b.Compression() == record.None {
		return b.Payload(nil, nil)
	}
	payload, err := b.Payload(s.host.Codec(), s.buffers.take(0))
	if err == nil {
		src.unpacked = s.buffers.hold(&chunk{buf: payload})
	}
	return payload, err
}

// read brings the next chunk, from the memory of the log, the read ahead, or the
// file, and has the one after it read meanwhile if that is worth it.
func (src *source) read() (bool, error) {
	s := src.session
	src.dropChunk()
	offset := src.offset.Load()
	if src.reading != readAnyway && src.part.Visible() == offset {
		return false, nil // nothing yet, or the partition is closed: park finds out
	}
	src.reading = readNext
	c := src.ahead(offset)
	if c.err == nil && len(c.Bytes) == 0 {
		size := s.chunkBytes()
		c.buf = s.buffers.take(size)
		c.Slice, c.err = src.part.Read(offset, size, c.buf)
	}
	src.high = c.HighWatermark
	if c.err != nil {
		return false, c.err
	}
	src.chunk, src.rest, src.held = c, c.Bytes, s.buffers.hold(&c)
	if !c.Memory && len(c.Bytes) >= readAheadFrom {
		if c.next == 0 {
			c.next = nextOffset(c.Bytes)
		}
		if c.next < c.Visible {
			src.startReading(c.next)
		}
	}
	return len(c.Bytes) > 0, nil
}

// nextOffset returns the offset after a run of whole batches.
func nextOffset(batches []byte) (next int64) {
	for len(batches) > 0 {
		h, err := record.ParseHeader(batches)
		if err != nil || h.Size() > len(batches) {
			break
		}
		next, batches = h.NextOffset(), batches[h.Size():]
	}
	return next
}

// discard lets go of what was read.
func (src *source) discard() {
	src.rest, src.trailing = nil, nil
	if src.reading == readBatch {
		src.reading = readNext
	}
	src.dropUnpacked()
	src.dropChunk()
	src.stopReading()
}

// undecodable names the partition in an error of the codec, and where it goes on
// behind the batch, as far as that is known.
func (src *source) undecodable(err error) error {
	return src.undecodableAt(src.offset.Load(), err)
}

func (src *source) undecodableAt(offset int64, err error) error {
	e := record.Undecodable(err, src.tp.Topic, src.tp.Partition, offset)
	way := ""
	if e.Code == fault.ExpandsTooFar {
		way = "MaxExpandedBatch allows more; "
	}
	if src.batchEnd > offset {
		return e.Try(fmt.Sprintf("%sSeek to offset %d to continue behind the batch", way, src.batchEnd))
	}
	return e
}

// fail decides how a source goes on after an error, and returns what to say.
func (src *source) fail(err error) error {
	s := src.session
	switch fault.CodeOf(err) {
	case fault.OffsetOutOfRange:
		src.discard()
		return src.reset(err)
	case fault.UnknownTopic, fault.Closed:
		if !s.host.IsClosed() {
			// The topic was deleted: its successor is awaited, unless it is
			// there already.
			src.discard()
			src.part = nil
			return src.find(nil)
		}
	}
	return src.halt(err)
}

// halt makes a source stand still after an error that would come again, and returns
// the error.
func (src *source) halt(err error) error {
	switch fault.CodeOf(err) {
	case fault.CorruptMessage, fault.UnsupportedCompression, fault.UnsupportedFormat, fault.Undecodable, fault.ExpandsTooFar:
		s := src.session
		s.mu.Lock()
		src.failLocked()
		s.mu.Unlock()
	}
	return err
}

// stopWaiting takes back a Wait.
func (src *source) stopWaiting() {
	s := src.session
	s.mu.Lock()
	waiting := src.waiting
	src.waiting = false
	s.mu.Unlock()
	if waiting {
		src.part.CancelWait(src)
	}
}

// detach lets go of the partition.
func (src *source) detach() {
	src.stopWaiting()
	src.discard()
}
