package fetch

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// What a source is doing. It goes from idle to ready when there may be records,
// to served by the goroutine that fetches, and back.
type sourceState int8

const (
	sourceIdle    sourceState = iota // waits: for records, its topic, Resume, Seek
	sourceReady                      // stands in the line
	sourceServed                     // its turn
	sourceDropped                    // no longer assigned
)

// source is one assigned partition. But for what is marked it belongs to the
// goroutine that fetches.
type source struct {
	session *Session
	tp      record.TopicPartition
	offset  atomic.Int64 // of the next record to be brought; unknownOffset until it is known

	id      topic.ID          // of the topic that is read, once one was found or the group has named it
	part    host.Partition    // nil while there is no such partition
	awaited bool              // there was no such partition when it was assigned
	sought  *topic.OffsetSpec // where Seek said to begin, before there was a partition

	high  int64 // the high watermark when the last chunk was read
	epoch int32 // of the last batch

	chunk     chunk           // what was read last
	held      *buffer         // its buffer; nil where it is the garbage collector's
	rest      []byte          // its batches that come next
	records   record.Iterator // of the batch being decoded, if decoding
	batchEnd  int64           // the offset after that batch
	unpacked  *buffer         // what it was decompressed into; nil where it wasn't, or is the garbage collector's
	decoding  bool
	trailing  error      // what is wrong behind the last record of a batch: the next fetch says so
	readAhead *readAhead // of the chunks after this one, or nil
	pressed   bool       // the partition would not let it wait

	// Guarded by session.mu.
	state   sourceState
	queued  bool // it is in the line; then state may be anything
	paused  bool
	halted  bool // after an error that would come again: until Seek
	waiting bool // a Wake will come
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
	s.enqueue(src)
	s.mu.Unlock()
	s.wake()
}

// park lets a source that has nothing wait for records.
func (src *source) park() {
	s := src.session
	s.mu.Lock()
	if src.state == sourceServed {
		src.state = sourceIdle
	}
	wait := src.part != nil && !src.waiting && src.state != sourceDropped
	src.waiting = src.waiting || wait
	s.mu.Unlock()
	if wait && !src.part.Wait(src.offset.Load(), src) {
		src.pressed = true // there are records by now, or the partition is closed
		s.mu.Lock()
		src.waiting = false
		s.enqueue(src)
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
		if !src.decoding {
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
		src.decoding = false
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
	src.session.buffers.drop(src.held)
	src.chunk, src.held = chunk{}, nil
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
		src.records, src.decoding = h.Iterate(payload), true
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
		src.unpacked = s.buffers.hold(chunk{buf: payload})
	}
	return payload, err
}

// read brings the next chunk, from the memory of the log, the read ahead, or the
// file, and has the one after it read meanwhile if that is worth it.
func (src *source) read() (bool, error) {
	s := src.session
	src.dropChunk()
	offset := src.offset.Load()
	if !src.pressed && src.part.Visible() == offset {
		return false, nil // nothing yet, or the partition is closed: park finds out
	}
	src.pressed = false
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
	src.chunk, src.rest, src.held = c, c.Bytes, s.buffers.hold(c)
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
	src.rest, src.decoding, src.trailing = nil, false, nil
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
		return e.Try(fmt.Sprintf("%sSeek to offset %d goes on behind the batch", way, src.batchEnd))
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
		src.halted = true
		s.mu.Unlock()
	}
	return err
}

// reset goes on where the configuration says, after an offset that the partition
// does not hold.
func (src *source) reset(cause error) error {
	if src.session.cfg.Start.IsNone() {
		return src.unplaced(fault.At(fault.OffsetOutOfRange, src.tp.Topic, src.tp.Partition, src.offset.Load()).Because(cause))
	}
	offset, err := src.locate(src.session.cfg.Start)
	if err != nil {
		return err
	}
	was := src.offset.Swap(offset)
	return fault.At(fault.OffsetOutOfRange, src.tp.Topic, src.tp.Partition, was).
		Detailf("going on at %d", offset).Because(cause)
}

