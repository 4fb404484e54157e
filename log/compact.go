package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// DefaultKeyBytes is the memory for keys of a Compaction that names none: 16 MiB,
// which is room for half a million keys.
const DefaultKeyBytes = 16 << 20

// maxGroup bounds how many segments a single one replaces, and so the size of the
// manifest of a swap.
const maxGroup = 1 << 16

// Compaction says what Compact may do. Times are in milliseconds.
type Compaction struct {
	Now             int64         // the time
	Limit           int64         // records from this offset on stay as they are; at most the last stable offset
	MinLag          time.Duration // so do segments with a record that is younger, and those behind them; negative: all
	DeleteRetention time.Duration // how long a tombstone stays once compaction has met it, and a marker once its transaction is gone; negative: for ever
	SegmentBytes    int64         // neighbours that are no longer together become one segment. Default 1 GiB
	KeyBytes        int           // memory for the keys of one pass. Default 16 MiB

	// Batchwise keeps the number of batches: each of which no record stays becomes an empty
	// batch of its own, and not one with its neighbors. Raft counts them.
	Batchwise bool

	// Keep, unless nil, reports whether a batch of an idempotent producer must
	// stay as an empty batch when all its records go, or a marker when its transaction's are gone.
	Keep func(h *record.BatchHeader) bool
}

// CompactStats says what Compact did.
type CompactStats struct {
	Records  int64 // removed
	Bytes    int64 // given back, without indexes
	Segments int   // fewer than before
	More     bool  // the keys of all dirty records did not fit: another pass finds more
}

// DirtyRange says what Compact would look at.
type DirtyRange struct {
	From, To     int64 // the offsets that were never cleaned and may be
	Clean, Dirty int64 // bytes of the segments before From, and of the others up to To

	// Earliest is the time of the first batch from From on that has one that has
	// come, whether or not it may be cleaned yet; where none has, the time at which
	// the newest was written. math.MaxInt64 when there is none.
	Earliest int64

	// Horizon is when the first tombstone or marker before From may go, and Held when the
	// first segment may be cleaned that is too young; math.MaxInt64 for never.
	Horizon, Held int64
}

// DirtyRange returns what there is to compact. It may be called by any goroutine.
func (l *Log) DirtyRange(c Compaction) (DirtyRange, error) {
	segments, end, held := l.cleanable(c)
	d := DirtyRange{From: l.dirtyFrom(), Horizon: math.MaxInt64, Held: held}
	d.To = max(d.From, end)
	if len(segments) > 0 && end >= d.From { // otherwise Compact would find nothing, tombstones neither
		d.Horizon = l.mark.Load().horizon
	}
	for i, s := range segments {
		if nextBase(segments, i, end) <= d.From {
			d.Clean += s.size.Load()
		} else {
			d.Dirty += s.size.Load()
		}
	}
	var err error
	d.Earliest, err = l.firstTime(d.From, c.Now)
	return d, err
}

// dirtyFrom returns the first offset in the log that was never compacted.
func (l *Log) dirtyFrom() int64 { return max(l.mark.Load().clean, l.start.Load()) }

// cleanable returns the segments at the log's beginning that may be compacted, and
// the offset at which they end. These are sealed segments below the limit, up to
// the first dirty one with a record younger than MinLag. held is when that one is
// old enough.
func (l *Log) cleanable(c Compaction) (segments []*segment, end, held int64) {
	all, dirty := l.list(), l.dirtyFrom()
	n := 0
	held = math.MaxInt64
	ages := ages{log: l, segments: all, now: c.Now}
	for ; n < len(all)-1 && all[n+1].base <= c.Limit; n++ {
		if c.MinLag != 0 && all[n+1].base > dirty {
			if c.MinLag < 0 {
				break
			}
			latest, ok := ages.latest(n)
			if old := after(latest, c.MinLag); ok && old > c.Now {
				held = old
				break
			}
		}
		end = all[n+1].base
	}
	return all[:n], end, held
}

// nextBase returns the offset at which the i-th of segments ends. The last one ends
// at end.
func nextBase(segments []*segment, i int, end int64) int64 {
	if i+1 < len(segments) {
		return segments[i+1].base
	}
	return end
}

// latestOf returns the latest timestamp of a segment; ok is false if it is unknown,
// or no record has one.
func (l *Log) latestOf(s *segment) (timestamp int64, ok bool) {
	t := s.maxTimestamp.Load()
	if x := s.live.Load(); x != nil {
		t = x.maxTimestamp.Load()
	} else if t == unknownTimestamp {
		wasOpen := s.handle.Load() != nil
		h, err := s.open()
		if err != nil {
			return 0, false
		}
		t = l.latestTime(s, h, s.size.Load())
		h.release()
		if !wasOpen {
			s.park() // a sweep over many logs must not leave their files open
		}
	}
	return t, t != math.MaxInt64 && t != record.NoTimestamp
}

