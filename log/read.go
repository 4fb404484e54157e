package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// gatherBelow is the length under which an append is so short that copying it
// and its successors together costs less than handing each out alone.
const gatherBelow = 4 << 10

// Slice is a run of whole batches.
type Slice struct {
	Bytes  []byte // read-only; nil when there is nothing to read yet
	Memory bool   // Bytes are the tail's, not the buffer that Read was given or made

	entry *entry // the tail's entry to which the Slice holds a reference, or nil
}

// Release tells the log that the bytes are no longer used, so that a buffer of the
// tail may be recycled. It is optional: the garbage collector frees what isn't
// released. Bytes in the buffer that was passed to Read are the caller's anyway.
func (s *Slice) Release() {
	if s.entry != nil {
		s.entry.release()
	}
	*s = Slice{}
}

// Read returns whole batches: the one that holds offset and those that follow, up
// to maxBytes but at least one. All of them end at or before limit, which is usually
// the high watermark, except a batch without records that compaction left.
//
// The newest batches are slices of the tail's memory, without a copy. Others are
// read from the file with one pread, into buf if it is large enough and into a new
// buffer otherwise, and their checksums are verified. The result never spans two
// segments. buf may be nil.
//
// From limit to EndOffset, Read returns an empty Slice. Outside StartOffset to
// EndOffset it returns fault.OffsetOutOfRange. Damage is a *fault.Corruption; sound
// batches before it are returned first.
func (l *Log) Read(offset, limit int64, maxBytes int, buf []byte) (Slice, error) {
	return l.read(offset, limit, maxBytes, buf, false)
}

// ReadStored is Read from the files alone, past the tail in memory.
func (l *Log) ReadStored(offset, limit int64, maxBytes int, buf []byte) (Slice, error) {
	return l.read(offset, limit, maxBytes, buf, true)
}

// read tries the tail and then the file. Readers take no lock, so the writer may
// truncate, delete or replace the segment during the read. An error may therefore
// be due to that: it is only returned if the offset is still in the log and no
// truncation has happened.
func (l *Log) read(offset, limit int64, maxBytes int, buf []byte, stored bool) (Slice, error) {
	end := l.end.Load()
	if offset < l.start.Load() || offset > end {
		return Slice{}, l.outOfRange(offset)
	}
	if l.closed.Load() {
		return Slice{}, l.errorAt(fault.Closed, -1)
	}
	limit = min(limit, end)
	if offset >= limit {
		return Slice{}, nil
	}
	if !stored {
		if s, ok := l.tail.read(offset, limit, maxBytes, buf); ok {
			return s, nil
		}
	}
	for {
		generation := l.generation.Load()
		b, err := l.readFile(offset, limit, maxBytes, buf)
		if err == nil {
			return Slice{Bytes: b}, nil
		}
		switch {
		case l.closed.Load():
			return Slice{}, l.errorAt(fault.Closed, -1)
		case offset < l.start.Load() || offset > l.end.Load():
			return Slice{}, l.outOfRange(offset)
		case l.generation.Load() == generation && !errors.Is(err, errGone):
			return Slice{}, err
		}
		// The log was truncated, or the segment replaced, meanwhile: read again.
		if limit = min(limit, l.end.Load()); offset >= limit {
			return Slice{}, nil
		}
	}
}

func (l *Log) outOfRange(offset int64) error {
	return l.errorAt(fault.OffsetOutOfRange, offset).Detailf("it has the offsets %d to %d", l.start.Load(), l.end.Load())
}

// read reads from memory. ok is false if the tail doesn't have the offset. Small
// entries are gathered into the caller's buffer, if there is one: a slice per tiny
// append would cost the reader more than the copy.
func (t *tail) read(offset, limit int64, maxBytes int, buf []byte) (s Slice, ok bool) {
	ring, i, e := t.find(offset)
	if e == nil {
		return Slice{}, false
	}
	if len(e.buf) < gatherBelow && e.next < limit && cap(buf) > 0 {
		return Slice{Bytes: ring.gather(i, e, offset, limit, maxBytes, buf[:0])}, true
	}
	if e.base.Load() == offset && e.next <= limit && len(e.buf) <= maxBytes {
		return Slice{Bytes: e.buf, Memory: true, entry: e}, true
	}
	b, _ := cut(e.buf, offset, limit, maxBytes)
	if len(b) == 0 {
		e.release()
		return Slice{}, true
	}
	return Slice{Bytes: b, Memory: true, entry: e}, true
}

