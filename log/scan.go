package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// scanBytes is how much of a file a sequential scan reads at once.
const scanBytes = 1 << 20

// crcFrom is where in a batch the bytes begin that its checksum covers.
const crcFrom = 21

// scanner reads a segment file batch by batch. Its memory does not depend on
// lengths that the file claims, which may be damaged. One goroutine uses it.
type scanner struct {
	file   io.ReaderAt
	end    int64 // of the range to scan
	pos    int64 // of the batch that next found, or where it found none
	offset int64 // at which the next batch must begin; negative for any
	verify bool  // compare checksums; otherwise read only headers

	header record.BatchHeader // of the batch that next found

	buf   []byte
	begin int64  // where buf begins in the file
	bad   string // what next found instead of a batch, or ""
	err   error  // of reading the file
}

func newScanner(f io.ReaderAt, from, end, offset int64, verify bool) *scanner {
	return &scanner{file: f, pos: from, end: end, offset: offset, verify: verify, begin: from}
}

// next moves to the next batch and reports whether there is one. It returns false
// at the end of the range, at bytes that are not the whole batch that must follow,
// and at an error. pos and offset are then where that batch would begin, and bad
// describes what is there, unless it is the end.
func (s *scanner) next() bool {
	if s.header.Length > 0 {
		s.pos += int64(s.header.Size())
		s.offset = s.header.NextOffset()
		s.header = record.BatchHeader{}
	}
	left := s.end - s.pos
	if left <= 0 || s.bad != "" || s.err != nil {
		return false
	}
	if left < record.HeaderLen {
		return s.flaw("%d bytes, fewer than a batch's header has", left)
	}
	b := s.window(s.pos, record.HeaderLen)
	if b == nil {
		return false
	}
	h, err := record.ParseHeader(b)
	switch {
	case err != nil:
		return s.flaw("no batch header: %v", err)
	case int64(h.Size()) > left:
		return s.flaw("a batch of %d bytes of which %d are there", h.Size(), left)
	case s.offset >= 0 && h.BaseOffset != s.offset:
		return s.flaw("a batch of offset %d instead of %d%s", h.BaseOffset, s.offset, gapHint(h.BaseOffset, s.offset))
	}
	if s.verify {
		sum, ok := s.checksum(s.pos, &h)
		if !ok {
			return false
		}
		if sum != h.CRC {
			return s.flaw("a batch of offset %d whose checksum should be %08x and is %08x", h.BaseOffset, h.CRC, sum)
		}
	}
	s.header = h
	return true
}

// flaw sets bad and returns false.
func (s *scanner) flaw(format string, args ...any) bool {
	s.bad = fmt.Sprintf(format, args...)
	return false
}

// checksum returns the checksum of the batch at pos, which ends before end. It reads
// the batch piece by piece: a damaged length must not become an allocation.
func (s *scanner) checksum(pos int64, h *record.BatchHeader) (sum uint32, ok bool) {
	end := pos + int64(h.Size())
	for pos += crcFrom; pos < end; {
		b := s.window(pos, 1)
		if b == nil {
			return 0, false
		}
		b = b[:min(int64(len(b)), end-pos)]
		sum = crc32.Update(sum, castagnoli, b)
		pos += int64(len(b))
	}
	return sum, true
}

// batch returns the batch that next found and verified. It is valid until the next
// call of next. A batch that is larger than the window is read into buf, which
// grows.
func (s *scanner) batch(buf *[]byte) (record.Batch, error) {
	n := s.header.Size()
	if at := s.pos - s.begin; at >= 0 && at+int64(n) <= int64(len(s.buf)) {
		return record.Batch{BatchHeader: s.header, Bytes: s.buf[at : at+int64(n)]}, nil
	}
	*buf = slices.Grow((*buf)[:0], n)[:n]
	if got, err := s.file.ReadAt(*buf, s.pos); got < n {
		return record.Batch{}, err
	}
	b := record.Batch{BatchHeader: s.header, Bytes: *buf}
	return b, b.VerifyCRC()
}

