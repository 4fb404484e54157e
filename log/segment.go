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

// errGone says inside this package that a segment was deleted or closed while
// somebody wanted to read it.
var errGone = errors.New("the segment is gone")

// segment is a file of the log with its indexes: the active one, which is
// appended to and has its indexes in memory, or a sealed one, which never
// changes again and has them in files.
type segment struct {
	fs       vfs.FS
	base     int64  // the offset of its first record, and its name
	path     string // of its files, without suffix
	writable bool   // its file is opened for writing: it is or was the active one

	// size is how many bytes of the file are whole batches that readers may
	// read. It only grows.
	size atomic.Int64

	live atomic.Pointer[liveIndex] // nil once it is sealed
	page atomic.Pointer[indexPage] // of a sealed one: the part of its index that was needed last

	// hints say where batches begin, as entries of first offset and position:
	// a reader that goes on where it stopped finds its place here.
	hints [8]atomic.Uint64

	maxTimestamp atomic.Int64 // of a sealed one, once somebody asked; unknownTimestamp before
	rebuilt      atomic.Bool  // its index files were built anew, or that was tried

	files  *openFiles
	handle atomic.Pointer[handle] // nil while nobody reads or writes
	gone   atomic.Bool            // it was deleted or closed
}

// openFiles bounds how many files of sealed segments stay open beyond the read
// that opened them: those that were opened last.
type openFiles struct {
	next   atomic.Uint64
	recent [8]atomic.Pointer[segment]
}

// add notes that a segment's file is open, and lets go of another one's.
func (o *openFiles) add(s *segment) {
	i := o.next.Add(1) % uint64(len(o.recent))
	if old := o.recent[i].Swap(s); old != nil && old != s {
		old.park()
	}
}

// unknownTimestamp stands in segment.maxTimestamp until it was looked up.
const unknownTimestamp = math.MinInt64

// newSegment returns a sealed segment of the log, of whose file so many bytes
// count; there need be no file yet.
func (l *Log) newSegment(base, size int64) *segment {
	s := &segment{fs: l.cfg.FS, files: &l.files, base: base, path: filepath.Join(l.cfg.Dir, fmt.Sprintf("%020d", base))}
	s.size.Store(size)
	s.maxTimestamp.Store(unknownTimestamp)
	return s
}

func (s *segment) logPath() string       { return s.path + logSuffix }
func (s *segment) indexPath() string     { return s.path + indexSuffix }
func (s *segment) timeIndexPath() string { return s.path + timeIndexSuffix }

// paths returns where the segment's files lie, the log first: indexes without
// their log say nothing.
func (s *segment) paths() []string {
	return []string{s.logPath(), s.indexPath(), s.timeIndexPath()}
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

// handle is an open file that is closed when its last user lets go.
type handle struct {
	vfs.File
	refs atomic.Int64 // the segment's own, and one for each user; 0 is for ever
}

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

// release lets go. What was written has been synced or is not promised, so that
// an error in closing says nothing.
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
		h.refs.Store(2)
		if !s.handle.CompareAndSwap(nil, h) {
			_ = f.Close()
			continue
		}
		if s.gone.Load() && s.handle.CompareAndSwap(h, nil) {
			h.release()
		}
		s.files.add(s)
		return h, nil
	}
}

// park closes the file of a sealed segment when those at work have finished.
func (s *segment) park() {
	if s.live.Load() != nil {
		return
	}
	if h := s.handle.Swap(nil); h != nil {
		h.release()
	}
}

// retire closes the segment for new readers. Those at work finish.
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

// hint returns where the batch that begins with an offset lies, if a reader
// stopped there.
func (s *segment) hint(offset int64) (pos int64, ok bool) {
	rel := offset - s.base
	if rel == 0 {
		return 0, true
	}
	e := offsetEntry(s.hints[uint64(rel)%uint64(len(s.hints))].Load())
	return e.pos(), e.rel() == rel
}

func (s *segment) setHint(offset, pos int64) {
	rel := offset - s.base
	if rel > 0 && rel <= math.MaxUint32 {
		s.hints[uint64(rel)%uint64(len(s.hints))].Store(uint64(newOffsetEntry(rel, pos)))
	}
}

// entries returns the part of the offset index in which the floor of an offset
// stands: all of the active segment's, a page of a sealed one's. whole says that
// no entry follows.
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

// floor returns the index's last entry whose offset is at most offset. ok is
// false when there is none: the first batch is where to begin then.
func (s *segment) floor(offset int64) (e offsetEntry, ok bool, err error) {
	entries, _, err := s.entries(offset)
	if err != nil {
		return 0, false, err
	}
	e, ok = floorOffset(entries, offset-s.base)
	return e, ok, nil
}

// longestJump is how far boundary believes an index: further, and a wrong one
// would cost too much memory.
const longestJump = 16 << 20

// boundary returns where to end a read that begins with the batch of offset at
// from and is to take n bytes, so that it reads no batch in part: the last
// beginning of a batch in range, or the end of a batch that is longer than n. The
// index says it as far as it can; size is where the segment ends.
func (s *segment) boundary(offset, from, n, size int64) int64 {
	to := from + n
	if to >= size {
		return size
	}
	entries, whole, err := s.entries(offset)
	if err != nil {
		return to // whoever looks for an offset builds the index anew
	}
	i := sort.Search(len(entries), func(i int) bool { return entries[i].pos() > to })
	if i > 0 && entries[i-1].pos() >= from+record.HeaderLen { // nearer, and it would be no batch's
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

// rebuild makes a sealed segment's index files anew from its log, and reports
// whether they are. It does so once for a segment: readers go without meanwhile,
// and where the log itself is damaged.
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