// gather copies the batches of entry e and those after it to dst, up to maxBytes and
// dst's capacity. e is entry number i, on which the caller holds a reference, and
// gather releases it.
func (r *ring) gather(i uint64, e *entry, offset, limit int64, maxBytes int, dst []byte) []byte {
	room := min(maxBytes, cap(dst))
	for {
		b, next := cut(e.buf, offset, limit, room-len(dst))
		fits := len(dst) == 0 || len(b) <= room-len(dst)
		if fits {
			dst = append(dst, b...)
		}
		whole := fits && next == e.next
		e.release()
		if i++; !whole || next >= limit || i >= r.next.Load() {
			return dst
		}
		offset = next
		if e = r.acquire(i, offset); e == nil {
			return dst
		}
	}
}

// cut returns the batches of b from the one that holds offset on that end at or
// before limit, up to maxBytes but at least one, and the offset after them. b must
// consist of whole, valid batches.
func cut(b []byte, offset, limit int64, maxBytes int) (run []byte, next int64) {
	begin, end := 0, 0
	for end < len(b) {
		h, _ := record.ParseHeader(b[end:])
		size := h.Size()
		if h.NextOffset() > limit || end > begin && end+size-begin > maxBytes {
			break
		}
		end += size
		next = h.NextOffset()
		if next <= offset {
			begin = end
		}
	}
	return b[begin:end:end], next
}

// readFile reads from the segment that holds offset.
func (l *Log) readFile(offset, limit int64, maxBytes int, buf []byte) ([]byte, error) {
	segments := l.list()
	i := segmentOf(segments, offset)
	if i < 0 && offset < l.start.Load() {
		return nil, errGone // deleted meanwhile
	}
	if i < 0 {
		return nil, l.lost(offset)
	}
	s := segments[i]
	h, err := s.open()
	if err != nil {
		return nil, l.unreadable(s, offset, err)
	}
	defer h.release()
	size := s.size.Load()
	pos, hinted := s.hint(offset)
	base := offset
	if !hinted {
		if pos, base, err = l.locate(s, h, offset, size); err != nil {
			return nil, err
		}
	}
	if pos >= size {
		return nil, l.corrupt(s, offset, pos, fmt.Sprintf("the batch of offset %d", offset), "the end of the file")
	}
	r := reader{log: l, segment: s, file: h, pos: pos, size: size, base: base, offset: offset, limit: limit, maxBytes: maxBytes, epochs: l.Epochs()}
	b, err := r.readFirst(buf)
	var damage *fault.Corruption
	if err != nil && !hinted && base < offset && errors.As(err, &damage) {
		// locate trusted a header that claims to hold the offset, and is damaged. Search
		// again from the segment's beginning with checksums.
		if at, first, passed := l.walkDamaged(s, h, 0, offset, size); passed == nil && at < size {
			r.pos, r.base = at, first
			return r.readFirst(buf)
		}
	}
	return b, err
}

// readFirst reads from r's position to a boundary between batches.
func (r *reader) readFirst(buf []byte) ([]byte, error) {
	return r.read(r.segment.boundary(r.offset, r.pos, int64(max(r.maxBytes, record.HeaderLen)), r.size)-r.pos, buf)
}

// reader is one read from a segment's file.
type reader struct {
	log       *Log
	segment   *segment
	file      *handle
	pos, size int64 // where the first batch begins; the segment's size
	base      int64 // the first batch's offset
	offset    int64 // the requested one, which the first batch holds
	limit     int64
	maxBytes  int
	epochs    []EpochEntry
}

// read reads n bytes at pos, or more if the first batch is longer, into buf or a
// new buffer, and returns the batches in it that pass verify.
func (r *reader) read(n int64, buf []byte) ([]byte, error) {
	b, err := r.pread(n, buf)
	if err != nil {
		return nil, err
	}
	h, err := record.ParseHeader(b)
	if err != nil {
		return nil, r.damaged(err)
	}
	first := int64(h.Size())
	if first > r.size-r.pos {
		return nil, r.damaged(fmt.Errorf("a batch of %d bytes of which %d are there", first, r.size-r.pos))
	}
	if first > n {
		if first > int64(cap(buf)) {
			if err := r.plausible(); err != nil {
				return nil, err
			}
		}
		if b, err = r.pread(first, buf); err != nil {
			return nil, err
		}
	}
	return r.verify(b)
}

