package log

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// checkpointBytes is how much is synced before the next checkpoint: what Open
// has to verify after a crash, beside what was never synced.
const checkpointBytes = 64 << 20

// run describes contiguous batches that are about to be appended.
type run struct {
	next         int64 // the offset after the last one
	maxTimestamp int64
	last         record.BatchHeader
}

// Append writes batches with a single write: one or several whole batches, stamped
// with offsets that follow on from EndOffset and each other, and with leader
// epochs that never fall. Beyond that the bytes are believed.
//
// The log keeps the slice in its tail, so from a call that succeeds on nobody
// may change it; it should have no more capacity than it needs. When it leaves
// the tail and no reader has it, r gets it back, unless r is nil. After an error
// it is the caller's, and nothing was appended.
//
// Batches that don't follow on are fault.InvalidRecord. fault.DiskFull may be
// tried again; after fault.Storage every Append and Sync returns the same,
// unless it was a file that could not be opened.
func (l *Log) Append(batches []byte, r Recycler) error {
	if err := l.usable(); err != nil {
		return err
	}
	base := l.end.Load()
	run, err := l.examine(batches, base)
	if err != nil {
		return err
	}
	if err := l.prepare(int64(len(batches)), &run); err != nil {
		return err
	}
	pos := l.active.size.Load()
	if n, err := l.file.WriteAt(batches, pos); err != nil {
		return l.unwrite(pos, n, err)
	}
	l.note(batches, pos, &run)
	l.tail.add(base, run.next, batches, r)
	l.active.size.Store(pos + int64(len(batches)))
	l.end.Store(run.next)
	if pos == 0 && l.cfg.Begun != nil {
		l.cfg.Begun()
	}
	return nil
}

// examine checks what Append promises about its batches.
func (l *Log) examine(batches []byte, base int64) (run, error) {
	r := run{next: base, maxTimestamp: record.NoTimestamp}
	epoch := latestEpoch(l.Epochs())
	if len(batches) == 0 {
		return r, l.at(fault.InvalidRecord, base).Detailf("an append of no batches")
	}
	for rest := batches; len(rest) > 0; {
		h, err := record.ParseHeader(rest)
		if err != nil {
			return r, l.at(fault.CodeOf(err), r.next).Because(err)
		}
		switch {
		case h.Size() > len(rest):
			return r, l.at(fault.InvalidRecord, r.next).Detailf("a batch of %d bytes of which %d are there", h.Size(), len(rest))
		case h.BaseOffset != r.next:
			return r, l.at(fault.InvalidRecord, r.next).Detailf("a batch that begins at offset %d", h.BaseOffset)
		case h.LeaderEpoch < epoch:
			return r, l.at(fault.InvalidRecord, r.next).Detailf("a batch of leader epoch %d after one of %d", h.LeaderEpoch, epoch)
		}
		r.next, r.last, epoch = h.NextOffset(), h, h.LeaderEpoch
		r.maxTimestamp = max(r.maxTimestamp, h.MaxTimestamp)
		rest = rest[h.Size():]
	}
	if int64(len(batches)) > math.MaxInt32 || r.next-base > math.MaxInt32 {
		return r, l.at(fault.RecordListTooLarge, base).Detailf("%d bytes and %d records at once", len(batches), r.next-base)
	}
	return r, nil
}

// prepare makes the log ready for n bytes more: it takes back the word that the
// log is closed, and begins a segment when there is none or the active one is
// full.
func (l *Log) prepare(n int64, r *run) error {
	if l.active == nil {
		return l.roll()
	}
	if size := l.active.size.Load(); size > 0 && l.full(size+n, r) {
		return l.roll()
	}
	if l.file == nil {
		h, err := l.active.open()
		if err != nil {
			return l.refuse(err)
		}
		l.file = h
	}
	if l.checkpoint.clean || l.checkpoint.sequence == 0 {
		if err := l.writeCheckpoint(false); err != nil {
			return l.refuse(err)
		}
	}
	return nil
}

// now is the clock's time in milliseconds. It serves as a bound for timestamps that
// are ahead of it, and for nothing else.
func (l *Log) now() int64 { return time.Now().UnixMilli() }

