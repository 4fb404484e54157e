package fetch

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// reading is what a source does next with its partition.
type reading int8

const (
	readNext   reading = iota // the next batch is to be read, if there is one
	readBatch                 // a batch is being decoded
	readAnyway                // Wait returned false: read even if nothing is visible, for the error of a closed partition
)

// source is one assigned partition. All but its last block of fields belongs to the
// goroutine that fetches, so decoding needs no lock.
type source struct {
	session *Session
	tp      record.TopicPartition
	offset  atomic.Int64 // of the next record to return; unknownOffset until it is known; any goroutine reads it

	// Which partition of which topic, and where to begin. While part is nil, the
	// partition is awaited: it doesn't exist, or the topic of that name isn't the one
	// that the group assigned, but its successor.
	part    host.Partition
	id      topic.ID          // of the topic; zero until one was found or the group has named it
	awaited bool              // the partition is newer than its assignment; with Latest it is read from its first record
	sought  *topic.OffsetSpec // where Seek said to begin; valid while part is nil
	later   *time.Timer       // puts the source in the line, to look its offset up again; nil if it never had to
	pause   time.Duration     // the last one before that

	// What is being read: a chunk of whole batches, then one batch of it after the
	// other. rest is what remains of chunk; batchEnd, records and unpacked are those of
	// the batch before rest.
	reading   reading
	chunk     chunk           // what was read last
	held      *buffer         // the buffer of chunk; nil if the garbage collector owns it
	rest      []byte          // batches of chunk that are still to be decoded
	records   record.Iterator // valid in readBatch
	batchEnd  int64           // the offset after the batch that was begun last
	unpacked  *buffer         // what that batch was decompressed into; nil if it wasn't, or if the garbage collector owns it
	trailing  error           // found behind the last record that was returned: the next fetch returns it
	readAhead *readAhead      // of the chunks after this one; nil if that isn't worth it
	high      int64           // what was visible when chunk was read
	epoch     int32           // of the batch that was begun last

	// Guarded by session.mu.
	turn    turn
	holds   holds
	waiting bool // the partition has the source as a Waker: it will call Wake, unless stopWaiting cancels that
}

// unknownOffset means that the offset must still be looked up: it was committed, or
// Config.Start names it.
const unknownOffset = -1

// chunk is what one read brought.
type chunk struct {
	partition.Slice
	buf  []byte // the buffer that Read got, to be reused
	next int64  // the offset after the chunk; 0 if it was not computed
	err  error
}

// readAheadFrom is the least length of a chunk from a file for which reading the next
// one meanwhile pays. After a shorter one the reader is near the log's end.
const readAheadFrom = 32 << 10

// Wake puts the source in the line. The partition calls it, once, when there are
// records.
func (src *source) Wake() {
	s := src.session
	s.mu.Lock()
	src.waiting = false
	src.enqueueLocked()
	s.mu.Unlock()
	s.wake()
}

// park makes a source that has nothing to read wait for records. waiting is set before
// Wait is called, because Wake may come from another goroutine before Wait returns.
func (src *source) park() {
	s := src.session
	s.mu.Lock()
	src.restLocked()
	wait := src.part != nil && !src.waiting && src.turn != turnEnded && src.offset.Load() != unknownOffset
	src.waiting = src.waiting || wait
	s.mu.Unlock()
	if wait && !src.part.At(src.session.isolation()).Wait(src.offset.Load(), src) {
		src.reading = readAnyway // records came meanwhile, or the partition is closed
		s.mu.Lock()
		src.waiting = false
		src.enqueueLocked()
		s.mu.Unlock()
	}
}

// fetch decodes the next records into dst, at most MaxRecords, and reports whether the
// offset moved. It also moves past batches that hold no records for programs. With an
// error, fetch returns no records: an error behind records comes with the next call,
// so that the program gets what is sound before it.
func (src *source) fetch(dst []record.Record) (records []record.Record, moved bool, err error) {
	dst = dst[:0]
	if err := src.find(nil); errors.Is(err, fault.UnstableOffsetCommit) {
		src.findLater()
		return dst, false, nil
	} else if err != nil || src.part == nil {
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
				break // the next call meets the error again, without records before it
			}
		}
		dst = src.decode(grow(dst, limit), limit)
		if err := src.records.Err(); err != nil {
			src.discard()
			if len(dst) == 0 {
				return dst, false, src.fail(src.undecodable(err))
			}
			if end := src.batchEnd; src.offset.Load() == end { // else the next call meets it again
				src.trailing = src.undecodableAt(end-1, err)
			}
			break
		}
	}
	return dst, src.offset.Load() != from, nil
}