// plausible verifies a batch that is longer than the buffer before read allocates
// its length: a damaged length must not become an allocation.
func (r *reader) plausible() error {
	sc := newScanner(r.file, r.pos, r.size, r.base, true)
	switch {
	case sc.next():
		return nil
	case sc.err != nil:
		return r.log.unreadable(r.segment, r.offset, sc.err)
	}
	return r.damaged(errors.New(sc.bad))
}

// pread returns n bytes at pos. The segment has them, so a file that ends before is
// damaged.
func (r *reader) pread(n int64, buf []byte) ([]byte, error) {
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	got, err := r.file.ReadAt(buf, r.pos)
	switch {
	case got == len(buf):
		return buf, nil
	case errors.Is(err, io.EOF):
		return nil, r.damaged(fmt.Errorf("the end of the file, %d bytes early", n-int64(got)))
	}
	return nil, r.log.unreadable(r.segment, r.offset, err)
}

// verify returns the batches at the beginning of b that are whole, sound, in their
// place, and within limit and maxBytes, and leaves a hint where the next one
// begins. It ignores damage behind sound batches: the next read begins with it and
// returns the error.
func (r *reader) verify(b []byte) ([]byte, error) {
	end, next := 0, r.base
	for len(b)-end >= record.HeaderLen {
		h, err := record.ParseHeader(b[end:])
		if err == nil {
			err = r.misplaced(&h, next)
		}
		if err == nil {
			size := h.Size()
			if end > 0 && (size > len(b)-end || end+size > r.maxBytes) {
				break
			}
			// The checksum first: it covers the last offset, which is compared next.
			err = record.Batch{BatchHeader: h, Bytes: b[end : end+size]}.VerifyCRC()
			// A batch without records may end beyond limit: compaction merged it up to a
			// later high watermark than this reader's, who must get past it.
			if err == nil && h.NextOffset() > r.limit && h.Count > 0 {
				break
			}
			if err == nil && end == 0 && h.NextOffset() <= r.offset { // a damaged header misled locate
				err = fmt.Errorf("one of the offsets %d to %d, without %d", h.BaseOffset, h.LastOffset(), r.offset)
			}
		}
		if err != nil && end == 0 {
			return nil, r.damaged(err)
		}
		if err != nil {
			break
		}
		end += h.Size()
		next = h.NextOffset()
	}
	r.segment.setHint(next, r.pos+int64(end))
	return b[:end:end], nil
}

// misplaced checks the header's fields that the checksum doesn't cover: the batch
// must begin where the one before it ended, and its leader epoch must be the one of
// its offset.
func (r *reader) misplaced(h *record.BatchHeader, base int64) error {
	if h.BaseOffset != base {
		return fmt.Errorf("one of the offsets %d to %d%s", h.BaseOffset, h.LastOffset(), gapHint(h.BaseOffset, base))
	}
	// The log, and with it the epochs, may start within the first batch.
	if epoch := epochAt(r.epochs, max(base, r.offset)); epoch != h.LeaderEpoch && epoch != record.NoLeaderEpoch {
		return fmt.Errorf("one of leader epoch %d instead of %d, which %s has (if that file is removed, it is rebuilt from the batches)", h.LeaderEpoch, epoch, epochName)
	}
	return nil
}

// gapHint suggests the likely cause if a batch of a later offset is found than the
// expected one.
func gapHint(found, expected int64) string {
	if found < expected {
		return ""
	}
	return "; if Kafka's compaction has removed the records between, runnel repair fills the gap"
}

// damaged is the error for the first batch of a read. It has the offset behind the
// damage, if there is evidence for one, so that a consumer can skip it.
func (r *reader) damaged(found error) error {
	x := r.log.examiner(r.segment, r.file, r.size)
	x.epochOf = func(first, _ int64) int32 { return epochAt(r.epochs, max(first, r.offset)) }
	d, err := x.diagnose(r.pos, r.base)
	if err != nil {
		d = diagnosis{next: -1}
	}
	return r.log.damagedUntil(r.segment, r.base, r.pos, d.next, found.Error())
}

// damagedUntil is the error for damage at the batch of offset, behind which the log
// continues with next.
func (l *Log) damagedUntil(s *segment, offset, pos, next int64, found string) error {
	err := l.corrupt(s, offset, pos, fmt.Sprintf("the batch of offset %d", offset), found)
	if damage, ok := err.(*fault.Corruption); ok && next > offset && next < l.end.Load() {
		damage.Next = next
	}
	return err
}