// firstTime returns the timestamp of the first batch from an offset on whose
// timestamp is not ahead of the clock, or math.MaxInt64. A batch that is ahead was
// written before the next one that isn't, whose timestamp therefore bounds it.
func (l *Log) firstTime(from, now int64) (int64, error) {
	segments := l.list()
	ages := ages{log: l, segments: segments, now: now}
	bound := int64(math.MaxInt64)
	for i, s := range segments {
		if nextBase(segments, i, l.end.Load()) <= from {
			continue
		}
		t, ahead, err := l.firstTimeIn(s, from, now)
		if t != math.MaxInt64 || err != nil && !errors.Is(err, errGone) {
			return min(t, bound), err
		}
		if latest, ok := ages.latest(i); ahead && ok {
			bound = min(bound, latest)
		}
	}
	return bound, nil
}

// firstTimeIn is firstTime for one segment. ahead reports timestamps that are ahead
// of the clock.
func (l *Log) firstTimeIn(s *segment, from, now int64) (first int64, ahead bool, err error) {
	h, err := s.open()
	if err != nil {
		return math.MaxInt64, false, l.unreadable(s, from, err)
	}
	defer h.release()
	size := s.size.Load()
	pos, base := int64(0), s.base
	if from > s.base {
		if pos, base, err = l.locate(s, h, from, size); err != nil {
			return math.MaxInt64, false, err
		}
	}
	sc := newScanner(h, pos, size, base, false)
	for sc.next() {
		switch t := sc.header.MaxTimestamp; {
		case t > now:
			ahead = true
		case t != record.NoTimestamp:
			return t, ahead, nil
		}
	}
	if sc.err != nil {
		return math.MaxInt64, ahead, l.unreadable(s, from, sc.err)
	}
	return math.MaxInt64, ahead, nil
}

// Compact removes records that a later one with the same key makes obsolete,
// those of aborted transactions, tombstones past their delete horizon, records without
// a key, and those before StartOffset, from all segments that may be compacted. It removes
// the markers of transactions of which nothing is left, past their delete horizon (KIP-534). Records keep their
// offsets, and the last record of a key stays unless it is a tombstone.
//
// Compact may run on any goroutine, beside readers and the writer, but only once
// at a time. For each group of segments it writes a replacement, syncs it, and calls
// swap, which must call Log.Swap as the log's writer and return its error. It
// returns early, without an error, when a segment that it reads is deleted.
//
// When ctx ends, Compact soon returns its error. A damaged segment ends it with a
// *fault.Corruption, a full disk with fault.DiskFull. In each case the swaps that
// were made stay, and nothing else has changed.
func (l *Log) Compact(ctx context.Context, c Compaction, swap func(*Replacement) error) (done CompactStats, err error) {
	if l.broken.Load() { // Open may have to finish a swap: don't touch its files
		return done, l.errorAt(fault.Storage, -1).Detailf("the log accepts no more appends, and is not compacted")
	}
	segments, end, _ := l.cleanable(c)
	if end < l.dirtyFrom() || len(segments) == 0 {
		return done, nil
	}
	w := cleaning{ctx: ctx, log: l, epochs: l.Epochs(), batchwise: c.Batchwise}
	if err := w.collectKeys(c, segments, end); err != nil {
		return done, gone(err)
	}
	for i := 0; i < len(segments) && segments[i].base < w.filter.end; {
		n := group(segments[i:], end, c.SegmentBytes)
		r, err := w.clean(segments[i:i+n], nextBase(segments, i+n-1, end))
		if err == nil && r != nil {
			err = swap(r)
		}
		if err != nil {
			return done, gone(err)
		}
		if r != nil {
			done.Records += w.filter.removed
			done.Bytes += r.freed
			done.Segments += n - 1
		}
		i += n
	}
	done.More = w.filter.end < end
	return done, gone(swap(&Replacement{mark: &mark{w.filter.end, w.filter.next}}))
}

