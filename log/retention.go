package log

import (
	"math"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Retention says which segments retention may delete from the log's beginning.
// Times are in milliseconds.
type Retention struct {
	Now   int64         // the time
	Limit int64         // only segments that end at or before this offset; usually the high watermark
	Age   time.Duration // retention.ms: those whose latest record is older; negative for never
	Ripe  int64         // unless 0, Age applies only to those that end at or before this offset
	Bytes int64         // retention.bytes: the oldest while the others still have this many; negative for never
}

// Expired returns the offset at which the log should start, for SetStart: the
// beginning of a segment or, if none is left, the log's end. next is when the next
// segment expires; math.MaxInt64 for never.
//
// A segment is as old as its latest record. A segment with a timestamp in the future
// is as old as the records that were written next, or one wrong clock would keep the
// log for ever. A segment without timestamps, or without records, expires with the
// next one.
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

// ages estimates how old segments are, also if timestamps lie in the future.
type ages struct {
	log      *Log
	segments []*segment
	now      int64

	// What latest found for a segment ahead of the clock, so that a run of them costs
	// one search: all segments before the index ahead were written before bound.
	ahead int
	bound int64
}

// latest returns a time before which all of the i-th segment was written: its latest
// timestamp or, if that is in the future, that of the next segment whose latest
// timestamp isn't; or else the time at which the newest record was written. ok is
// false if it is unknown.
func (a *ages) latest(i int) (timestamp int64, ok bool) {
	t, ok := a.log.latestOf(a.segments[i])
	if !ok || t <= a.now {
		return t, ok
	}
	if i < a.ahead {
		return min(t, a.bound), true
	}
	for j, s := range a.segments[i+1:] {
		if t, ok := a.log.latestOf(s); ok && t <= a.now {
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

// after returns ms + d, or math.MaxInt64 if that overflows.
func after(ms int64, d time.Duration) int64 {
	if later := ms + d.Milliseconds(); later >= ms {
		return later
	}
	return math.MaxInt64
}

// Roll seals the active segment, unless it is empty, so that it can be compacted.
// Only the writer may call it.
func (l *Log) Roll() error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.active == nil || l.active.size.Load() == 0 {
		return nil
	}
	return l.roll()
}

// Peek returns the latest timestamp of the first segment, in milliseconds, of a log
// that is not open. It reads only the time index or the checkpoint. That segment is
// the first to expire, so Peek shows cheaply whether to open the log for retention.
// It is a hint: record.NoTimestamp if it finds none. ok is false for a log without
// segments.
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