// full reports whether the active segment must not take the batches: by
// segment.bytes, by segment.ms, or because the index could not name an offset so
// far from the base.
func (l *Log) full(size int64, r *run) bool {
	return size > l.cfg.SegmentBytes ||
		r.next-1-l.active.base > math.MaxInt32 ||
		l.index.firstTimestamp != record.NoTimestamp && min(r.maxTimestamp, l.now())-l.index.firstTimestamp > l.cfg.SegmentAge.Milliseconds()
}

// unwrite cuts off what a write that failed may have left, for good: it must not
// come back as records after a crash, alone or behind a shorter append.
func (l *Log) unwrite(pos int64, n int, cause error) error {
	err := l.file.Truncate(pos)
	if err == nil && n > 0 {
		err = l.file.Sync()
	}
	l.filled = pos
	if err != nil {
		return l.fail(fmt.Errorf("%w; then cutting off the %d bytes that were written: %w", cause, n, err))
	}
	refused := l.refuse(cause)
	if fault.CodeOf(refused) != fault.DiskFull {
		return l.fail(cause)
	}
	return refused
}

// note enters the batches that stand at pos into the active segment's index and
// into the leader epochs.
func (l *Log) note(batches []byte, pos int64, r *run) {
	for r.last.Size() < len(batches) {
		h, _ := record.ParseHeader(batches) // examine has looked at it
		l.noteBatch(pos, &h)
		pos += int64(h.Size())
		batches = batches[h.Size():]
	}
	l.noteBatch(pos, &r.last)
}

func (l *Log) noteBatch(pos int64, h *record.BatchHeader) {
	l.index.add(l.active.base, pos, h, int64(l.cfg.IndexInterval), l.now())
	l.producers.note(h)
	if h.LeaderEpoch > latestEpoch(l.Epochs()) {
		entries := withEpoch(l.Epochs(), h.LeaderEpoch, h.BaseOffset)
		l.epochs.Store(&entries)
		l.epochsDirty = true
	}
}

// Sync makes what was appended durable, with one fdatasync. A failed Sync is
// final: which bytes the disk has is unknown from then on, and trying again
// would prove nothing, so every later Append and Sync returns the same error.
//
// A log that is synced again and again gets zeros behind its end, which make the
// next Sync cheaper; see docs/format.md.
func (l *Log) Sync() error {
	if l.failed == nil && !l.closed.Load() && l.active != nil && l.active.size.Load() > l.syncedPos {
		l.fill()
	}
	return l.sync()
}

// sync is Sync without zeros.
func (l *Log) sync() error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.active == nil || l.active.size.Load() == l.syncedPos {
		return nil
	}
	return l.flush()
}

// flush makes the active segment's file durable as it is.
func (l *Log) flush() error {
	if err := l.file.Sync(); err != nil {
		return l.fail(err)
	}
	pos := l.active.size.Load()
	l.syncedPos = pos
	l.synced.Store(l.end.Load())
	if l.checkpoint.segment != l.active.base || pos-l.checkpoint.pos >= checkpointBytes {
		// The checkpoint is a lower bound. One that is not written costs the
		// next Open time, and is written with the next Sync.
		_ = l.writeCheckpoint(false)
	}
	return nil
}

// roll seals the active segment, if there is one, and begins the next one at the
// log's end. The order is what recovery relies on: the old file is durable and
// its indexes are complete before the new file exists.
func (l *Log) roll() error {
	sealed, sum := l.sealed, l.digest
	if l.active != nil {
		if err := l.finish(); err != nil {
			return err
		}
		if err := l.index.file(l.active, filingSynced); err != nil {
			return l.refuse(err)
		}
		sealed, sum = sealed+1, sum+digest(l.active.base, l.active.size.Load())
	}
	next := l.newSegment(l.end.Load(), 0)
	next.writable = true
	index := newLiveIndex()
	next.live.Store(index)
	f, err := l.cfg.FS.OpenFile(next.logPath(), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return l.refuse(err)
	}
	if err := l.syncNames(); err != nil {
		_ = f.Close()
		return l.fail(err)
	}
	h := &handle{File: f}
	h.refs.Store(2) // the segment's and the writer's
	next.handle.Store(h)

	old := l.active
	if l.file != nil {
		l.file.release()
	}
	l.active, l.file, l.index = next, h, index
	l.syncedPos, l.filled, l.unfilled = 0, 0, false
	l.sealed, l.digest = sealed, sum
	segments := l.list()
	l.publish(append(segments[:len(segments):len(segments)], next))
	if old != nil {
		old.live.Store(nil) // its files are complete
		l.files.add(old)
	}
	if err := l.writeCheckpoint(false); err != nil {
		return l.refuse(err)
	}
	return l.removeDropped()
}

