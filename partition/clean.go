package partition

import (
	"context"
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
)

// CleanPolicy is the part of a topic's configuration that concerns old records. A
// negative duration or size means no limit.
type CleanPolicy struct {
	Delete          bool          // delete whole segments: cleanup.policy=delete
	Retention       time.Duration // delete a segment whose latest record is older
	RetentionBytes  int64         // delete the first segment while the others have this many bytes
	Ripe            int64         // unless 0, Retention applies only to segments that end at or before this offset
	Compact         bool          // keep only the last record of each key: cleanup.policy=compact
	MinLag          time.Duration // don't compact records younger than this
	MaxLag          time.Duration // compact records older than this, whatever the DirtyRatio
	DeleteRetention time.Duration // how long tombstones stay
	DirtyRatio      float64       // compact when more than this share of the log was never compacted
	SegmentBytes    int64         // join segments that together are no larger
}

// CleanStats says what Clean did.
type CleanStats struct {
	Segments int   // fewer than before
	Bytes    int64 // given back
	Records  int64 // removed by compaction
}

// cleaning is a running Clean.
type cleaning struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

// Clean deletes and compacts what is due now, as c says, and returns what it did
// and when something will be due next; the zero time when nothing is in sight.
// Readers and appends continue meanwhile; a second Clean waits for the first.
// Records at or above the last stable offset stay.
//
// It ends early, with an error, when ctx ends or the partition is closed. A segment
// that it cannot read or replace stays as it is, and is an error too.
func (p *Partition) Clean(ctx context.Context, now time.Time, c CleanPolicy) (did CleanStats, next time.Time, err error) {
	working, end, err := p.beginClean(ctx)
	if err != nil {
		return did, next, err
	}
	defer end()
	due := int64(math.MaxInt64)
	if c.Delete {
		due, err = p.expire(working, &did, now, c)
	}
	if c.Compact && err == nil {
		var again int64
		again, err = p.compact(working, &did, now, c)
		due = min(due, again)
	}
	if err != nil {
		if closed := p.whyClosed(); closed != nil && ctx.Err() == nil {
			err = closed // closing canceled the work, which fails with context.Canceled
		}
		return did, next, err
	}
	if due != math.MaxInt64 {
		next = time.UnixMilli(due)
	}
	return did, next, nil
}

// beginClean waits until no other Clean runs. The context that it returns ends
// with ctx and when the partition is closed.
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

// asWriter runs a task as the writer, in its turn, and returns its error. The log
// has one writer, and retention and compaction change the list of segments.
func (p *Partition) asWriter(task func() error) (err error) {
	return p.awaitTask(pending{}, task)
}

// awaitTask enqueues a task and returns its error.
func (p *Partition) awaitTask(a pending, task func() error) (err error) {
	done := make(chan struct{})
	a.task = func(refused error) {
		defer close(done)
		if err = refused; err == nil {
			err = task()
		}
	}
	p.enqueue(a)
	<-done
	return err
}

// expire deletes the segments beyond retention.ms and retention.bytes, and returns
// when the next one will be too old. It decides without the writer, whose turn may
// come much later, and so checks in its turn that the start still makes sense.
//
// The leader's retention is the group's: the other replicas follow, and give their
// segments back when they learn of the new start.
func (p *Partition) expire(ctx context.Context, did *CleanStats, now time.Time, c CleanPolicy) (due int64, err error) {
	start, due := p.log.Expired(log.Retention{Now: now.UnixMilli(), Limit: min(p.cleanable(), p.stable()), Age: c.Retention, Ripe: c.Ripe, Bytes: c.RetentionBytes})
	if start < p.log.StartOffset() || start == 0 {
		return due, nil
	}
	if p.replica != nil && p.replica.startBatch != nil {
		if start == p.log.StartOffset() {
			return due, nil
		}
		again, err := p.expireGroup(ctx, start)
		if again {
			due = min(due, now.Add(time.Minute).UnixMilli())
		}
		if fault.CodeOf(err) != fault.DiskFull {
			return due, err
		}
		// This copy alone makes room for telling the others, which expire the same anyway.
	}
	err = p.asWriter(func() error {
		size, segments := p.log.Size(), p.log.Segments()
		if start > p.log.EndOffset() || start < p.log.StartOffset() {
			return nil // truncated, or records were deleted, meanwhile
		}
		// Also with the present start: a full disk may have kept it from being durable.
		err := p.setStart(start)
		did.Bytes += size - p.log.Size()
		did.Segments += segments - p.log.Segments()
		return err
	})
	return due, err
}

// compact compacts the log until nothing is due, and returns when something will
// be. Several passes are needed when the keys don't fit into memory at once.
//
// An idempotent producer's last batch must survive, as an empty batch if need be:
// its sequence is how the log recognizes a duplicate (Keep). So must the marker with which
// its epoch began: by the epoch, the log refuses a late batch.
func (p *Partition) compact(ctx context.Context, did *CleanStats, now time.Time, c CleanPolicy) (due int64, err error) {
	for rolled := false; ; {
		pass := log.Compaction{
			Now: now.UnixMilli(), Limit: p.compactable(), MinLag: c.MinLag, DeleteRetention: c.DeleteRetention, SegmentBytes: c.SegmentBytes,
			Batchwise: p.replica != nil, // a batch's number in the log is its index in the group's, for good
		}
		d, err := p.log.DirtyRange(pass)
		if err != nil {
			return 0, err
		}
		next, dirty, overdue := c.judge(&d, now.UnixMilli())
		switch {
		case dirty:
			// After the limit is known: what lies before it is known, too.
			if err := p.asWriter(func() error { pass.Keep = p.log.LastBatches(); return nil }); err != nil {
				return 0, err
			}
			done, err := p.log.Compact(ctx, pass, func(r *log.Replacement) error {
				return p.asWriter(func() error { return p.log.Swap(r) })
			})
			did.Records += done.Records
			did.Bytes += done.Bytes
			did.Segments += done.Segments
			if err != nil {
				return 0, err
			}
		case overdue && !rolled: // the record lies in the active segment, which is never compacted
			rolled = true
			if err := p.asWriter(p.log.Roll); err != nil {
				return 0, err
			}
		default:
			return next, nil
		}
	}
}

// judge decides whether a pass of compaction is due. It is, when a tombstone may
// go, when the dirty ratio is exceeded, or when the oldest record that was never
// compacted is older than MaxLag (overdue). If not, next is when the passing of
// time alone will make one due.
func (c *CleanPolicy) judge(d *log.DirtyRange, now int64) (next int64, dirty, overdue bool) {
	next = min(d.Horizon, d.Held)
	if c.MaxLag >= 0 && d.Earliest != math.MaxInt64 {
		late := d.Earliest + c.MaxLag.Milliseconds() + 1
		if late <= d.Earliest {
			late = math.MaxInt64 // overflow
		}
		if overdue = now >= late; !overdue {
			next = min(next, late)
		}
	}
	dirty = now >= d.Horizon || d.Dirty > 0 && (overdue || float64(d.Dirty) > c.DirtyRatio*float64(d.Clean+d.Dirty))
	return next, dirty, overdue
}
