package log

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Ends of the names of a segment's files, which begin with its base offset in
// twenty digits.
const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
)

// errGone says inside this package that a segment was deleted or closed before a
// read of it could begin. Readers load the list of segments again.
var errGone = errors.New("the segment is gone")

// segment is a file of the log with its indexes. The active segment is appended to
// and has its indexes in memory; a sealed one never changes again and has them in
// files.
type segment struct {
	fs       vfs.FS
	base     int64  // the offset of its first record, and its name
	path     string // of its files, without suffix
	writable bool   // its file is opened for writing: it is or was the active one

	// size is how many bytes of the file are whole batches that readers may read.
	// The file may be longer: zeros, or an append in progress. It only grows.
	size atomic.Int64

	live atomic.Pointer[liveIndex] // the active segment's indexes; nil once it is sealed
	page atomic.Pointer[indexPage] // a sealed segment's: the page of its index that was read last

	// hints remember where batches begin, as entries of first offset and position. A
	// reader that continues where it stopped finds its position here instead of in
	// the index.
	hints [8]atomic.Uint64

	aborted     abortedIndex                 // a sealed segment's
	abortedRead atomic.Pointer[[]AbortedTxn] // its entries, if they were read and are few

	maxTimestamp atomic.Int64 // of a sealed segment; unknownTimestamp until the first lookup
	rebuilt      atomic.Bool  // rebuild has run: it is tried once

	files  *openFiles
	handle atomic.Pointer[handle] // the open file, or nil
	gone   atomic.Bool            // deleted or closed: open returns errGone
}

// openFiles bounds how many files of sealed segments stay open between reads: the
// last few that were opened. A log of thousands of segments must not use up the
// process's file descriptors.
type openFiles struct {
	next   atomic.Uint64
	recent [8]atomic.Pointer[segment]
}

// opened adds a segment whose file was opened, and parks the one that it replaces.
func (o *openFiles) opened(s *segment) {
	i := o.next.Add(1) % uint64(len(o.recent))
	if old := o.recent[i].Swap(s); old != nil && old != s {
		old.park()
	}
}

// unknownTimestamp is segment.maxTimestamp before the first lookup.
const unknownTimestamp = math.MinInt64

// newSegment returns a sealed segment of the log with size bytes of batches. The
// file need not exist yet.
func (l *Log) newSegment(base, size int64) *segment {
	s := &segment{fs: l.cfg.FS, files: &l.files, base: base, path: filepath.Join(l.cfg.Dir, fmt.Sprintf("%020d", base))}
	s.size.Store(size)
	s.maxTimestamp.Store(unknownTimestamp)
	return s
}

func (s *segment) logPath() string       { return s.path + logSuffix }
func (s *segment) indexPath() string     { return s.path + indexSuffix }
func (s *segment) timeIndexPath() string { return s.path + timeIndexSuffix }
func (s *segment) abortedPath() string   { return s.path + txnIndexSuffix }
func (s *segment) abortedName() string   { return filepath.Base(s.abortedPath()) }

// paths returns the segment's files, the log first. They are removed in this order:
// a crash then leaves indexes without a log, which mean nothing.
func (s *segment) paths() []string {
	return []string{s.logPath(), s.indexPath(), s.timeIndexPath(), s.abortedPath()}
}

// parseName returns the base offset in a file's name that ends with suffix.
func parseName(name, suffix string) (base int64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil
}

// handle is an open file that is closed with its last reference.
type handle struct {
	vfs.File
	refs atomic.Int64 // the segment's own, and one for each user; 0 is final
}