// locate returns the offset that spec names, within what the partition holds.
func (src *source) locate(spec topic.OffsetSpec) (int64, error) {
	listed, err := host.ListOffset(src.part, spec)
	return max(min(listed.Offset, src.part.Visible()), src.part.StartOffset()), err
}

// find finds the partition and where to begin in it, unless both are known.
// committed are the group's offsets, or nil if they are to be asked for.
func (src *source) find(committed map[record.TopicPartition]consumer.Offset) error {
	if src.part != nil && src.offset.Load() != unknownOffset {
		return nil
	}
	s := src.session
	if src.part == nil {
		t, err := s.host.Topic(src.tp.Topic)
		if errors.Is(err, fault.UnknownTopic) {
			return nil
		}
		if err != nil {
			return err
		}
		if int(src.tp.Partition) >= len(t.Open()) || s.member.wanted(s) && t.ID != src.id {
			return nil
		}
		p, err := s.host.Sound(t, src.tp.Partition)
		if err != nil {
			return err
		}
		if src.id != t.ID && src.id != (topic.ID{}) {
			src.offset.Store(unknownOffset) // another topic under the same name
			src.awaited = true
		}
		src.id, src.part = t.ID, p
	}
	if src.offset.Load() != unknownOffset {
		return nil
	}
	offset, err := src.first(committed)
	if err == nil {
		src.offset.Store(offset)
	}
	return err
}

// first returns where a source begins.
func (src *source) first(committed map[record.TopicPartition]consumer.Offset) (int64, error) {
	s := src.session
	if src.sought != nil {
		spec := *src.sought
		src.sought = nil
		return src.locate(spec)
	}
	if committed == nil && s.cfg.Group != "" {
		var err error
		if committed, err = s.committed([]record.TopicPartition{src.tp}); err != nil {
			return 0, err
		}
	}
	if o, ok := committed[src.tp]; ok {
		return o.Offset, nil
	}
	if offset, ok := s.cfg.Start.Offset(); ok {
		return offset, nil // out of range is for the first read to say
	}
	switch {
	case s.cfg.Start.IsNone():
		return 0, src.unplaced(fault.At(fault.OffsetOutOfRange, src.tp.Topic, src.tp.Partition, -1).
			Detailf("the group has committed nothing, and the consumer begins where it has"))
	case s.cfg.Start.IsLatest() && s.isNew(src):
		return src.locate(topic.Earliest())
	}
	return src.locate(s.cfg.Start)
}

// unplaced makes a source stand still whose offset is for the program to say.
func (src *source) unplaced(err *fault.Error) error {
	s := src.session
	s.mu.Lock()
	src.halted = true
	s.mu.Unlock()
	return err.Try("Seek says where to go on")
}

// seek begins anew where spec says.
func (src *source) seek(spec topic.OffsetSpec) error {
	if err := src.find(nil); err != nil && src.part == nil {
		return err // otherwise it is where to begin that was not found, which spec says
	}
	offset, given := spec.Offset()
	switch {
	case src.part == nil:
		src.sought = &spec
	case !given:
		var err error
		if offset, err = src.locate(spec); err != nil {
			return err
		}
		fallthrough
	default:
		src.offset.Store(offset)
	}
	src.discard()
	src.stopWaiting()
	s := src.session
	s.mu.Lock()
	defer s.mu.Unlock()
	src.halted = false
	s.enqueue(src)
	return nil
}

// at returns the offset of the next record to be brought.
func (src *source) at() (int64, error) {
	if offset := src.offset.Load(); offset != unknownOffset {
		return offset, nil
	}
	return 0, fault.At(fault.UnknownTopic, src.tp.Topic, src.tp.Partition, -1).Detailf("the partition is awaited")
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
