package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Recovery says what Open found and did.
type Recovery struct {
	Clean    bool          // the log was closed cleanly, or is new: nothing had to be verified
	Segments int           // the number of segments
	Batches  int64         // how many batches were verified
	Bytes    int64         // their bytes
	Cut      int64         // bytes of a torn tail that were truncated, without zeros at its end
	Reason   string        // what was wrong with them, if Cut > 0
	Restored []error       // each a *fault.Corruption behind the synced position: a damaged header field whose value is certain, and was written back
	Indexes  int           // segments whose index files were missing or wrong, and were rebuilt
	Replaced bool          // the sealed segments are sound, and not those that the checkpoint counts
	Damage   []error       // each a *fault.Corruption: the file is left as it is, and readers of these offsets get the error
	Duration time.Duration // how long Open took
}

// Open opens the log in cfg.Dir, or begins one. After a Close it reads only the
// checkpoint and the active segment's index. Otherwise it verifies everything
// behind the checkpoint and truncates a torn tail. Damage that cannot be a torn
// tail is reported in Recovery.Damage; if it makes the end of the log uncertain,
// Open returns it as an error and changes nothing.
//
// Two Logs must not be open on one directory.
func Open(cfg Config) (*Log, Recovery, error) {
	begin := time.Now()
	o := opening{l: &Log{cfg: cfg.withDefaults()}}
	o.l.tail.budget = o.l.cfg.TailBytes
	o.l.segments.Store(new([]*segment))
	o.l.epochs.Store(new([]EpochEntry))
	o.l.mark.Store(&noMark)
	o.l.producers, o.l.snapshots = producers{}, newSnapshots()
	if err := o.openLog(); err != nil {
		o.l.discard()
		return nil, o.Recovery, o.wrapDisk(err)
	}
	o.Segments = len(o.l.list())
	o.Duration = time.Since(begin)
	return o.l, o.Recovery, nil
}

// opening is a running Open.
type opening struct {
	Recovery
	l        *Log
	segments []*segment
	indexes  map[string]int64 // the sizes of the other files, by name
	removed  bool             // files that a crash had left were removed: sync the directory
	last     *checkpoint      // the newest valid one, or nil
	swapped  *manifest        // of an interrupted swap that is finished but for its checkpoint, or nil
	epochs   []EpochEntry     // from the file, then of verified batches, too

	abortedLost bool // the last segment's index of aborted transactions must be collected again

	// producersFrom is the end of the batches that the producers cover already:
	// verify folds only batches from here on, and none twice.
	producersFrom int64
}

// wrapDisk wraps an error of the file system; one that is a fault already stays.
func (o *opening) wrapDisk(err error) error {
	if fault.CodeOf(err) != fault.Unknown {
		return err
	}
	return o.l.errorAt(fault.OfDisk(err), -1).Detailf("opening %s", o.l.cfg.Dir).Because(err)
}

func (o *opening) openLog() error {
	cfg := &o.l.cfg
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	var err error
	if o.last, err = readCheckpoint(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if err := o.listFiles(); err != nil {
		return err
	}
	if len(o.segments) == 0 {
		return o.openEmpty()
	}
	if err := o.checkLast(); err != nil {
		return err
	}
	if err := o.loadEpochs(); err != nil {
		return err
	}
	if err := o.loadProducers(); err != nil {
		return err
	}
	if err := o.checkSealed(); err != nil {
		return err
	}
	return o.openActive()
}

// makeDir creates the partition's directory and missing parents, durably: a parent
// that is not synced could lose the directory, and the log in it, after a crash.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}

// listFiles finds the segments and finishes what a crash interrupted: a swap, and
// the deletion of segments before the log's start. It leaves files alone whose
// names are not a log's.
func (o *opening) listFiles() error {
	cfg := &o.l.cfg
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		return err
	}
	if err := o.finishSwap(entries); err != nil {
		return err
	}
	if o.swapped != nil {
		if entries, err = cfg.FS.ReadDir(cfg.Dir); err != nil {
			return err
		}
	}
	o.indexes = make(map[string]int64)
	for _, e := range entries {
		if e.Dir {
			continue
		}
		if base, ok := parseName(e.Name, logSuffix); ok {
			o.segments = append(o.segments, o.l.newSegment(base, e.Size))
			continue
		}
		if e.Name == journalName && !cfg.repairing {
			return o.l.unfinished()
		}
		o.indexes[e.Name] = e.Size
	}
	if err := o.removeBeforeStart(); err != nil {
		return err
	}
	if n := len(o.segments); n > 0 {
		o.segments[n-1].writable = true
	}
	if err := o.removeOrphans(); err != nil || !o.removed {
		return err
	}
	return cfg.FS.SyncDir(cfg.Dir)
}

