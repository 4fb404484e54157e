package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"sort"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Sizes of one entry in the index files.
const (
	offsetEntryLen = 8  // last offset of a batch less the segment's base, its position
	timeEntryLen   = 12 // timestamp, last offset of its batch less the segment's base
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// offsetEntry is an entry of the offset index: a batch's last offset, relative to
// the segment's base, in the upper half, and its position in the lower. It is one
// number, so that a hint can be stored atomically.
type offsetEntry uint64

func newOffsetEntry(rel, pos int64) offsetEntry { return offsetEntry(rel<<32 | pos) }

func (e offsetEntry) rel() int64 { return int64(e >> 32) }
func (e offsetEntry) pos() int64 { return int64(e & math.MaxUint32) }

// timeEntry is an entry of the time index: the batch that ends with an offset has
// the latest timestamp of all batches up to it.
type timeEntry struct {
	timestamp int64 // milliseconds
	rel       int64 // last offset of the batch less the segment's base
}

// grown is a slice to which one goroutine appends while any number of others read
// it, without a lock. The writer stores an element before it raises n, so a reader
// that loads n sees all elements below it.
type grown[T any] struct {
	n    atomic.Int64        // how many elements of room are set; 0 <= n <= len(*room)
	room atomic.Pointer[[]T] // replaced by a longer copy, never shrunk
}

func (g *grown[T]) append(v T) {
	n := int(g.n.Load())
	room := g.room.Load()
	if room == nil || n == len(*room) {
		longer := make([]T, max(8, 2*n))
		if room != nil {
			copy(longer, *room)
		}
		room = &longer
		g.room.Store(room)
	}
	(*room)[n] = v
	g.n.Store(int64(n + 1))
}

// view returns what has been appended. It must not be changed.
func (g *grown[T]) view() []T {
	n := g.n.Load() // before room: a room loaded later has at least n elements
	if n == 0 {
		return nil
	}
	return (*g.room.Load())[:n]
}

// liveIndex holds the indexes of the active segment. Their files are written at
// checkpoints, so that an append is a single write. The fields without atomics
// belong to the log's writer.
type liveIndex struct {
	offsets grown[offsetEntry]
	times   grown[timeEntry]
	aborted grown[AbortedTxn]

	maxTimestamp atomic.Int64 // the latest of the segment, -1 for none
	maxRel       int64        // last offset of its batch, less the segment's base

	// written is the latest of the batches' timestamps, each bounded by the clock as
	// of its append; -1 for none. It estimates when the newest batch was written,
	// even if timestamps lie in the future.
	written atomic.Int64

	// firstTimestamp is the first batch's timestamp, bounded by the clock as of its
	// append; -1 for none. The segment's age counts from it.
	firstTimestamp int64

	sinceEntry int64      // bytes since the last offset entry
	filed      indexFiled // how much of the index is in the files

	abortedIs    abortedIndex // what aborted has
	abortedFiled int          // how many of them the file has

	// abortedLeft means that the file of aborted transactions may have some although
	// aborted has none.
	abortedLeft bool
}

// indexFiled describes what was written to a segment's index files, so that Open
// can tell whether they are still the same.
type indexFiled struct {
	offsets, times       int    // entries
	offsetsCRC, timesCRC uint32 // CRC-32C of them
}

func newLiveIndex() *liveIndex {
	x := &liveIndex{firstTimestamp: record.NoTimestamp}
	x.maxTimestamp.Store(record.NoTimestamp)
	x.written.Store(record.NoTimestamp)
	return x
}

// add adds the batch at pos, in the order of the file. now is the clock's time: the
// batch's timestamp may be ahead of it.
func (x *liveIndex) add(base, pos int64, h *record.BatchHeader, interval, now int64) {
	written := min(h.MaxTimestamp, now)
	if pos == 0 {
		x.firstTimestamp = written
	}
	x.written.Store(max(written, x.written.Load()))
	rel := h.LastOffset() - base
	if h.MaxTimestamp > x.maxTimestamp.Load() {
		x.maxRel = rel
		x.maxTimestamp.Store(h.MaxTimestamp)
	}
	if x.sinceEntry > interval {
		x.offsets.append(newOffsetEntry(rel, pos))
		x.addTime()
		x.sinceEntry = 0
	}
	x.sinceEntry += int64(h.Size())
}

// addTime adds an entry for the latest timestamp, if it is later than the last
// entry's.
func (x *liveIndex) addTime() {
	latest := x.maxTimestamp.Load()
	times := x.times.view()
	if latest == record.NoTimestamp || len(times) > 0 && times[len(times)-1].timestamp >= latest {
		return
	}
	x.times.append(timeEntry{latest, x.maxRel})
}

// filing is how complete the index files must be.
type filing int

const (
	filingEntries filing = iota // all entries; without any, no file is needed
	filingWhole                 // as Kafka leaves them: both files, with an entry for the latest timestamp
	filingSynced                // the same, durably
)

// file writes the entries that the index files do not have yet.
func (x *liveIndex) file(s *segment, how filing) error {
	if how >= filingWhole {
		x.addTime()
	}
	offsets, times := x.offsets.view()[x.filed.offsets:], x.times.view()[x.filed.times:]
	b := encodeOffsets(offsets)
	if err := appendIndex(s.fs, s.indexPath(), b, int64(x.filed.offsets)*offsetEntryLen, how); err != nil {
		return err
	}
	x.filed.offsets += len(offsets)
	x.filed.offsetsCRC = crc32.Update(x.filed.offsetsCRC, castagnoli, b)
	b = encodeTimes(times)
	if err := appendIndex(s.fs, s.timeIndexPath(), b, int64(x.filed.times)*timeEntryLen, how); err != nil {
		return err
	}
	x.filed.times += len(times)
	x.filed.timesCRC = crc32.Update(x.filed.timesCRC, castagnoli, b)
	return x.fileAborted(s, how)
}

func encodeOffsets(entries []offsetEntry) []byte {
	b := make([]byte, 0, len(entries)*offsetEntryLen)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e))
	}
	return b
}