// control returns the bytes of the batch that next found if it may be a marker, else
// nil. They are valid until the next call of next.
func (s *scanner) control() []byte {
	if !mayMark(&s.header) {
		return nil
	}
	n := s.header.Size()
	b := s.window(s.pos, n)
	if b == nil {
		return nil
	}
	return b[:n]
}

// window returns at least n bytes from pos on, all of them before end. It returns
// nil, with bad or err set, if it can't.
func (s *scanner) window(pos int64, n int) []byte {
	at := pos - s.begin
	if at >= 0 && at+int64(n) <= int64(len(s.buf)) {
		return s.buf[at:]
	}
	size := int(min(s.readAhead(), s.end-pos))
	if cap(s.buf) < size {
		s.buf = make([]byte, size)
	}
	s.buf = s.buf[:size]
	s.begin = pos
	got, err := s.file.ReadAt(s.buf, pos)
	s.buf = s.buf[:got]
	if got >= n {
		return s.buf
	}
	if errors.Is(err, io.EOF) {
		s.flaw("the end of the file, %d bytes early", s.end-pos-int64(got))
	} else {
		s.err = err
	}
	return nil
}

// readAhead is how much to read at once: a large chunk if every byte is needed for
// checksums, a page if only headers are.
func (s *scanner) readAhead() int64 {
	if s.verify {
		return scanBytes
	}
	return 4096
}

// findBatch returns the first sound batch whose offset is from or later, at any
// byte from pos to end, or nil.
func findBatch(f io.ReaderAt, pos, end, from int64) (int64, *record.BatchHeader, error) {
	sc := newScanner(f, pos, end, -1, true)
	for ; pos+record.HeaderLen <= end; pos++ {
		b := sc.window(pos, record.HeaderLen)
		if b == nil {
			return 0, nil, sc.err
		}
		if b[16] != 2 {
			continue // no magic 2: skip ParseHeader, whose error would cost an allocation per byte
		}
		h, err := record.ParseHeader(b)
		if err != nil || h.BaseOffset < from || int64(h.Size()) > end-pos {
			continue
		}
		if sum, ok := sc.checksum(pos, &h); !ok || sum == h.CRC {
			return pos, &h, sc.err
		}
	}
	return 0, nil, nil
}

// oldMessage reports whether there is a whole message at a position of one of the
// formats that Kafka wrote before record batches, and which.
func oldMessage(f io.ReaderAt, pos, end int64) (format byte, ok bool, err error) {
	const lengthEnd, atSum, atFormat, shortest = 12, 12, 16, 14
	if end-pos < lengthEnd+shortest {
		return 0, false, nil
	}
	b := make([]byte, atFormat+1)
	if n, err := f.ReadAt(b, pos); n < len(b) {
		return 0, false, err
	}
	size := int64(int32(binary.BigEndian.Uint32(b[8:])))
	if format = b[atFormat]; format > 1 || size < shortest || size > end-pos-lengthEnd {
		return 0, false, nil
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.NewSectionReader(f, pos+atFormat, lengthEnd+size-atFormat)); err != nil {
		return 0, false, err
	}
	return format, sum.Sum32() == binary.BigEndian.Uint32(b[atSum:]), nil
}

// noOldMessage returns an error if there is a message of an older format where the
// batch of an offset should be. Open must not take it for a torn tail.
func (l *Log) noOldMessage(s *segment, f io.ReaderAt, pos, offset int64) error {
	format, ok, err := oldMessage(f, pos, s.size.Load())
	if !ok || err != nil {
		return err
	}
	return l.errorAt(fault.UnsupportedFormat, offset).
		Detailf("%s has a message of format %d at byte %d; only record batches of format 2 are read", s.logPath(), format, pos)
}
