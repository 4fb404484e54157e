package log

import (
	"errors"
	"fmt"
	"math"

	"github.com/runnel-go/runnel/record"
)

// OffsetForTime returns the first record whose timestamp is ms milliseconds or
// later, by offset, and its timestamp; ok is false when there is none. That is
// what Kafka's ListOffsets answers for a time: timestamps need not rise with
// offsets. Control records do not count: their times are those of transactions and
// elections, and a search that ended at one would return the older records behind it.
//
// It searches everything up to EndOffset: the caller compares the offset with its
// high watermark. Errors are those of Read.
func (l *Log) OffsetForTime(ms int64) (offset, timestamp int64, ok bool, err error) {
	for {
		offset, timestamp, ok, err = l.searchTimes(ms)
		if !errors.Is(err, errGone) {
			return offset, timestamp, ok, err
		}
		if l.closed.Load() {
			return 0, 0, false, nil
		}
		// A segment was deleted or compacted meanwhile: search the new list.
	}
}

// searchTimes searches one segment after the other, in order of offsets: the first
// match is the answer, even if later segments have earlier timestamps. It returns
// errGone if a segment is deleted meanwhile.
func (l *Log) searchTimes(ms int64) (offset, timestamp int64, ok bool, err error) {
	end := l.end.Load()
	for _, s := range l.list() {
		if s.base >= end {
			break
		}
		offset, timestamp, ok, err = l.searchTime(s, ms, end)
		if ok || err != nil {
			return offset, timestamp, ok, err
		}
	}
	return 0, 0, false, nil
}

// searchTime searches one segment. The time index only narrows the search: a batch's
// MaxTimestamp shows whether it has a match, and searchBatch finds it.
func (l *Log) searchTime(s *segment, ms, end int64) (offset, timestamp int64, ok bool, err error) {
	h, err := s.open()
	if err != nil {
		return 0, 0, false, l.unreadable(s, s.base, err)
	}
	defer h.release()
	size := s.size.Load()
	if l.latestTime(s, h, size) < ms {
		return 0, 0, false, nil
	}
	pos, base := int64(0), s.base
	if from := max(l.start.Load(), l.timeFloor(s, h, ms, size)); from > s.base {
		if pos, base, err = l.locate(s, h, from, size); err != nil {
			return 0, 0, false, err
		}
	}
	sc := newScanner(h, pos, size, base, false)
	for sc.next() {
		if sc.header.BaseOffset >= end {
			break
		}
		if sc.header.MaxTimestamp < ms || sc.header.Control() || sc.header.LastOffset() < l.start.Load() {
			continue
		}
		offset, timestamp, ok, err = l.searchBatch(s, h, sc.pos, &sc.header, ms)
		if ok || err != nil {
			return offset, timestamp, ok, err
		}
	}
	if sc.err != nil {
		return 0, 0, false, l.unreadable(s, s.base, sc.err)
	}
	if sc.bad != "" {
		return 0, 0, false, l.corrupt(s, sc.offset, sc.pos, fmt.Sprintf("the batch of offset %d", sc.offset), sc.bad)
	}
	return 0, 0, false, nil
}

// searchBatch returns the first record of the batch at pos whose timestamp is ms
// or later and which the log still has.
func (l *Log) searchBatch(s *segment, h *handle, pos int64, header *record.BatchHeader, ms int64) (offset, timestamp int64, ok bool, err error) {
	r := reader{log: l, segment: s, file: h, pos: pos, size: pos + int64(header.Size()), base: header.BaseOffset, offset: header.BaseOffset, limit: math.MaxInt64, epochs: l.Epochs()}
	b, err := r.read(int64(header.Size()), nil)
	if err != nil {
		return 0, 0, false, err
	}
	it, err := record.Batch{BatchHeader: *header, Bytes: b}.Records(l.cfg.Codec)
	if err != nil {
		return 0, 0, false, record.Undecodable(err, l.cfg.Topic, l.cfg.Partition, header.BaseOffset)
	}
	var rec record.Record
	for it.Next(&rec) {
		if t := rec.Timestamp.UnixMilli(); t >= ms && rec.Offset >= l.start.Load() {
			return rec.Offset, t, true, nil
		}
	}
	if err := it.Err(); err != nil {
		return 0, 0, false, record.Undecodable(err, l.cfg.Topic, l.cfg.Partition, header.BaseOffset)
	}
	return 0, 0, false, nil
}

// latestTime returns the latest timestamp of a segment, or math.MaxInt64 if its
// time index has none, so that a search reads the segment.
func (l *Log) latestTime(s *segment, h *handle, size int64) int64 {
	if x := s.live.Load(); x != nil {
		return x.maxTimestamp.Load()
	}
	if t := s.maxTimestamp.Load(); t != unknownTimestamp {
		return t
	}
	e, ok := l.timeEntry(s, h, math.MaxInt64, size)
	if !ok {
		return math.MaxInt64
	}
	s.maxTimestamp.Store(e.timestamp)
	return e.timestamp
}

// timeFloor returns an offset before which no record of the segment has a
// timestamp of ms or later: the one its time index names, or its base.
func (l *Log) timeFloor(s *segment, h *handle, ms, size int64) int64 {
	if e, ok := l.timeEntry(s, h, ms, size); ok {
		return s.base + e.rel
	}
	return s.base
}

// timeEntry returns the last entry of the segment's time index that is at most ms,
// if the log confirms it. An index that the log contradicts is rebuilt, once.
func (l *Log) timeEntry(s *segment, h *handle, ms, size int64) (timeEntry, bool) {
	if x := s.live.Load(); x != nil {
		return floorTime(x.times.view(), ms)
	}
	for range 2 {
		e, ok, err := lastTime(s.fs, s.timeIndexPath(), ms)
		if err == nil && !ok {
			return timeEntry{}, false
		}
		if err == nil {
			pos, base, err := l.locate(s, h, s.base+e.rel, size)
			if err == nil && pos < size {
				sc := newScanner(h, pos, size, base, false)
				if sc.next() && sc.header.MaxTimestamp == e.timestamp && sc.header.LastOffset() == s.base+e.rel {
					return e, true
				}
			}
		}
		if !s.rebuild(h, size, int64(l.cfg.IndexInterval)) {
			break
		}
	}
	return timeEntry{}, false
}
