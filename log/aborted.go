package log

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"sort"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// AbortedTxn is an entry of the index of aborted transactions. It belongs to the segment
// that has the transaction's marker.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // its marker's
	LastStable  int64 // the last stable offset once it was aborted; it never falls from one entry to the next
}

// abortedIndex describes a segment's index of aborted transactions in its file: how many
// entries it has, and their CRC-32C. There is no file without entries.
type abortedIndex struct {
	n   int
	crc uint32
}

// abortedCached is how many entries of a sealed segment are kept in memory once they were
// read: about 4 KiB.
const abortedCached = 128

func encodeAborted(entries []AbortedTxn) []byte {
	b := make([]byte, 0, len(entries)*txnEntryLen)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint16(b, 0) // version
		for _, v := range []int64{e.ProducerID, e.FirstOffset, e.LastOffset, e.LastStable} {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

func decodeAborted(b []byte) []AbortedTxn {
	entries := make([]AbortedTxn, 0, len(b)/txnEntryLen)
	for ; len(b) >= txnEntryLen; b = b[txnEntryLen:] {
		v := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[2+8*i:])) }
		entries = append(entries, AbortedTxn{v(0), v(1), v(2), v(3)})
	}
	return entries
}

// addAborted adds an entry. What it makes of abortedIs goes into the checkpoint, so that
// Open can tell whether the file has all of them.
func (x *liveIndex) addAborted(e AbortedTxn) {
	x.aborted.append(e)
	x.abortedIs = abortedIndex{x.abortedIs.n + 1, crc32.Update(x.abortedIs.crc, castagnoli, encodeAborted([]AbortedTxn{e}))}
}