func encodeTimes(entries []timeEntry) []byte {
	b := make([]byte, 0, len(entries)*timeEntryLen)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e.timestamp))
		b = binary.BigEndian.AppendUint32(b, uint32(e.rel))
	}
	return b
}

// appendIndex writes b at pos of an index file and truncates it there. At 0 it
// creates the file, or empties one that an earlier log left.
func appendIndex(fsys vfs.FS, path string, b []byte, pos int64, how filing) error {
	if len(b) == 0 && how == filingEntries {
		return nil
	}
	flag := os.O_RDWR | os.O_CREATE
	if pos == 0 {
		flag |= os.O_TRUNC
	}
	f, err := fsys.OpenFile(path, flag)
	if err != nil {
		return err
	}
	defer f.Close()
	if pos > 0 {
		if err := f.Truncate(pos); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		if _, err := f.WriteAt(b, pos); err != nil {
			return err
		}
	}
	if how == filingSynced {
		return f.Sync()
	}
	return nil
}

// loadLiveIndex reads the index files of the active segment up to a checkpoint. It
// returns nil if they are not what the checkpoint describes.
//
// The checkpoint has no written. If the latest timestamp lies in the future, the
// segment's first timestamp plus age bounds it: a later batch would have begun a
// new segment.
func loadLiveIndex(s *segment, c *checkpoint, now int64, age time.Duration) (*liveIndex, error) {
	offsets, err := readIndex(s.fs, s.indexPath(), int64(c.filed.offsets)*offsetEntryLen)
	if err != nil || crc32.Checksum(offsets, castagnoli) != c.filed.offsetsCRC {
		return nil, missingIsNil(err)
	}
	times, err := readIndex(s.fs, s.timeIndexPath(), int64(c.filed.times)*timeEntryLen)
	if err != nil || crc32.Checksum(times, castagnoli) != c.filed.timesCRC {
		return nil, missingIsNil(err)
	}
	x := newLiveIndex()
	x.firstTimestamp, x.sinceEntry, x.filed = min(c.firstTimestamp, now), c.sinceEntry, c.filed
	x.written.Store(min(c.maxTimestamp, now))
	if c.maxTimestamp > now && x.firstTimestamp != record.NoTimestamp {
		x.written.Store(min(now, after(x.firstTimestamp, age)))
	}
	x.maxTimestamp.Store(c.maxTimestamp)
	x.maxRel = c.maxOffset - s.base
	for ; len(offsets) > 0; offsets = offsets[offsetEntryLen:] {
		x.offsets.append(offsetEntry(binary.BigEndian.Uint64(offsets)))
	}
	for ; len(times) > 0; times = times[timeEntryLen:] {
		x.times.append(decodeTimeEntry(times))
	}
	return x, nil
}

