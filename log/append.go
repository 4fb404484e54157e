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

// checkpointBytes is how much is synced between two checkpoints. It bounds what
// Open has to verify after a crash, apart from what was never synced.
const checkpointBytes = 64 << 20

// run describes the consecutive batches of one append.
type run struct {
	next         int64 // the offset after the last one
	maxTimestamp int64
	last         record.BatchHeader
}

// Append writes one or several whole batches with a single write. Their offsets
// must continue from EndOffset without a gap, and their leader epochs must never
// fall; other batches are fault.InvalidRecord. Append does not verify the rest.
//
// The log keeps the slice in its tail: after a successful call no one may change
// it, and it should have no more capacity than it needs. When the tail has evicted
// it and no reader holds it, r gets it back, unless r is nil. After an error
// nothing was appended and the slice is the caller's.
//
// fault.DiskFull may be tried again. After fault.Storage every Append and Sync
// returns the same error, unless it was a file that could not be opened.
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
	// end comes last: it is what makes the batches visible to readers, who must then
	// find them in the index, in the tail and below the segment's size.
	l.indexBatches(batches, pos, &run)
	l.tail.add(base, run.next, batches, r)
	l.active.size.Store(pos + int64(len(batches)))
	l.end.Store(run.next)
	if pos == 0 && l.cfg.Begun != nil {
		l.cfg.Begun()
	}
	return nil
}

// examine checks what Append requires of its batches.
func (l *Log) examine(batches []byte, base int64) (run, error) {
	r := run{next: base, maxTimestamp: record.NoTimestamp}
	epoch := latestEpoch(l.Epochs())
	if len(batches) == 0 {
		return r, l.errorAt(fault.InvalidRecord, base).Detailf("an append of no batches")
	}
	for rest := batches; len(rest) > 0; {
		h, err := record.ParseHeader(rest)
		if err != nil {
			return r, l.errorAt(fault.CodeOf(err), r.next).Because(err)
		}
		switch {
		case h.Size() > len(rest):
			return r, l.errorAt(fault.InvalidRecord, r.next).Detailf("a batch of %d bytes of which %d are there", h.Size(), len(rest))
		case h.BaseOffset != r.next:
			return r, l.errorAt(fault.InvalidRecord, r.next).Detailf("a batch that begins at offset %d", h.BaseOffset)
		case h.LeaderEpoch < epoch:
			return r, l.errorAt(fault.InvalidRecord, r.next).Detailf("a batch of leader epoch %d after one of %d", h.LeaderEpoch, epoch)
		}
		r.next, r.last, epoch = h.NextOffset(), h, h.LeaderEpoch
		r.maxTimestamp = max(r.maxTimestamp, h.MaxTimestamp)
		rest = rest[h.Size():]
	}
	if int64(len(batches)) > math.MaxInt32 || r.next-base > math.MaxInt32 {
		return r, l.errorAt(fault.RecordListTooLarge, base).Detailf("%d bytes and %d records at once", len(batches), r.next-base)
	}
	return r, nil
}

// prepare readies the log for an append of n bytes. It begins a segment if there is
// none or the active one is full, and clears the clean-shutdown mark: a crash after
// the append must make Open verify it.
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

// now is a time of the clock, in milliseconds, that bounds a timestamp: a single record
// from the future must not roll segments or keep one for ever. What the clock had reached
// at an earlier call, it has reached now, so it is read about once in a millisecond and
// not once for each append.
func (l *Log) now(timestamp int64) int64 {
	if timestamp > l.clock {
		l.clock = time.Now().UnixMilli()
	}
	return l.clock
}

// full reports whether the active segment has no room for the batches: by
// segment.bytes, by segment.ms, or because their offsets are too far from the base
// for the index, whose entries have 32 bits for the difference.
func (l *Log) full(size int64, r *run) bool {
	return size > l.cfg.SegmentBytes ||
		r.next-1-l.active.base > math.MaxInt32 ||
		l.index.firstTimestamp != record.NoTimestamp && min(r.maxTimestamp, l.now(r.maxTimestamp))-l.index.firstTimestamp > l.cfg.SegmentAge.Milliseconds()
}

// unwrite truncates what a failed write may have left, durably: after a crash, Open
// must not find it as records, alone or behind a shorter append. A full disk is the
// only cause after which the log accepts appends again; any other leaves doubt
// about the file.
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

// indexBatches adds the batches that were written at pos to everything that is
// derived from them.
func (l *Log) indexBatches(batches []byte, pos int64, r *run) {
	for r.last.Size() < len(batches) {
		h, _ := record.ParseHeader(batches) // examine has parsed it
		l.indexBatch(pos, &h, batches)
		pos += int64(h.Size())
		batches = batches[h.Size():]
	}
	l.indexBatch(pos, &r.last, batches)
}