// examiner returns an examiner of a segment's first size bytes.
func (l *Log) examiner(s *segment, h *handle, size int64) *examiner {
	next, limit := int64(-1), l.end.Load() // for the active segment, which grows
	segments := l.list()
	if i := segmentOf(segments, s.base); i >= 0 && i+1 < len(segments) && segments[i].base == s.base && segments[i].size.Load() == size {
		next, limit = segments[i+1].base, segments[i+1].base
	}
	return &examiner{
		file: h, end: size, base: s.base, limit: limit, next: next,
		since:   record.NoLeaderEpoch,
		epochOf: func(int64, int64) int32 { return record.NoLeaderEpoch },
	}
}

// unreadable is the error for a file that can't be opened or read. It returns
// errGone as it is.
func (l *Log) unreadable(s *segment, offset int64, err error) error {
	if errors.Is(err, errGone) {
		return err
	}
	return l.errorAt(fault.Storage, offset).Detailf("reading %s", s.logPath()).Because(err)
}

// locate returns where the batch that holds offset begins in the segment, and its
// base offset; or size if the segment ends before it. Index files have no checksum,
// so their entry is compared with the log. An index that the log contradicts is
// rebuilt, once; without one, locate scans the segment from its beginning.
func (l *Log) locate(s *segment, h *handle, offset, size int64) (pos, base int64, err error) {
	for range 2 {
		e, ok, err := s.floor(offset)
		if err == nil && !ok {
			break
		}
		if err == nil {
			pos, base, confirmed, err := l.walk(s, h, e, offset, size)
			if confirmed {
				return pos, base, err
			}
		}
		if !s.rebuild(h, size, int64(l.cfg.IndexInterval)) {
			break
		}
	}
	pos, base, _, err = l.walk(s, h, 0, offset, size)
	return pos, base, err
}

// walk reads headers from an index entry's position on, or from 0, up to the batch
// that holds offset, or to size. confirmed means that the log agrees with the entry.
func (l *Log) walk(s *segment, h *handle, e offsetEntry, offset, size int64) (pos, base int64, confirmed bool, err error) {
	sc := newScanner(h, e.pos(), size, s.base, false)
	if e != 0 {
		sc.offset = -1
	}
	for sc.next() {
		if !confirmed && e != 0 && sc.header.LastOffset() != s.base+e.rel() {
			return 0, 0, false, nil
		}
		confirmed = true
		if sc.header.LastOffset() >= offset {
			return sc.pos, sc.header.BaseOffset, true, nil
		}
	}
	switch {
	case sc.err != nil:
		return 0, 0, true, l.unreadable(s, offset, sc.err)
	case sc.bad != "":
		pos, base, err := l.walkDamaged(s, h, e, offset, size)
		return pos, base, confirmed, err
	}
	return size, sc.offset, confirmed, nil
}

// walkDamaged is walk for a segment in which walk has found damage. It verifies
// checksums, because a damaged length makes other bytes look like headers, and skips
// damaged batches. It returns where the batch that holds offset begins, and its base
// offset, or size; or an error if the damage covers the offset.
func (l *Log) walkDamaged(s *segment, h *handle, e offsetEntry, offset, size int64) (pos, base int64, err error) {
	x := l.examiner(s, h, size)
	pos, base = e.pos(), s.base
	if e != 0 {
		base = -1
	}
	for {
		sc := x.scanner(pos, size)
		sc.offset = base
		for sc.next() {
			if sc.header.LastOffset() >= offset {
				return sc.pos, sc.header.BaseOffset, nil
			}
		}
		switch {
		case sc.err != nil:
			return 0, 0, l.unreadable(s, offset, sc.err)
		case sc.bad == "":
			return size, sc.offset, nil
		case sc.offset < 0: // the first batch is damaged, and its offset unknown: start over
			pos, base = 0, s.base
			continue
		}
		d, err := x.diagnose(sc.pos, sc.offset)
		if err != nil {
			return 0, 0, l.unreadable(s, offset, err)
		}
		if d.next < 0 || offset < d.next {
			return 0, 0, l.damagedUntil(s, sc.offset, sc.pos, d.next, sc.bad)
		}
		pos, base = d.end, d.next
	}
}
