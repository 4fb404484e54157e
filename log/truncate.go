package log

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/fault"
)

// Truncate drops the records at and after an offset. The batch that holds it goes
// as a whole, so EndOffset may be lower than the offset afterwards. The truncation
// is durable when Truncate returns; a crash meanwhile leaves more of the log, never
// less. An offset before StartOffset is fault.OffsetOutOfRange. On a full disk it
// changes nothing and returns fault.DiskFull.
func (l *Log) Truncate(to int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	if to >= l.end.Load() {
		return nil
	}
	if to < l.start.Load() {
		return l.outOfRange(to)
	}
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.fileEpochs(); err != nil {
		return l.refuse(err)
	}
	segments := l.list()
	i := segmentOf(segments, to)
	if i < 0 {
		return l.lost(to)
	}
	left, index, end, err := l.shorten(segments[i], to)
	if err != nil {
		return err
	}
	ps, err := l.producersAt(segments[:i+1], end)
	if err != nil {
		return l.refuse(err)
	}
	return l.cutTo(segments, i, left, index, end, ps)
}

// shorten returns a new active segment on the file of s that ends before the batch
// that holds to, with its index and its end offset. It doesn't change the file.
func (l *Log) shorten(s *segment, to int64) (left *segment, index *liveIndex, end int64, err error) {
	h, err := s.open()
	if err != nil {
		return nil, nil, 0, l.refuse(err)
	}
	defer h.release()
	pos, end, err := l.locate(s, h, to, s.size.Load())
	if err != nil {
		return nil, nil, 0, err
	}
	index = newLiveIndex()
	sc := newScanner(h, 0, pos, s.base, false)
	for sc.next() {
		index.add(s.base, sc.pos, &sc.header, int64(l.cfg.IndexInterval), l.now(sc.header.MaxTimestamp))
	}
	switch {
	case sc.err != nil:
		return nil, nil, 0, l.unreadable(s, sc.offset, sc.err)
	case sc.bad != "":
		return nil, nil, 0, l.corrupt(s, sc.offset, sc.pos, fmt.Sprintf("the batch of offset %d", sc.offset), sc.bad)
	}
	if err := l.keepAborted(l.list(), slices.Index(l.list(), s), index, end); err != nil {
		return nil, nil, 0, err
	}
	left = l.newSegment(s.base, pos)
	left.writable = true
	left.live.Store(index)
	return left, index, end, nil
}

// cutTo replaces the i-th segment by left and makes it the log's last. First readers
// get the new list, then the checkpoint moves back, then bytes are removed: at no
// moment does the checkpoint cover bytes that the files lack, which Open would
// report as damage. From here on nothing needs space, so no full disk leaves a log half
// truncated.
func (l *Log) cutTo(segments []*segment, i int, left *segment, index *liveIndex, end int64, ps producers) error {
	kept := append(segments[:i:i], left)
	epochs := epochsBelow(l.Epochs(), end)
	l.start.Store(min(l.start.Load(), end)) // the start may lie within the batch that was dropped
	l.end.Store(end)
	l.synced.Store(end)
	l.epochs.Store(&epochs)
	l.mark.Store(&mark{min(l.mark.Load().clean, end), l.mark.Load().horizon})
	l.segments.Store(&kept)
	l.generation.Add(1)
	l.tail.evict(0)

	if l.file != nil {
		l.file.release()
		l.file = nil
	}
	if err := l.restoreProducers(ps); err != nil {
		return l.fail(err)
	}
	l.active, l.index = left, index
	l.syncedPos, l.filled = left.size.Load(), left.size.Load()
	l.sealed, l.digest = i, 0
	for _, s := range segments[:i] {
		l.digest += s.digest()
	}
	// Both slots: neither may cover more than there will be. The index files stay
	// complete until no segment follows: after a crash, shorter ones would hide the
	// segment's latest records from a search by time.
	for range 2 {
		if err := l.writeCheckpointOnly(false); err != nil {
			return l.fail(err)
		}
	}
	for j := len(segments) - 1; j > i; j-- { // durably, one by one: a crash must leave no gap
		if err := segments[j].remove(); err != nil {
			return l.fail(err)
		}
		if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
			return l.fail(err)
		}
	}
	segments[i].retire()
	h, err := left.open()
	if err != nil {
		return l.fail(err)
	}
	l.file = h
	if err := h.Truncate(left.size.Load()); err != nil {
		return l.fail(err)
	}
	if err := h.Sync(); err != nil {
		return l.fail(err)
	}
	l.epochsDirty = true // only now: after an earlier crash, the records are still there and need their epochs
	return nil
}

// SetStart drops the records before an offset. They are no longer readable, and
// segments that lie wholly before it are deleted; running reads in them finish. The
// start is durable when SetStart returns. A start before the present one changes
// nothing; one beyond EndOffset is fault.OffsetOutOfRange.
func (l *Log) SetStart(offset int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	end := l.end.Load()
	if offset <= min(l.start.Load(), l.checkpoint.start) {
		return nil
	}
	if offset > end {
		return l.outOfRange(offset)
	}
	offset = max(offset, l.start.Load()) // an earlier call may have failed before it was durable
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.fileEpochs(); err != nil {
		return l.refuse(err)
	}
	epochs := epochsFrom(l.Epochs(), offset) // the file may keep the others: Open drops them, too
	l.epochs.Store(&epochs)
	l.start.Store(offset)
	all := offset == end && l.active.size.Load() > 0
	if all { // so that the active segment's file goes, too
		if err := l.roll(); err == nil || fault.CodeOf(err) != fault.DiskFull {
			return err
		}
	}
	l.publish(l.list())
	if err := l.checkpointStart(); err != nil {
		if refused := l.refuse(err); fault.CodeOf(refused) == fault.DiskFull {
			return refused
		}
		return l.fail(err)
	}
	if err := l.removeDropped(); err != nil {
		return err
	}
	if all && l.active.size.Load() > 0 {
		return l.roll() // the disk was full before: now there is room
	}
	return nil
}

// Remove closes the log and deletes its directory with everything in it. Running
// reads finish.
func (l *Log) Remove() error {
	l.discard()
	if err := l.cfg.FS.RemoveAll(l.cfg.Dir); err != nil {
		return l.errorAt(fault.Storage, -1).Detailf("removing %s", l.cfg.Dir).Because(err)
	}
	if err := l.cfg.FS.SyncDir(filepath.Dir(l.cfg.Dir)); err != nil {
		return l.errorAt(fault.Storage, -1).Detailf("removing %s", l.cfg.Dir).Because(err)
	}
	return nil
}

// lost is the error for an offset before the first file of the log.
func (l *Log) lost(offset int64) error {
	s := l.newSegment(offset, 0)
	return l.corrupt(s, offset, 0, "the batches from there on", "no file")
}