func decodeTimeEntry(b []byte) timeEntry {
	return timeEntry{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint32(b[8:]))}
}

// readIndex reads the first n bytes of an index file.
func readIndex(fsys vfs.FS, path string, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < n {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	if got, err := f.ReadAt(b, 0); got < len(b) {
		return nil, err
	}
	return b, nil
}

// missingIsNil turns the errors of a missing or short index file into nil: the
// index is rebuilt then.
func missingIsNil(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// floorOffset returns the last entry whose offset is at most rel, from entries
// in order. ok is false when there is none.
func floorOffset(entries []offsetEntry, rel int64) (offsetEntry, bool) {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].rel() > rel })
	if i == 0 {
		return 0, false
	}
	return entries[i-1], true
}

// floorTime is floorOffset for timestamps.
func floorTime(entries []timeEntry, timestamp int64) (timeEntry, bool) {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].timestamp > timestamp })
	if i == 0 {
		return timeEntry{}, false
	}
	return entries[i-1], true
}

// pageEntries is how many entries of a sealed segment's offset index are kept in
// memory: 4 KiB, whatever its length.
const pageEntries = 512

// indexPage is the page of a sealed segment's offset index that was read last.
type indexPage struct {
	entries []offsetEntry
	first   bool // it begins with the file's first entry
	last    bool // it ends with the file's last entry
}

// holds reports whether the page settles the floor of rel: it has the entry, or
// shows that there is none.
func (p *indexPage) holds(rel int64) bool {
	if len(p.entries) == 0 {
		return true
	}
	return (p.first || p.entries[0].rel() <= rel) && (p.last || p.entries[len(p.entries)-1].rel() > rel)
}

// loadPage reads the page of an offset index file that has the floor of rel. It
// finds the page by binary search over the pages' first entries.
func loadPage(fsys vfs.FS, path string, rel int64) (*indexPage, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	n := int(size / offsetEntryLen)
	one := make([]byte, offsetEntryLen)
	pages := (n + pageEntries - 1) / pageEntries
	var failed error
	// The first page that begins beyond rel; the page before it has the floor.
	page := sort.Search(pages, func(i int) bool {
		if got, err := f.ReadAt(one, int64(i)*pageEntries*offsetEntryLen); got < len(one) && failed == nil {
			failed = err
		}
		return offsetEntry(binary.BigEndian.Uint64(one)).rel() > rel
	})
	if failed != nil {
		return nil, failed
	}
	begin := max(0, page-1) * pageEntries
	// One more entry than the page has: it shows whether the page's last entry is the
	// floor.
	b := make([]byte, min(pageEntries+1, n-begin)*offsetEntryLen)
	if got, err := f.ReadAt(b, int64(begin)*offsetEntryLen); got < len(b) {
		return nil, err
	}
	p := &indexPage{entries: make([]offsetEntry, len(b)/offsetEntryLen), first: begin == 0, last: begin+len(b)/offsetEntryLen == n}
	for i := range p.entries {
		p.entries[i] = offsetEntry(binary.BigEndian.Uint64(b[i*offsetEntryLen:]))
	}
	return p, nil
}

// lastTime returns the last entry of a time index file that is at most
// timestamp; with math.MaxInt64 the last of all. ok is false when there is none.
func lastTime(fsys vfs.FS, path string, timestamp int64) (e timeEntry, ok bool, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return timeEntry{}, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return timeEntry{}, false, err
	}
	var failed error
	b := make([]byte, timeEntryLen)
	at := func(i int) timeEntry {
		if got, err := f.ReadAt(b, int64(i)*timeEntryLen); got < len(b) && failed == nil {
			failed = err
		}
		return decodeTimeEntry(b)
	}
	n := int(size / timeEntryLen)
	i := n
	if timestamp < math.MaxInt64 {
		i = sort.Search(n, func(i int) bool { return at(i).timestamp > timestamp })
	}
	if i == 0 || failed != nil {
		return timeEntry{}, false, failed
	}
	e = at(i - 1)
	return e, failed == nil, failed
}
