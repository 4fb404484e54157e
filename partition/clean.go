package partition

import (
	"context"
	"math"
	"time"

	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// CleanPolicy is what a topic's configuration says about old records. Negative
// durations and sizes stand for no limit.
type CleanPolicy struct {
	Delete          bool          // whole segments go …
	Retention       time.Duration // when their latest record is older
	RetentionBytes  int64         // or while the others have so many bytes still
	Ripe            int64         // unless 0, only those go by their age that end at or before this offset
	Compact         bool          // of each key, only the last record stays
	MinLag          time.Duration // but records stay for so long
	MaxLag          time.Duration // and are looked at after so long, however few they are
	DeleteRetention time.Duration // how long tombstones stay
	DirtyRatio      float64       // how much of the log must be new before it is compacted
	SegmentBytes    int64         // up to where segments that became small are joined
}

// CleanStats says what Clean did.
type CleanStats struct {
	Segments int   // fewer than before
	Bytes    int64 // given back
	Records  int64 // removed by compaction
}

// cleaning is a Clean at work.
type cleaning struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

// Clean deletes and compacts what is due now, as c says, and returns what it did
// and when something will be due next; the zero time when nothing is in sight.
// Readers and appends go on meanwhile; a second Clean waits for the first. What is
// not below the high watermark is left alone.
//
// It ends early, with an error, when ctx ends or the partition is closed. What it
// cannot read or write is an error too, and stays as it is.
func (p *Partition) Clean(ctx context.Context, now time.Time, c CleanPolicy) (did CleanStats, next time.Time, err error) {
	working, end, err := p.beginClean(ctx)
	if err != nil {
		return did, next, err
	}
	defer end()
	due := int64(math.MaxInt64)
	if c.Delete {
		due, err = p.expire(&did, now, c)
	}
	if c.Compact && err == nil {
		var again int64
		again, err = p.compact(working, &did, now, c)
		due = min(due, again)
	}
	if err != nil {
		if closed := p.gone(); closed != nil && ctx.Err() == nil {
			err = closed // whatever that came out as
		}
		return did, next, err
	}
	if due != math.MaxInt64 {
		next = time.UnixMilli(due)
	}
	return did, next, nil
}

// beginClean waits until nobody else cleans. The context that it returns ends when
// the partition is closed, too.
func (p *Partition) beginClean(ctx context.Context) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	mine := &cleaning{cancel, make(chan struct{})}
	for {
		p.mu.Lock()
		other, closed := p.cleaning, p.closed
		if other == nil && closed == nil {
			p.cleaning = mine
		}
		p.mu.Unlock()
		switch {
		case closed != nil:
			cancel()
			return nil, nil, closed
		case other == nil:
			return ctx, func() {
				cancel()
				p.mu.Lock()
				p.cleaning = nil
				p.mu.Unlock()
				close(mine.done)
			}, nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			cancel()
			return nil, nil, ctx.Err()
		}
	}
}

// asWriter runs a task as the writer, in its turn, and returns its error.
func (p *Partition) asWriter(task func() error) (err error) {
	done := make(chan struct{})
	p.enqueue(pending{task: func(refused error) {
		defer close(done)
		if err = refused; err == nil {
			err = task()
		}
	}})
	<-done
	return err
}

// expire deletes the segments that are too old or too many, and returns when the
// next one will be too old.
func (p *Partition) expire(did *CleanStats, now time.Time, c CleanPolicy) (due int64, err error) {
	start, due := p.log.Expired(log.Retention{Now: now.UnixMilli(), Limit: p.high.Load(), Age: c.Retention, Ripe: c.Ripe, Bytes: c.RetentionBytes})
	if start < p.log.StartOffset() || start == 0 {
		return due, nil
	}
	err = p.asWriter(func() error {
		size, segments := p.log.Size(), p.log.Segments()
		if start > p.log.EndOffset() || start < p.log.StartOffset() {
			return nil // it was truncated or moved meanwhile
		}
		// One that is where it should be may not be durable yet, for want of space.
		err := p.log.SetStart(start)
		did.Bytes += size - p.log.Size()
		did.Segments += segments - p.log.Segments()
		return err
	})
	return due, err
}

// compact compacts the log until nothing is due, and returns when something will
// be.
func (p *Partition) compact(ctx context.Context, did *CleanStats, now time.Time, c CleanPolicy) (due int64, err error) {
	last := map[int64]int64{}
	if err := p.asWriter(func() error { p.log.LastBatches(last); return nil }); err != nil {
		return 0, err
	}
	for rolled := false; ; {
		pass := log.Compaction{
			Now: now.UnixMilli(), Limit: p.compactable(), MinLag: c.MinLag, DeleteRetention: c.DeleteRetention, SegmentBytes: c.SegmentBytes,
			Keep: func(h *record.BatchHeader) bool { return last[h.ProducerID] == h.NextOffset() },
		}
		d, err := p.log.DirtyRange(pass)
		if err != nil {
			return 0, err
		}
		next, dirty, overdue := c.judge(&d, now.UnixMilli())
		switch {
		case dirty:
			done, err := p.log.Compact(ctx, pass, func(r *log.Replacement) error {
				return p.asWriter(func() error { return p.log.Swap(r) })
			})
			did.Records += done.Records
			did.Bytes += done.Bytes
			did.Segments += done.Segments
			if err != nil {
				return 0, err
			}
		case overdue && !rolled: // it lies in the active segment
			rolled = true
			if err := p.asWriter(p.log.Roll); err != nil {
				return 0, err
			}
		default:
			return next, nil
		}
	}
}

// judge says whether it is time for a pass of compaction, and otherwise when it
// will be, as far as time alone brings it. overdue says that the oldest record that
// was never cleaned should have been.
func (c *CleanPolicy) judge(d *log.DirtyRange, now int64) (next int64, dirty, overdue bool) {
	next = min(d.Horizon, d.Held)
	if c.MaxLag >= 0 && d.Earliest != math.MaxInt64 {
		late := d.Earliest + c.MaxLag.Milliseconds() + 1
		if late <= d.Earliest {
			late = math.MaxInt64 // there is no such time
		}
		if overdue = now >= late; !overdue {
			next = min(next, late)
		}
	}
	dirty = now >= d.Horizon || d.Dirty > 0 && (overdue || float64(d.Dirty) > c.DirtyRatio*float64(d.Clean+d.Dirty))
	return next, dirty, overdue
}