// acquire adds a reference, and returns false if the file is closed already.
func (h *handle) acquire() bool {
	for {
		n := h.refs.Load()
		if n == 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release drops a reference. It ignores an error of closing: what was promised has
// been synced before.
func (h *handle) release() {
	if h.refs.Add(-1) == 0 {
		_ = h.Close()
	}
}

// open returns the segment's file, which the caller releases, or errGone.
func (s *segment) open() (*handle, error) {
	for {
		if h := s.handle.Load(); h != nil && h.acquire() {
			return h, nil
		}
		if s.gone.Load() {
			return nil, errGone
		}
		flag := os.O_RDONLY
		if s.writable {
			flag = os.O_RDWR
		}
		f, err := s.fs.OpenFile(s.logPath(), flag)
		if s.gone.Load() {
			if err == nil {
				_ = f.Close()
			}
			return nil, errGone
		}
		if err != nil {
			return nil, err
		}
		h := &handle{File: f}
		h.refs.Store(2) // the segment's and the caller's
		if !s.handle.CompareAndSwap(nil, h) {
			_ = f.Close() // another reader was first: use its handle
			continue
		}
		// retire may have run between the check above and the swap, and found no
		// handle. Its reference must not stay.
		if s.gone.Load() && s.handle.CompareAndSwap(h, nil) {
			h.release()
		}
		s.files.opened(s)
		return h, nil
	}
}

// park closes the file of a sealed segment once running reads have finished. The
// next read opens it again.
func (s *segment) park() {
	if s.live.Load() != nil {
		return
	}
	if h := s.handle.Swap(nil); h != nil {
		h.release()
	}
}

// retire closes the segment to new reads. Running reads finish.
func (s *segment) retire() {
	s.gone.Store(true)
	if h := s.handle.Swap(nil); h != nil {
		h.release()
	}
}

// remove deletes the segment's files.
func (s *segment) remove() error {
	s.retire()
	for _, path := range s.paths() {
		if err := s.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// hint returns the position of the batch that begins with an offset, if a reader
// stopped there.
func (s *segment) hint(offset int64) (pos int64, ok bool) {
	rel := offset - s.base
	if rel == 0 {
		return 0, true
	}
	e := offsetEntry(s.hints[uint64(rel)%uint64(len(s.hints))].Load())
	return e.pos(), e.rel() == rel
}

// setHint remembers where the batch of an offset begins, in place of another one.
func (s *segment) setHint(offset, pos int64) {
	rel := offset - s.base
	if rel > 0 && rel <= math.MaxUint32 {
		s.hints[uint64(rel)%uint64(len(s.hints))].Store(uint64(newOffsetEntry(rel, pos)))
	}
}

// entries returns the part of the offset index that has the floor of an offset: all
// of it for the active segment, a page for a sealed one. whole means that no entry
// follows.
func (s *segment) entries(offset int64) (entries []offsetEntry, whole bool, err error) {
	if x := s.live.Load(); x != nil {
		return x.offsets.view(), true, nil
	}
	rel := offset - s.base
	p := s.page.Load()
	if p == nil || !p.holds(rel) {
		if p, err = loadPage(s.fs, s.indexPath(), rel); err != nil {
			return nil, false, err
		}
		s.page.Store(p)
	}
	return p.entries, p.last, nil
}

// floor returns the index's last entry whose offset is at most offset. ok is false
// if there is none; the search then begins at the first batch.
func (s *segment) floor(offset int64) (e offsetEntry, ok bool, err error) {
	entries, _, err := s.entries(offset)
	if err != nil {
		return 0, false, err
	}
	e, ok = floorOffset(entries, offset-s.base)
	return e, ok, nil
}

// longestJump bounds how far boundary follows an index entry: a wrong one must not
// make a read allocate without limit.
const longestJump = 16 << 20

// boundary returns where to end a read of about n bytes that begins at from with
// the batch of offset, so that it doesn't end within a batch: at the last index
// entry in range or, if the first batch is longer than n, at the entry behind it.
// The index is sparse and may be wrong, so the result only saves work: the reader
// handles a partial batch at its end.
func (s *segment) boundary(offset, from, n, size int64) int64 {
	to := from + n
	if to >= size {
		return size
	}
	entries, whole, err := s.entries(offset)
	if err != nil {
		return to // locate rebuilds the index; here a rough end will do
	}
	i := sort.Search(len(entries), func(i int) bool { return entries[i].pos() > to })
	if i > 0 && entries[i-1].pos() >= from+record.HeaderLen { // no batch is shorter than a header
		return entries[i-1].pos()
	}
	next := size
	if i < len(entries) {
		next = entries[i].pos()
	} else if !whole {
		return to
	}
	if next <= size && next-from <= longestJump {
		return next
	}
	return to
}

// rebuild writes a sealed segment's index files from its log, and reports whether
// it did. It runs once per segment. Readers scan the log meanwhile, and also if
// the log itself is damaged, because an index can't be built across damage.
func (s *segment) rebuild(f vfs.File, size, interval int64) bool {
	if s.live.Load() != nil || s.gone.Load() || !s.rebuilt.CompareAndSwap(false, true) {
		return false
	}
	x := newLiveIndex()
	sc := newScanner(f, 0, size, s.base, false)
	for sc.next() {
		x.add(s.base, sc.pos, &sc.header, interval, math.MaxInt64)
	}
	if sc.pos != size {
		return false
	}
	x.addTime()
	if vfs.WriteFile(s.fs, s.indexPath(), encodeOffsets(x.offsets.view())) != nil ||
		vfs.WriteFile(s.fs, s.timeIndexPath(), encodeTimes(x.times.view())) != nil {
		return false
	}
	s.page.Store(nil)
	s.maxTimestamp.Store(unknownTimestamp)
	return true
}