// removeBeforeStart removes the segments that lie wholly before the log's start.
// First it syncs the checkpoint: what was read may be in the page cache alone, and
// a power loss could bring an older start back after the segments are gone.
func (o *opening) removeBeforeStart() error {
	cfg := &o.l.cfg
	for synced := false; o.last != nil && len(o.segments) > 1 && o.segments[1].base <= min(o.last.start, o.last.segment); synced = true {
		if !synced {
			if err := syncCheckpoint(cfg.FS, cfg.Dir); err != nil {
				return err
			}
		}
		if err := o.segments[0].remove(); err != nil {
			return err
		}
		o.segments, o.removed = o.segments[1:], true
	}
	return nil
}

// removeOrphans removes index files before the first segment: the process ended
// after it had deleted their log.
func (o *opening) removeOrphans() error {
	cfg := &o.l.cfg
	for name := range o.indexes {
		for _, suffix := range []string{indexSuffix, timeIndexSuffix, txnIndexSuffix} {
			base, ok := parseName(name, suffix)
			if !ok || len(o.segments) == 0 || base >= o.segments[0].base {
				continue
			}
			if err := cfg.FS.Remove(filepath.Join(cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			o.removed = true
		}
	}
	return nil
}

// openEmpty opens a log without segments. It is a new one, unless a checkpoint
// shows that there were some.
func (o *opening) openEmpty() error {
	if c := o.last; c != nil {
		return o.missing(c)
	}
	for _, offset := range []*atomic.Int64{&o.l.start, &o.l.synced, &o.l.end} {
		offset.Store(o.l.cfg.Begin)
	}
	o.Clean = true
	return o.endsEarly(o.l.newSegment(o.l.cfg.Begin, 0), 0, o.l.cfg.Begin, "no file")
}

// checkLast compares the checkpoint with the segment that was the active one: the
// file must exist and have all its synced bytes. Otherwise the end of the log is
// unknown, and appends could reuse offsets that were acknowledged.
func (o *opening) checkLast() error {
	c := o.last
	if c == nil {
		return nil
	}
	for _, s := range o.segments {
		if s.base != c.segment {
			continue
		}
		if size := s.size.Load(); size < c.pos {
			return o.l.corrupt(s, -1, size, fmt.Sprintf("%d bytes that were durable", c.pos), fmt.Sprintf("%d", size))
		}
		return nil
	}
	return o.missing(c)
}

// checkSealed checks every segment but the last. Rolling made each of them durable
// before its successor existed, so a flaw is damage, never a torn tail.
//
// Opening a log must not take time in proportion to its size. So segments before
// the checkpoint are only read if the digest of their names and sizes differs from
// the checkpoint's, which shows that one is missing, added, shortened or renamed.
// Damage within a file that keeps its size is left to the readers' checksums.
//
// A crash during a swap leaves a checkpoint from before it: the digest is compared
// a second time with the swap applied.
func (o *opening) checkSealed() error {
	sealed := o.segments[:len(o.segments)-1]
	var n int
	var sum uint64
	for _, s := range sealed {
		if err := s.describeAborted(o.indexes[s.abortedName()]); err != nil {
			return err
		}
		if o.last != nil && s.base < o.last.segment {
			n, sum = n+1, sum+s.digest()
		}
	}
	summed := func() bool { return o.last != nil && n == o.last.sealed && sum == o.last.digest }
	if o.swapped != nil && o.last != nil && !summed() {
		o.swapped.apply(o.last)
	}
	same := summed()
	o.abortedLost = !same
	for i, s := range sealed {
		next := o.segments[i+1].base
		var err error
		switch {
		case o.last != nil && s.base == o.last.segment:
			err = o.checkSegment(s, o.last.pos, o.last.offset, next)
		case same && s.base < o.last.segment:
			err = o.checkSegment(s, s.size.Load(), next, next)
		default:
			err = o.checkSegment(s, 0, s.base, next)
		}
		if err != nil {
			return err
		}
	}
	if o.last != nil && !same {
		o.reportStart()
		o.Replaced = len(o.Damage) == 0
	}
	if len(o.Damage) > 0 && o.last != nil {
		// Keep the digest of what there should be, so that the next Open checks again.
		o.l.sealed += o.last.sealed - n
		o.l.digest += o.last.digest - sum
	}
	return nil
}

// checkSegment verifies a sealed segment from position from, where the batch of
// offset begins, to its end, where the next segment begins with the offset next.
// It rebuilds index files that are missing or have an impossible size.
func (o *opening) checkSegment(s *segment, from, offset, next int64) error {
	size := s.size.Load()
	o.l.digest += s.digest()
	o.l.sealed++
	if from == size && offset == next && o.indexFiles(s) {
		return nil
	}
	f, err := s.open()
	if err != nil {
		return err
	}
	defer f.release()
	sc := newScanner(f, from, size, offset, true)
	reason := o.verify(sc, s, nil)
	if sc.err != nil {
		return sc.err
	}
	if reason == "" && sc.offset != next {
		reason = fmt.Sprintf("the end of the file, and the next file begins with offset %d", next)
	}
	if reason != "" {
		o.Damage = append(o.Damage, o.l.corrupt(s, sc.offset, sc.pos, fmt.Sprintf("the batch of offset %d", sc.offset), reason))
	}
	if !o.indexFiles(s) && s.rebuild(f, size, int64(o.l.cfg.IndexInterval)) {
		o.Indexes++
	}
	return nil
}

// indexFiles reports whether a segment's index files exist and have a possible
// size. Their entries are compared with the log when they are used.
func (o *opening) indexFiles(s *segment) bool {
	offsets, ok := o.indexes[filepath.Base(s.indexPath())]
	times, ok2 := o.indexes[filepath.Base(s.timeIndexPath())]
	return ok && ok2 && offsets%offsetEntryLen == 0 && times%timeEntryLen == 0
}

// reportStart reports missing segments that the checkpoint counts. If the others
// follow each other without a gap, the missing ones are the first.
func (o *opening) reportStart() {
	first := o.segments[0]
	if len(o.Damage) == 0 && first.base > o.last.start {
		s := o.l.newSegment(o.last.start, 0)
		o.Damage = append(o.Damage, o.l.corrupt(s, o.last.start, 0, fmt.Sprintf("the offsets %d to %d", o.last.start, first.base-1), "no file"))
	}
}

// verify reads the batches from sc's position on and adds them to the epochs, the
// producers and, unless nil, the index. It stops at the first batch that is
// damaged or misplaced, and returns why. The epoch is checked here because it lies
// outside the checksum.
func (o *opening) verify(sc *scanner, s *segment, index *liveIndex) (reason string) {
	for sc.next() {
		h := &sc.header
		if latest := latestEpoch(o.epochs); h.LeaderEpoch < latest && !o.ofEpoch(h) {
			return fmt.Sprintf("a batch of leader epoch %d after one of %d", h.LeaderEpoch, latest)
		}
		if reason := outran(sc, sc.file, o.epochs); reason != "" {
			return reason
		}
		o.epochs = withEpoch(o.epochs, h.LeaderEpoch, h.BaseOffset)
		if index != nil {
			index.add(s.base, sc.pos, h, int64(o.l.cfg.IndexInterval), o.l.now(h.MaxTimestamp))
		}
		if h.BaseOffset >= o.producersFrom {
			o.l.fold(h, sc.control(), index)
		}
		o.Batches++
		o.Bytes += int64(h.Size())
	}
	return sc.bad
}

// ofEpoch reports whether a batch may have an epoch before the latest: the epoch
// of its offset according to the entries or, before the first entry, any up to it.
func (o *opening) ofEpoch(h *record.BatchHeader) bool {
	if epoch := epochAt(o.epochs, h.BaseOffset); epoch != record.NoLeaderEpoch {
		return h.LeaderEpoch == epoch
	}
	return len(o.epochs) > 0 && h.LeaderEpoch <= o.epochs[0].Epoch
}

// openActive opens the last segment for appending.
func (o *opening) openActive() error {
	l := o.l
	s := o.segments[len(o.segments)-1]
	size := s.size.Load()
	known := o.last
	if known == nil || known.segment != s.base {
		known = &checkpoint{segment: s.base, offset: s.base, firstTimestamp: record.NoTimestamp, maxTimestamp: record.NoTimestamp}
	}
	o.Clean = known == o.last && known.clean && known.pos == size && len(o.Damage) == 0
	index, err := o.loadIndex(s, known)
	if err != nil {
		return err
	}
	end := known.offset
	if !o.Clean { // even with nothing to verify: the last truncation may not be durable
		end, err = o.recover(s, known, index)
	} else {
		err = o.endsEarly(s, size, end, "")
	}
	if err != nil {
		return err
	}
	l.start.Store(o.segments[0].base)
	if o.last != nil {
		l.start.Store(o.last.start)
		l.checkpoint = *o.last
		l.mark.Store(&mark{min(o.last.mark.clean, end), o.last.mark.horizon})
	}
	if o.abortedLost {
		if err := o.rebuildAborted(index); err != nil {
			return err
		}
	}
	l.transactions.reset(l.producers, end)
	l.end.Store(end)
	l.synced.Store(end)
	o.epochs = epochsFrom(epochsBelow(o.epochs, end), l.start.Load())
	l.epochs.Store(&o.epochs)
	s.live.Store(index)
	l.active, l.index, l.syncedPos, l.filled = s, index, s.size.Load(), s.size.Load()
	l.segments.Store(&o.segments)
	if o.Clean && o.swapped == nil {
		return nil
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return err
	}
	l.epochsDirty = true
	err = l.writeCheckpoint(o.Clean)
	if fault.OfDisk(err) == fault.DiskFull && o.swapped == nil {
		// The old checkpoint is a lower bound still. Appends and Syncs write the next
		// one; until then, opening verifies the same batches again.
		return nil
	}
	if err != nil || o.swapped == nil {
		return err
	}
	return removeManifest(l.cfg.FS, l.cfg.Dir)
}

// loadIndex returns the active segment's index up to the checkpoint, from its
// files or, if they are wrong, from the log.
func (o *opening) loadIndex(s *segment, known *checkpoint) (*liveIndex, error) {
	if known.pos == 0 {
		index := newLiveIndex()
		return index, o.loadAborted(s, known, index)
	}
	index, err := loadLiveIndex(s, known, o.l.now(math.MaxInt64), o.l.cfg.SegmentAge)
	if err != nil {
		return index, err
	}
	if index != nil {
		return index, o.loadAborted(s, known, index)
	}
	o.Indexes++
	o.abortedLost = true
	index = newLiveIndex()
	err = o.scanHeaders(s, func(h *record.BatchHeader, pos int64, _ []byte) {
		if pos < known.pos {
			index.add(s.base, pos, h, int64(o.l.cfg.IndexInterval), o.l.now(h.MaxTimestamp))
		}
	})
	return index, err
}

// recover verifies the last segment behind the checkpoint, truncates a torn tail,
// and makes the rest durable. It returns the end offset of the log.
//
// Bytes behind the checkpoint were never acknowledged as durable, so a flaw there
// is a torn append and everything from it on goes, with two exceptions: a batch
// with a single damaged header field is restored if its value is certain; and
// without a checkpoint, a sound batch behind the flaw proves damage, which Open
// must not truncate.
func (o *opening) recover(s *segment, known *checkpoint, index *liveIndex) (int64, error) {
	f, err := s.open()
	if err != nil {
		return 0, err
	}
	defer f.release()
	size := s.size.Load()
	sc := newScanner(f, known.pos, size, known.offset, true)
	reason := o.verify(sc, s, index)
	for reason != "" && sc.err == nil && o.last != nil {
		restored, err := o.restoreHeader(f, s, sc, reason)
		if err != nil {
			return 0, err
		}
		if !restored {
			break
		}
		sc = newScanner(f, sc.pos, size, sc.offset, true)
		reason = o.verify(sc, s, index)
	}
	end := sc.offset
	if sc.err != nil {
		return 0, sc.err
	}
	if err := o.endsEarly(s, sc.pos, end, reason); err != nil {
		return 0, err
	}
	if sc.pos < size {
		content, err := contentEnd(f, sc.pos, size)
		if err != nil {
			return 0, err
		}
		if content > sc.pos { // else there are only zeros, written ahead of appends
			if o.last == nil {
				// Nothing shows how much was durable: a tail is only torn if no batch follows.
				if err := o.l.noOldMessage(s, f, sc.pos, end); err != nil {
					return 0, err
				}
				d, err := o.examiner(f, s, size, end).diagnose(sc.pos, end)
				if err != nil {
					return 0, err
				}
				if d.known() {
					return 0, o.l.corrupt(s, end, sc.pos, fmt.Sprintf("the batch of offset %d", end), d.explain(reason))
				}
			}
			o.Cut, o.Reason = content-sc.pos, reason
		}
		if err := f.Truncate(sc.pos); err != nil {
			return 0, err
		}
		s.size.Store(sc.pos)
	}
	return end, f.Sync()
}
