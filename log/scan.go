package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// scanBytes is how much of a file is read at once when it is read through.
const scanBytes = 1 << 20

// scanner reads a segment file through, batch by batch. Use it by one goroutine.
type scanner struct {
	file   vfs.File
	end    int64 // of what is to be read
	pos    int64 // of the batch that next found, or where it found none
	offset int64 // at which the next batch must begin; negative if any will do
	verify bool  // compare checksums; otherwise only headers are looked at

	batch record.Batch // what next found; its bytes are valid until the next call, and nil unless verify

	buf   []byte
	begin int64 // where buf begins in the file
	bad   string
	err   error
}

func newScanner(f vfs.File, from, end, offset int64, verify bool) *scanner {
	return &scanner{file: f, pos: from, end: end, offset: offset, verify: verify, begin: from}
}

// next moves to the next batch and reports whether there is one. At the end of
// the range, at bytes that are no whole batch or not the one that follows, and
// at an error it returns false: pos and offset are where the batch would have
// begun; bad says what stands there instead, unless it is the end.
func (s *scanner) next() bool {
	if s.batch.Length > 0 {
		s.pos += int64(s.batch.Size())
		s.offset = s.batch.NextOffset()
	}
	s.batch = record.Batch{}
	left := s.end - s.pos
	if left <= 0 || s.err != nil {
		return false
	}
	if left < record.HeaderLen {
		return s.fail("%d bytes, fewer than a batch's header has", left)
	}
	b, ok := s.window(record.HeaderLen)
	if !ok {
		return false
	}
	h, err := record.ParseHeader(b)
	if err != nil {
		return s.fail("no batch header: %v", err)
	}
	if int64(h.Size()) > left {
		return s.fail("a batch of %d bytes of which %d are there", h.Size(), left)
	}
	if s.offset >= 0 && h.BaseOffset != s.offset {
		return s.fail("a batch of offset %d instead of %d", h.BaseOffset, s.offset)
	}
	if !s.verify {
		s.batch.BatchHeader = h
		return true
	}
	if b, ok = s.window(h.Size()); !ok {
		return false
	}
	batch := record.Batch{BatchHeader: h, Bytes: b[:h.Size():h.Size()]}
	if err := batch.VerifyCRC(); err != nil {
		return s.fail("%v", err)
	}
	s.batch = batch
	return true
}

func (s *scanner) fail(format string, args ...any) bool {
	s.bad = fmt.Sprintf(format, args...)
	return false
}

// window returns at least n bytes from pos on, all of them before end.
func (s *scanner) window(n int) ([]byte, bool) {
	at := s.pos - s.begin
	if at >= 0 && at+int64(n) <= int64(len(s.buf)) {
		return s.buf[at:], true
	}
	size := int(min(int64(max(n, s.readAhead())), s.end-s.pos))
	if cap(s.buf) < size {
		s.buf = make([]byte, size)
	}
	s.buf = s.buf[:size]
	s.begin = s.pos
	got, err := s.file.ReadAt(s.buf, s.pos)
	s.buf = s.buf[:got]
	if got >= n {
		return s.buf, true
	}
	if errors.Is(err, io.EOF) {
		return nil, s.fail("the end of the file, %d bytes early", s.end-s.pos-int64(got))
	}
	s.err = err
	return nil, false
}

// readAhead is how much is read at once: all that comes where batches are read
// whole, a page where only headers are.
func (s *scanner) readAhead() int {
	if s.verify {
		return scanBytes
	}
	return 4096
}

// findBatch looks for a sound batch of an offset from which on, at any byte from
// pos to end. It returns nil when there is none.
func findBatch(f vfs.File, pos, end, from int64) (int64, *record.BatchHeader, error) {
	sc := newScanner(f, pos, end, -1, true)
	for ; sc.pos+record.HeaderLen <= end; sc.pos++ {
		b, ok := sc.window(record.HeaderLen)
		if !ok {
			return 0, nil, sc.err
		}
		if b[16] != 2 {
			continue // not where a header has its magic, and nothing for ParseHeader to explain
		}
		h, err := record.ParseHeader(b)
		if err != nil || h.BaseOffset < from || int64(h.Size()) > end-sc.pos {
			continue
		}
		if b, ok = sc.window(h.Size()); !ok {
			return 0, nil, sc.err
		}
		if (record.Batch{BatchHeader: h, Bytes: b[:h.Size()]}).VerifyCRC() == nil {
			return sc.pos, &h, nil
		}
	}
	return 0, nil, nil
}
