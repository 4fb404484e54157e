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

// scanBytes is how much of a file is read at once when it is read through.
const scanBytes = 1 << 20

// crcFrom is where in a batch the bytes begin that its checksum covers.
const crcFrom = 21

// scanner reads a segment file through, batch by batch, in memory that does not
// depend on what the file says. Use it by one goroutine.
type scanner struct {
	file   io.ReaderAt
	end    int64 // of what is to be read
	pos    int64 // of the batch that next found, or where it found none
	offset int64 // at which the next batch must begin; negative if any will do
	verify bool  // compare checksums; otherwise only headers are looked at

	header record.BatchHeader // of the batch that next found

	buf   []byte
	begin int64 // where buf begins in the file
	bad   string
	err   error
}

func newScanner(f io.ReaderAt, from, end, offset int64, verify bool) *scanner {
	return &scanner{file: f, pos: from, end: end, offset: offset, verify: verify, begin: from}
}

// next moves to the next batch and reports whether there is one. At the end of
// the range, at bytes that are no whole batch or not the one that follows, and
// at an error it returns false: pos and offset are where the batch would have
// begun; bad says what stands there instead, unless it is the end.
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
		return s.fail("%d bytes, fewer than a batch's header has", left)
	}
	b := s.window(s.pos, record.HeaderLen)
	if b == nil {
		return false
	}
	h, err := record.ParseHeader(b)
	switch {
	case err != nil:
		return s.fail("no batch header: %v", err)
	case int64(h.Size()) > left:
		return s.fail("a batch of %d bytes of which %d are there", h.Size(), left)
	case s.offset >= 0 && h.BaseOffset != s.offset:
		return s.fail("a batch of offset %d instead of %d%s", h.BaseOffset, s.offset, gapHint(h.BaseOffset, s.offset))
	}
	if s.verify {
		sum, ok := s.checksum(s.pos, &h)
		if !ok {
			return false
		}
		if sum != h.CRC {
			return s.fail("a batch of offset %d whose checksum should be %08x and is %08x", h.BaseOffset, h.CRC, sum)
		}
	}
	s.header = h
	return true
}

func (s *scanner) fail(format string, args ...any) bool {
	s.bad = fmt.Sprintf(format, args...)
	return false
}

// checksum returns the checksum of the batch at pos, which lies before end. It
// goes through the batch piece by piece: its length may be wrong, and must not
// become an allocation.
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

// batch returns the batch that next found, whose checksum it compared. It is valid
// until the next call of next. buf is for one that lies in no window, and grows.
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

// window returns at least n bytes from pos on, all of them before end, or nil.
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
		s.fail("the end of the file, %d bytes early", s.end-pos-int64(got))
	} else {
		s.err = err
	}
	return nil
}

// readAhead is how much is read at once: all that comes where checksums are
// compared, a page where only headers are looked at.
func (s *scanner) readAhead() int64 {
	if s.verify {
		return scanBytes
	}
	return 4096
}

// findBatch looks for a sound batch of an offset from which on, at any byte from
// pos to end. It returns nil when there is none.
func findBatch(f io.ReaderAt, pos, end, from int64) (int64, *record.BatchHeader, error) {
	sc := newScanner(f, pos, end, -1, true)
	for ; pos+record.HeaderLen <= end; pos++ {
		b := sc.window(pos, record.HeaderLen)
		if b == nil {
			return 0, nil, sc.err
		}
		if b[16] != 2 {
			continue // not where a header has its magic, and nothing for ParseHeader to explain
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

// oldMessage reports whether a whole message stands at a position as Kafka wrote
// them before record batches, and of which format.
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

// noOldMessage returns an error if a message of an older format stands where the
// batch of an offset should.
func (l *Log) noOldMessage(s *segment, f io.ReaderAt, pos, offset int64) error {
	format, ok, err := oldMessage(f, pos, s.size.Load())
	if !ok || err != nil {
		return err
	}
	return l.at(fault.UnsupportedFormat, offset).
		Detailf("%s has a message of format %d at byte %d; only record batches of format 2 are read", s.logPath(), format, pos)
}