// fileAborted writes the entries to the segment's file that it does not have yet. Without
// any it removes a file that an earlier log left there, where the files must be whole.
func (x *liveIndex) fileAborted(s *segment, how filing) error {
	all := x.aborted.view()
	if len(all) == 0 {
		if how == filingEntries || !x.abortedLeft {
			return nil
		}
		if err := s.fs.Remove(s.abortedPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		x.abortedLeft = false
		return nil
	}
	b := encodeAborted(all[x.abortedFiled:])
	if err := appendIndex(s.fs, s.abortedPath(), b, int64(x.abortedFiled)*txnEntryLen, how); err != nil {
		return err
	}
	x.abortedFiled = len(all)
	return nil
}

// digest is the segment's part of the checkpoint's digest: with its name, its size and,
// if it has one, its index of aborted transactions. Everything else that is derived from
// a segment shows by itself that it is wrong; this index does not.
func (s *segment) digest() uint64 {
	d := digest(s.base, s.size.Load())
	if s.aborted.n > 0 {
		d += digest(^s.base, int64(s.aborted.n)<<32|int64(s.aborted.crc))
	}
	return d
}

// readAborted reads the first entries of a segment's file. ok is false if the file has
// not that many, or others than described.
func (s *segment) readAborted(is abortedIndex) (entries []AbortedTxn, ok bool, err error) {
	b, err := readIndex(s.fs, s.abortedPath(), int64(is.n)*txnEntryLen)
	if err != nil {
		return nil, false, missingIsNil(err)
	}
	if crc32.Checksum(b, castagnoli) != is.crc {
		return nil, false, nil
	}
	return decodeAborted(b), true, nil
}

// describeAborted sets what a sealed segment's file of size bytes has.
func (s *segment) describeAborted(size int64) error {
	s.aborted = abortedIndex{}
	if size == 0 {
		return nil
	}
	b, err := readIndex(s.fs, s.abortedPath(), size/txnEntryLen*txnEntryLen)
	if err != nil {
		return missingIsNil(err)
	}
	s.aborted = abortedIndex{len(b) / txnEntryLen, crc32.Checksum(b, castagnoli)}
	return nil
}

// abortedTxns returns the entries of the i-th of these segments. Where the file is
// damaged, it collects them from the log.
func (l *Log) abortedTxns(segments []*segment, i int) ([]AbortedTxn, error) {
	s := segments[i]
	if x := s.live.Load(); x != nil {
		return x.aborted.view(), nil
	}
	if s.aborted.n == 0 {
		return nil, nil
	}
	if known := s.abortedRead.Load(); known != nil {
		return *known, nil
	}
	entries, ok, err := s.readAborted(s.aborted)
	if err != nil {
		return nil, l.unreadable(s, s.base, err)
	}
	if !ok {
		all, err := l.collectAborted(segments[:i+1])
		if err != nil {
			return nil, err
		}
		entries = all[i]
	}
	if len(entries) <= abortedCached || !ok {
		s.abortedRead.Store(&entries)
	}
	return entries, nil
}

// collectAborted returns the entries of each of these segments, which begin with the
// log's first, from the headers and markers of their batches.
func (l *Log) collectAborted(segments []*segment) ([][]AbortedTxn, error) {
	all := make([][]AbortedTxn, len(segments))
	ps := producers{}
	for i, s := range segments {
		h, err := s.open()
		if err != nil {
			return nil, l.unreadable(s, s.base, err)
		}
		sc := newScanner(h, 0, s.size.Load(), s.base, false)
		for sc.next() {
			b := &sc.header
			if _, e := ps.fold(b, sc.control()); e.first >= 0 && e.aborted {
				all[i] = append(all[i], AbortedTxn{b.ProducerID, e.first, b.LastOffset(), ps.firstUnstable(b.NextOffset())})
			}
		}
		h.release()
		if sc.err != nil {
			return nil, l.unreadable(s, sc.offset, sc.err)
		}
	}
	return all, nil
}

// Aborted has the aborted transactions with records in a range of offsets.
type Aborted []AbortedTxn // by producer and last offset

// Has reports whether the transaction was aborted in which a producer wrote a batch
// that begins at an offset of the range.
func (a Aborted) Has(producer, offset int64) bool {
	i := sort.Search(len(a), func(i int) bool {
		return a[i].ProducerID > producer || a[i].ProducerID == producer && a[i].LastOffset > offset
	})
	return i < len(a) && a[i].ProducerID == producer && a[i].FirstOffset <= offset
}

// Aborted returns the aborted transactions that have records from an offset to before
// another, which is at most StableOffset. Any goroutine may call it.
func (l *Log) Aborted(from, to int64) (Aborted, error) {
	for {
		a, err := l.abortedIn(l.list(), from, to)
		if err == nil {
			slices.SortFunc(a, func(x, y AbortedTxn) int {
				return cmp.Or(cmp.Compare(x.ProducerID, y.ProducerID), cmp.Compare(x.LastOffset, y.LastOffset))
			})
			return a, nil
		}
		if l.closed.Load() {
			return nil, l.errorAt(fault.Closed, -1)
		}
		if from < l.start.Load() {
			return nil, l.outOfRange(from)
		}
		if !errors.Is(err, errGone) {
			return nil, err
		}
	}
}

// ReadCommitted is Read with the aborted transactions that have records in what it returns.
// Compaction forgets those whose records it removes, so both must be of one state of the log.
func (l *Log) ReadCommitted(offset, limit int64, max int, buf []byte) (Slice, Aborted, error) {
	for {
		state := l.segments.Load()
		s, err := l.Read(offset, limit, max, buf)
		if err != nil || len(s.Bytes) == 0 {
			return s, nil, err
		}
		aborted, err := l.Aborted(offset, endOf(s.Bytes))
		if err == nil && l.segments.Load() == state {
			return s, aborted, nil
		}
		s.Release()
		if err != nil {
			return Slice{}, nil, err
		}
	}
}

// endOf returns the offset after a run of whole batches.
func endOf(batches []byte) (end int64) {
	for len(batches) > 0 {
		h, err := record.ParseHeader(batches)
		if err != nil || h.Size() > len(batches) {
			break
		}
		end, batches = h.NextOffset(), batches[h.Size():]
	}
	return end
}

// abortedIn looks from the segment of the first offset on. What follows an entry whose
// LastStable is beyond the range began beyond it, too.
func (l *Log) abortedIn(segments []*segment, from, to int64) (in Aborted, err error) {
	if len(segments) == 0 || from < segments[0].base {
		return nil, nil
	}
	for i := segmentOf(segments, from); i < len(segments); i++ {
		entries, err := l.abortedTxns(segments, i)
		if err != nil {
			return nil, err
		}
		begin := sort.Search(len(entries), func(j int) bool { return entries[j].LastOffset >= from })
		for _, e := range entries[begin:] {
			if e.FirstOffset < to {
				in = append(in, e)
			}
			if e.LastStable >= to {
				return in, nil
			}
		}
	}
	return in, nil
}

// loadAborted sets the index of the active segment up to the checkpoint.
func (o *opening) loadAborted(s *segment, known *checkpoint, index *liveIndex) error {
	index.abortedLeft = o.indexes[s.abortedName()] > 0
	is := known.aborted
	if is.n == 0 {
		return nil
	}
	entries, ok, err := s.readAborted(is)
	if err != nil || !ok {
		o.abortedLost = true
		return err
	}
	for _, e := range entries {
		index.addAborted(e)
	}
	index.abortedFiled = is.n
	return nil
}

// rebuildAborted collects the aborted transactions of all segments, and writes the files
// that are not what they should be.
func (o *opening) rebuildAborted(index *liveIndex) error {
	all, err := o.l.collectAborted(o.segments)
	if err != nil {
		return err
	}
	last := len(o.segments) - 1
	for i, s := range o.segments[:last] {
		b := encodeAborted(all[i])
		is := abortedIndex{len(all[i]), crc32.Checksum(b, castagnoli)}
		if is.n == 0 {
			is = abortedIndex{}
		}
		if is == s.aborted && int64(len(b)) == o.indexes[s.abortedName()] {
			continue
		}
		if is.n > 0 {
			err = vfs.WriteFile(o.l.cfg.FS, s.abortedPath(), b)
		} else if err = o.l.cfg.FS.Remove(s.abortedPath()); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return err
		}
		o.l.digest -= s.digest()
		s.aborted = is
		o.l.digest += s.digest()
		o.Indexes++
	}
	index.aborted.n.Store(0) // no one else has seen it
	index.abortedIs, index.abortedFiled = abortedIndex{}, 0
	for _, e := range all[last] {
		index.addAborted(e)
	}
	err = index.fileAborted(o.segments[last], filingSynced)
	if fault.OfDisk(err) == fault.DiskFull {
		return nil // the next checkpoint's turn
	}
	return err
}

// keepAborted gives a segment that was cut short the entries of what is left of it.
func (l *Log) keepAborted(segments []*segment, i int, index *liveIndex, end int64) error {
	entries, err := l.abortedTxns(segments, i)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.LastOffset < end {
			index.addAborted(e)
		}
	}
	index.abortedLeft = len(entries) > 0
	return nil
}

// abortedOf returns the entries of all segments of a group in their order.
func (l *Log) abortedOf(group []*segment) (all []AbortedTxn, err error) {
	for _, s := range group {
		segments := l.list()
		i := slices.Index(segments, s)
		if i < 0 {
			return nil, errGone
		}
		entries, err := l.abortedTxns(segments, i)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}