// gone turns the error for segments that were deleted meanwhile into nil.
func gone(err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// group returns how many of the segments become one: as many as together have at
// most limit bytes, and offsets within the 32 bits of an index entry. Without
// groups, compaction would leave ever more, ever smaller segments. The last segment
// ends at end.
func group(segments []*segment, end, limit int64) int {
	if limit <= 0 {
		limit = DefaultSegmentBytes
	}
	n, size := 1, segments[0].size.Load()
	for ; n < min(len(segments), maxGroup); n++ {
		size += segments[n].size.Load()
		if size > limit || nextBase(segments, n, end)-1-segments[0].base > math.MaxInt32 {
			break
		}
	}
	return n
}

// cleaning is a running Compact.
type cleaning struct {
	ctx    context.Context
	log    *Log
	filter filter
	epochs []EpochEntry
	buf    []byte // of a batch

	batchwise bool
}

// collectKeys reads the keys of the dirty records, from the first on, until they no
// longer fit into memory: this pass then ends at filter.end.
func (w *cleaning) collectKeys(c Compaction, segments []*segment, end int64) error {
	if c.KeyBytes <= 0 {
		c.KeyBytes = DefaultKeyBytes
	}
	from := min(w.log.dirtyFrom(), end)
	w.filter = filter{
		keys: newKeyMap(c.KeyBytes, end-from), codec: w.log.cfg.Codec, keep: c.Keep, left: map[int64]bool{}, marked: map[int64]bool{},
		start: w.log.start.Load(), from: from, end: end, now: c.Now, horizon: math.MaxInt64, next: math.MaxInt64,
	}
	if c.DeleteRetention >= 0 {
		w.filter.horizon = c.Now + c.DeleteRetention.Milliseconds()
	}
	for i, s := range segments {
		next := nextBase(segments, i, end)
		if next <= from {
			continue
		}
		if err := w.batches(s, from, next, w.filter.learn); err != nil {
			return err
		}
		if w.filter.end < end {
			return nil
		}
	}
	return nil
}

// batches calls fn for each batch of a segment, which ends at offset next, beginning
// with the batch that holds from. It stops when fn returns false. It verifies all
// that a reader would: compaction must not copy damage under a fresh checksum.
func (w *cleaning) batches(s *segment, from, next int64, fn func(b record.Batch) (more bool, err error)) error {
	l := w.log
	h, err := s.open()
	if err != nil {
		return l.unreadable(s, from, err)
	}
	defer h.release()
	if w.filter.aborted, err = l.Aborted(s.base, next); err != nil {
		return err
	}
	size := s.size.Load()
	pos, base := int64(0), s.base
	if from > s.base {
		if pos, base, err = l.locate(s, h, from, size); err != nil {
			return err
		}
	}
	sc := newScanner(h, pos, size, base, true)
	for sc.next() {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if epoch := epochAt(w.epochs, sc.offset); epoch != sc.header.LeaderEpoch && epoch != record.NoLeaderEpoch {
			sc.flaw("one of leader epoch %d instead of %d", sc.header.LeaderEpoch, epoch)
			break
		}
		b, err := sc.batch(&w.buf)
		if err != nil {
			return l.unreadable(s, sc.offset, err)
		}
		more, err := fn(b)
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
	if sc.err != nil {
		return l.unreadable(s, sc.offset, sc.err)
	}
	if sc.bad == "" && sc.offset != next {
		sc.flaw("the end of the file, and the next file begins with offset %d", next)
	}
	if sc.bad != "" {
		return l.corrupt(s, sc.offset, sc.pos, fmt.Sprintf("the batch of offset %d", sc.offset), sc.bad)
	}
	return nil
}

// clean writes the replacement of a group of segments, which ends at offset next.
// It returns nil if nothing would change.
func (w *cleaning) clean(group []*segment, next int64) (*Replacement, error) {
	clear(w.filter.marked)
	if len(group) == 1 {
		left := maps.Clone(w.filter.left)
		if changes, err := w.changes(group[0], next); err != nil || !changes {
			return nil, err
		}
		w.filter.left = left // changes may have ended early
	}
	w.filter.removed = 0
	out, err := w.log.newCleaned(group)
	if err == nil {
		out.batchwise = w.batchwise
		for i, s := range group {
			err = w.batches(s, s.base, nextBase(group, i, next), func(b record.Batch) (bool, error) {
				v, left, err := w.filter.judge(b)
				if err != nil {
					return false, err
				}
				return true, out.add(v, left)
			})
			if err != nil {
				break
			}
		}
	}
	if err == nil {
		err = out.indexAborted(group, &w.filter)
	}
	if err == nil {
		err = out.finish()
	}
	// Compressing again may have made it longer than an index can address.
	if err != nil || out.pos > math.MaxInt32 {
		out.remove()
		return nil, err
	}
	return out.replacement(group), nil
}

// changes reports whether anything in a segment would change. Reading it twice is
// cheaper than writing a copy that is the same.
func (w *cleaning) changes(s *segment, next int64) (changes bool, err error) {
	wasEmpty := false
	err = w.batches(s, s.base, next, func(b record.Batch) (bool, error) {
		v, _, err := w.filter.judge(b)
		if err != nil {
			return false, err
		}
		// An empty batch stays an empty batch, unless it merges with its neighbor. One that was
		// kept for its producer would be an open transaction without its marker.
		isEmpty := v == emptied && b.Count == 0 && b.ProducerID == record.NoProducerID
		changes = v != same && (!isEmpty || wasEmpty && !w.batchwise)
		wasEmpty = isEmpty
		return !changes, nil
	})
	return changes, err
}