// syncNames makes the names of the log's files durable, and with the first of
// them the directory's own: whoever made that may have failed, or died, before.
func (l *Log) syncNames() error {
	if l.active == nil {
		if err := l.cfg.FS.SyncDir(filepath.Dir(l.cfg.Dir)); err != nil {
			return err
		}
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

// publish shows readers these segments but for those that lie wholly before the
// log's start, which are dropped. Their files may go once a checkpoint says so:
// should they survive a crash, Open knows that they were to be deleted.
func (l *Log) publish(segments []*segment) {
	k := max(0, segmentOf(segments, l.start.Load()))
	l.dropped = append(l.dropped, segments[:k]...)
	l.sealed -= k
	for _, s := range segments[:k] {
		l.digest -= digest(s.base, s.size.Load())
	}
	segments = segments[k:]
	l.segments.Store(&segments)
}

// removeDropped deletes what was dropped, durably: space that is reported free
// stays free.
func (l *Log) removeDropped() error {
	if len(l.dropped) == 0 {
		return nil
	}
	for _, s := range l.dropped {
		if err := s.remove(); err != nil {
			return l.refuse(err)
		}
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return l.refuse(err)
	}
	l.dropped = nil
	return nil
}

// writeCheckpoint records the log's state, all of which must be synced.
func (l *Log) writeCheckpoint(clean bool) error {
	if err := l.index.file(l.active, filingEntries); err != nil {
		return err
	}
	return l.noteCheckpoint(clean)
}

// noteCheckpoint is writeCheckpoint with the index files as they are.
func (l *Log) noteCheckpoint(clean bool) error {
	if err := l.fileEpochs(); err != nil {
		return err
	}
	if err := l.fileProducers(); err != nil {
		return err
	}
	c := checkpoint{
		sequence: l.checkpoint.sequence + 1, clean: clean,
		start: l.start.Load(), segment: l.active.base, pos: l.active.size.Load(), offset: l.end.Load(),
		firstTimestamp: l.index.firstTimestamp, maxTimestamp: l.index.maxTimestamp.Load(),
		maxOffset: l.active.base + l.index.maxRel, sinceEntry: l.index.sinceEntry, filed: l.index.filed,
		sealed: l.sealed, digest: l.digest, producers: l.snapshots.at >= 0, mark: *l.mark.Load(),
	}
	if err := c.write(l.cfg.FS, l.cfg.Dir); err != nil {
		return err
	}
	l.checkpoint = c
	l.removeSnapshots(c.sequence)
	return nil
}

// checkpointStart records where the log starts. A disk that is full has room for
// that, if not for all that a checkpoint needs: of the rest it says again what the
// one before it did, and what was dropped makes room.
func (l *Log) checkpointStart() error {
	err := l.writeCheckpoint(false)
	c := l.checkpoint
	if err == nil || fault.OfDisk(err) != fault.DiskFull || c.segment != l.active.base {
		return err
	}
	c.sequence, c.clean = c.sequence+1, false
	c.start, c.sealed, c.digest, c.mark = min(l.start.Load(), c.offset), l.sealed, l.digest, *l.mark.Load()
	if err := c.write(l.cfg.FS, l.cfg.Dir); err != nil {
		return err
	}
	l.checkpoint = c
	l.snapshots.slots[c.sequence%2] = l.snapshots.slots[(c.sequence+1)%2] // it names the same one
	if c.start == l.start.Load() {
		return nil
	}
	_ = l.removeDropped() // what is left is tried again
	return l.writeCheckpoint(false)
}

// fileEpochs writes the leader epochs if the file has others. On the way to a
// checkpoint the file may have more of them than the checkpoint needs, never
// fewer.
func (l *Log) fileEpochs() error {
	if !l.epochsDirty {
		return nil
	}
	if err := vfs.WriteFile(l.cfg.FS, filepath.Join(l.cfg.Dir, epochName), encodeEpochs(l.Epochs())); err != nil {
		return err
	}
	l.epochsDirty = false
	return nil
}