// grow makes room for more records: four times as much as before, so that a Fetch of a
// few records stays cheap and one of many copies little.
func grow(dst []record.Record, limit int) []record.Record {
	if len(dst) < cap(dst) {
		return dst
	}
	larger := make([]record.Record, len(dst), min(limit, max(16, 4*cap(dst))))
	copy(larger, dst)
	return larger
}

// decode appends records of the current batch, as far as dst has room. The batch may
// begin before the source's offset, because a batch is read as a whole: those records
// are dropped.
func (src *source) decode(dst []record.Record, limit int) []record.Record {
	n, from := len(dst), src.offset.Load()
	room := dst[n:min(cap(dst), limit)]
	got := room[:src.records.Fill(room, src.tp.Topic, src.tp.Partition)]
	src.leaseDecoded(len(got))
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
	before := 0 // how many lie before the offset
	for before < len(got) && got[before].Offset < from {
		before++
	}
	if before > 0 {
		copy(got, got[before:])
	}
	return dst[:n+len(got)-before]
}

// leaseDecoded adds the buffer into which n decoded records point to the lease of the
// current Fetch.
func (src *source) leaseDecoded(n int) {
	used := src.held
	if src.unpacked != nil {
		used = src.unpacked
	}
	if used != nil && n > 0 {
		src.session.buffers.lease(used)
	}
}

func (src *source) dropUnpacked() {
	src.session.buffers.unref(src.unpacked)
	src.unpacked = nil
}

func (src *source) dropChunk() {
	if src.held != nil {
		src.session.buffers.unref(src.held)
		src.held = nil
	}
	src.chunk = chunk{}
}

// nextBatch begins to decode the next batch that has records for programs, and reports
// whether there is one. some means that the Fetch has records already: then nextBatch
// reads another chunk only if the last one came from memory, so that these records
// don't wait for a disk.
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
		if h.Control() || h.Count == 0 || src.chunk.Hides(&h) {
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

// payload returns the encoded records of a batch, decompressed if necessary.
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

// read gets the next chunk: what was read ahead or, if that is not the one, from the
// partition, which has its newest batches in memory. It starts reading ahead if the
// chunk came from a file and more follow.
func (src *source) read() (bool, error) {
	s := src.session
	src.dropChunk()
	offset := src.offset.Load()
	if src.reading != readAnyway && src.part.At(s.isolation()).Visible() == offset {
		return false, nil // nothing yet, or the partition is closed: park finds out which
	}
	src.reading = readNext
	c := src.takeAhead(offset)
	if c.err == nil && len(c.Bytes) == 0 {
		size := s.chunkBytes()
		c.buf = s.buffers.take(size)
		c.Slice, c.err = src.part.At(s.isolation()).Read(offset, size, c.buf)
	}
	src.high = c.Visible
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

// discard drops what was read and not returned, which Seek and errors make invalid.
func (src *source) discard() {
	src.rest, src.trailing = nil, nil
	if src.reading == readBatch {
		src.reading = readNext
	}
	src.dropUnpacked()
	src.dropChunk()
	src.stopReading()
}

// undecodable adds the partition to an error of the codec, and the offset behind the
// batch if that is known, so that the program can seek there.
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

// fail decides how a source continues after an error, and returns the error for the
// program, or nil if there is none to report.
func (src *source) fail(err error) error {
	s := src.session
	switch fault.CodeOf(err) {
	case fault.OffsetOutOfRange:
		src.discard()
		return src.reset(err)
	case fault.UnknownTopic, fault.Closed:
		if !s.host.IsClosed() {
			// The topic was deleted. Its successor may exist already; otherwise the
			// source awaits it.
			src.discard()
			src.part = nil
			return src.find(nil)
		}
	}
	return src.halt(err)
}

// halt returns err, and keeps the source out of the line if reading again would only
// repeat it. Otherwise one damaged partition would fail every Fetch, and starve the
// others.
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

// stopWaiting cancels the partition's Wait, if there is one.
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

// findLater has the source take another turn after a while, because a transaction has its
// group's offset and is not decided yet.
func (src *source) findLater() {
	src.pause = min(max(2*src.pause, searchFirst), searchEvery)
	if src.later == nil {
		src.later = time.AfterFunc(src.pause, src.again)
		return
	}
	src.later.Reset(src.pause)
}

func (src *source) again() {
	s := src.session
	s.mu.Lock()
	src.enqueueLocked()
	s.mu.Unlock()
	s.wake()
}

// detach releases what the source has of its partition.
func (src *source) detach() {
	if src.later != nil {
		src.later.Stop()
	}
	src.stopWaiting()
	src.discard()
}
