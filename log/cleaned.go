package log

import (
	"errors"
	"io/fs"
	"math"
	"os"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// cleanedSuffix ends the names of a replacement's files until its swap. Opening a
// log deletes them, unless a manifest names the replacement.
const cleanedSuffix = ".cleaned"

// cleanedBuffer is how much is written at once.
const cleanedBuffer = 256 << 10

// cleaned writes a segment that will replace others, beside them.
type cleaned struct {
	log   *Log
	next  *segment // the segment that the files become
	file  *handle
	index *liveIndex
	buf   []byte // not written yet
	pos   int64  // where in the file buf begins

	// gap is a pending batch without records, for offsets of which no record stays.
	// Its Length is 0 if there are none. Batches must follow each other without a
	// gap, because that is how readers and recovery recognize missing ones.
	gap record.BatchHeader

	batchwise bool // a gap is never widened
}

// newCleaned creates the file for a group of segments. The caller must remove the
// result if it isn't used, also after an error.
func (l *Log) newCleaned(group []*segment) (*cleaned, error) {
	w := &cleaned{log: l, next: l.newSegment(group[0].base, 0), index: newLiveIndex()}
	f, err := l.cfg.FS.OpenFile(w.next.logPath()+cleanedSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return w, l.refuse(err)
	}
	w.file = &handle{File: f}
	w.file.refs.Store(1)
	return w, nil
}

// indexAborted takes over what the group's index has of aborted transactions, but for those of
// which nothing is left. Without a reason to write a segment, such an entry stays: it hides nothing.
func (w *cleaned) indexAborted(group []*segment, f *filter) error {
	aborted, err := w.log.abortedOf(group)
	for _, e := range aborted {
		if e.LastOffset >= f.end || f.marked[e.LastOffset] {
			w.index.addAborted(e)
		}
	}
	return err
}

// add adds the filter's result for a batch.
func (w *cleaned) add(v verdict, b record.Batch) error {
	if v == emptied {
		return w.widenGap(&b.BatchHeader)
	}
	if err := w.fillGap(); err != nil {
		return err
	}
	return w.write(b)
}

// widenGap adds the offsets of a batch of which no record stays to the gap. One
// empty batch covers neighbors of the same leader epoch; another epoch needs its
// own, or its start would be lost, and so does each batch if their number counts.
func (w *cleaned) widenGap(h *record.BatchHeader) error {
	if w.gap.Length > 0 && !w.batchwise && w.gap.LeaderEpoch == h.LeaderEpoch && h.LastOffset()-w.gap.BaseOffset <= math.MaxInt32 {
		w.gap.LastOffsetDelta = int32(h.LastOffset() - w.gap.BaseOffset)
		return nil
	}
	if err := w.fillGap(); err != nil {
		return err
	}
	w.gap = record.BatchHeader{
		Length: 1, BaseOffset: h.BaseOffset, LeaderEpoch: h.LeaderEpoch, LastOffsetDelta: h.LastOffsetDelta,
		BaseTimestamp: record.NoTimestamp, MaxTimestamp: record.NoTimestamp,
		ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
	}
	return nil
}

// fillGap writes the pending empty batch, if there is one.
func (w *cleaned) fillGap() error {
	if w.gap.Length == 0 {
		return nil
	}
	b := record.Seal(make([]byte, record.HeaderLen), w.gap)
	w.gap.Length = 0
	return w.write(b)
}

func (w *cleaned) write(b record.Batch) error {
	w.index.add(w.next.base, w.pos+int64(len(w.buf)), &b.BatchHeader, int64(w.log.cfg.IndexInterval), math.MaxInt64)
	w.buf = append(w.buf, b.Bytes...)
	if len(w.buf) < cleanedBuffer {
		return nil
	}
	return w.writeBuffer()
}

func (w *cleaned) writeBuffer() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(w.buf, w.pos); err != nil {
		return w.log.refuse(err)
	}
	w.pos += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// finish makes the file, its indexes and their names durable.
func (w *cleaned) finish() error {
	if err := w.fillGap(); err != nil {
		return err
	}
	if err := w.writeBuffer(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return w.log.refuse(err)
	}
	w.index.addTime()
	fsys := w.log.cfg.FS
	err := appendIndex(fsys, w.next.indexPath()+cleanedSuffix, encodeOffsets(w.index.offsets.view()), 0, filingSynced)
	if err == nil {
		err = appendIndex(fsys, w.next.timeIndexPath()+cleanedSuffix, encodeTimes(w.index.times.view()), 0, filingSynced)
	}
	if aborted := w.index.aborted.view(); err == nil && len(aborted) > 0 {
		err = appendIndex(fsys, w.next.abortedPath()+cleanedSuffix, encodeAborted(aborted), 0, filingSynced)
		w.next.aborted = w.index.abortedIs
	}
	if err == nil {
		err = fsys.SyncDir(w.log.cfg.Dir)
	}
	if err != nil {
		return w.log.refuse(err)
	}
	w.next.size.Store(w.pos)
	return nil
}

// remove closes the file and removes what was written.
func (w *cleaned) remove() {
	if w.file != nil {
		w.file.release()
	}
	_ = removeCleaned(w.log.cfg.FS, w.next) // Open removes what remains
}

// removeCleaned removes a replacement's files.
func removeCleaned(fsys vfs.FS, s *segment) error {
	for _, path := range s.paths() {
		if err := fsys.Remove(path + cleanedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// replacement returns the finished segment as the Replacement of a group.
func (w *cleaned) replacement(group []*segment) *Replacement {
	r := &Replacement{log: w.log, old: group, next: w.next, freed: -w.pos}
	for _, s := range group {
		r.freed += s.size.Load()
	}
	w.next.handle.Store(w.file) // passes the reference to the segment
	w.next.live.Store(w.index)  // until exchange has renamed the index files
	return r
}