// indexBatch adds a batch, which is what body begins with, to the active segment's
// indexes, the producers with their transactions, and the leader epochs.
func (l *Log) indexBatch(pos int64, h *record.BatchHeader, body []byte) {
	l.index.add(l.active.base, pos, h, int64(l.cfg.IndexInterval), l.now(h.MaxTimestamp))
	l.fold(h, body, l.index)
	if h.LeaderEpoch > latestEpoch(l.Epochs()) {
		entries := withEpoch(l.Epochs(), h.LeaderEpoch, h.BaseOffset)
		l.epochs.Store(&entries)
		l.epochsDirty = true
	}
}

// Sync makes what was appended durable, with one fdatasync. A failed Sync is
// final: the kernel may have dropped the dirty pages, so a second fdatasync that
// succeeds proves nothing. Every later Append and Sync returns the same error.
//
// A log that is synced often gets zeros behind its end, which make the next Sync
// cheaper; see docs/format.md.
func (l *Log) Sync() error {
	if l.failed == nil && !l.closed.Load() && l.active != nil && l.active.size.Load() > l.syncedPos {
		l.writeZeros()
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
		// The checkpoint is a lower bound, so a failure to write it only costs the
		// next Open time. The next Sync writes it.
		_ = l.writeCheckpoint(false)
	}
	return nil
}

// roll seals the active segment, if there is one, and begins the next one at the
// log's end. Recovery relies on the order: the old file is durable and its indexes
// are complete before the new file exists, and the new file's name is durable
// before a checkpoint names it.
//
// An error before the new file exists changes nothing and may be tried again. One
// of syncing names is final. If only the checkpoint fails at the end, readers
// already see the new segment, and the next Sync writes the checkpoint.
func (l *Log) roll() error {
	sealed, sum := l.sealed, l.digest
	if l.active != nil {
		if err := l.trimZeros(); err != nil {
			return err
		}
		if err := l.index.file(l.active, filingSynced); err != nil {
			return l.refuse(err)
		}
		l.active.aborted = l.index.abortedIs
		sealed, sum = sealed+1, sum+l.active.digest()
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
		l.files.opened(old)
	}
	if err := l.writeCheckpoint(false); err != nil {
		return l.refuse(err)
	}
	return l.removeDropped()
}

// syncNames makes the names of the log's files durable, and with the first file
// the directory's own name: the process that created the directory may have
// crashed before it synced the parent.
func (l *Log) syncNames() error {
	if l.active == nil {
		if err := l.cfg.FS.SyncDir(filepath.Dir(l.cfg.Dir)); err != nil {
			return err
		}
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

// publish makes these segments the readers' list, without those that lie wholly
// before the log's start. Their files are deleted once a checkpoint has the new
// start: if a crash leaves some of them, Open knows from it that they are obsolete.
func (l *Log) publish(segments []*segment) {
	k := max(0, segmentOf(segments, l.start.Load()))
	l.dropped = append(l.dropped, segments[:k]...)
	l.sealed -= k
	for _, s := range segments[:k] {
		l.digest -= s.digest()
	}
	segments = segments[k:]
	l.segments.Store(&segments)
}

// removeDropped deletes the files of dropped segments, durably, so that the space
// that a caller sees freed stays free after a crash.
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

// writeCheckpoint writes the log's state, all of which must be synced: a checkpoint
// that claimed more than the disk has would make Open report damage.
func (l *Log) writeCheckpoint(clean bool) error {
	if err := l.index.file(l.active, filingEntries); err != nil {
		return err
	}
	return l.writeCheckpointOnly(clean)
}

// writeCheckpointOnly is writeCheckpoint without new entries in the index files.
func (l *Log) writeCheckpointOnly(clean bool) error {
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
		maxOffset: l.active.base + l.index.maxRel, sinceEntry: l.index.sinceEntry, filed: l.index.filed, aborted: l.index.abortedIs,
		sealed: l.sealed, digest: l.digest, producers: l.snapshots.at >= 0, mark: *l.mark.Load(),
	}
	if err := c.write(l.cfg.FS, l.cfg.Dir); err != nil {
		return err
	}
	l.checkpoint = c
	l.removeSnapshots(c.sequence)
	return nil
}

// checkpointStart writes a checkpoint with the log's start. On a full disk there
// may be no room for the index entries and the snapshot that a checkpoint needs,
// but deleting records is how a user makes room. So it then overwrites a slot with
// the previous checkpoint and the new start, which needs no space, deletes what was
// dropped, and tries again.
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
	l.snapshots.slots[c.sequence%2] = l.snapshots.slots[(c.sequence+1)%2] // both name the same snapshot
	if c.start == l.start.Load() {
		return nil
	}
	_ = l.removeDropped() // files that remain are deleted with the next start or segment
	return l.writeCheckpoint(false)
}

// fileEpochs writes the leader epochs if the file doesn't have them all. It comes
// before the checkpoint, so after a crash the file may have more epochs than the
// checkpoint needs, which Open drops, but never fewer.
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
