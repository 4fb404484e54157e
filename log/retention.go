package log

import (
	"math"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Retention says which segments may go from the log's beginning. Times are in
// milliseconds.
type Retention struct {
	Now   int64         // the time
	Limit int64         // only segments that end at or before this offset go; usually the high watermark
	Age   time.Duration // a segment goes when its latest record is older; negative for never
	Ripe  int64         // unless 0, only one that ends at or before this offset
	Bytes int64         // the oldest go while the others still have so many bytes; negative for never
}

// Expired returns the offset at which the log should start, for SetStart: at the
// beginning of a segment or, where nothing is left, at the log's end. next is when
// the next segment comes of age; math.MaxInt64 when none does.
//
// A segment's age is that of its latest record, whatever the others say. One with a
// record whose time is not yet is as old as the records that were written next. One
// whose records have no times, or of which compaction left no record, goes with the
// next one whose time has come.
func (l *Log) Expired(r Retention) (start, next int64) {
	segments, end := l.list(), l.end.Load()
	var left int64 // bytes of the segments from the i-th on
	for _, s := range segments {
		left += s.size.Load()
	}
	n := 0
	next = math.MaxInt64
	ages := ages{log: l, segments: segments, now: r.Now}
	for i, s := range segments {
		if nextBase(segments, i, end) > r.Limit || s.size.Load() == 0 {
			break
		}
		left -= s.size.Load()
		if r.Bytes >= 0 && left >= r.Bytes {
			n = i + 1
			continue
		}
		if r.Age < 0 || r.Ripe > 0 && nextBase(segments, i, end) > r.Ripe {
			break
		}
		latest, ok := ages.latest(i)
		if !ok {
			continue
		}
		if old := after(latest+1, r.Age); r.Now < old {
			next = min(next, old)
			if latest > r.Now {
				continue
			}
			break
		}
		n, next = i+1, math.MaxInt64
	}
	if n == 0 {
		return l.start.Load(), next
	}
	return max(l.start.Load(), nextBase(segments, n-1, end)), next
}

// ages says how old segments are at a time, whatever their records say of theirs.
type ages struct {
	log      *Log
	segments []*segment
	now      int64

	ahead int   // of the segments before the one of this index, some are ahead of the clock,
	bound int64 // and what they have was written before this time
}

// latest returns the time before which all of the i-th segment was written, as far
// as can be told: its latest timestamp or, if that is not yet, the one of the next
// segment that has come; in the end, when the newest record was written. ok is false
// when nobody knows.
func (a *ages) latest(i int) (timestamp int64, ok bool) {
	t, ok := a.log.latest(a.segments[i])
	if !ok || t <= a.now {
		return t, ok
	}
	if i < a.ahead {
		return min(t, a.bound), true
	}
	for j, s := range a.segments[i+1:] {
		if t, ok := a.log.latest(s); ok && t <= a.now {
			a.ahead, a.bound = i+1+j, t
			return t, true
		}
	}
	a.ahead, a.bound = len(a.segments), math.MaxInt64
	for j := len(a.segments) - 1; j >= i; j-- {
		if x := a.segments[j].live.Load(); x != nil && x.written.Load() != record.NoTimestamp && x.written.Load() <= a.now {
			a.bound = x.written.Load()
			break
		}
	}
	return min(t, a.bound), true
}

// after returns the time that comes so long after another one, or math.MaxInt64 if
// that is beyond all times.
func after(ms int64, d time.Duration) int64 {
	if later := ms + d.Milliseconds(); later >= ms {
		return later
	}
	return math.MaxInt64
}

// Roll seals the active segment, unless there is nothing in it, so that compaction
// may look at it. It is the writer's.
func (l *Log) Roll() error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.active == nil || l.active.size.Load() == 0 {
		return nil
	}
	return l.roll()
}

// Peek returns the latest timestamp of the first segment of a log that nobody has
// open, in milliseconds, from what lies beside it: that segment is the first to be
// Expired. ok is false for a log without segments. It is cheap, and no more than a
// hint; where nothing is written it is record.NoTimestamp.
func Peek(cfg Config) (latest int64, ok bool, err error) {
	l := &Log{cfg: cfg}
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		return 0, false, l.refuse(err)
	}
	first, n := int64(math.MaxInt64), 0
	for _, e := range entries {
		if base, ok := parseName(e.Name, logSuffix); ok && !e.Dir {
			first, n = min(first, base), n+1
		}
	}
	if n == 0 {
		return 0, false, nil
	}
	if n == 1 {
		c, err := readCheckpoint(cfg.FS, cfg.Dir)
		if err != nil {
			return 0, false, l.refuse(err)
		}
		if c != nil && c.segment == first {
			return c.maxTimestamp, true, nil
		}
		return record.NoTimestamp, true, nil
	}
	s := l.newSegment(first, 0)
	e, ok, err := lastTime(cfg.FS, s.timeIndexPath(), math.MaxInt64)
	if err != nil || !ok {
		return record.NoTimestamp, true, nil
	}
	return e.timestamp, true, nil
}
