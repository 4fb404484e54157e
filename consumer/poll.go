package consumer

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Poll marks the records returned before as done and waits for records: up to
// MaxRecords of one partition, in offset order. The slice is valid until the
// next call that returns records; see record.Record for how long the records
// are. When ctx ends, Poll returns ctx's error. With a ctx that has already
// ended, it returns what is available without waiting.
//
// Poll also returns without records and without an error when a partition's
// position moved past offsets that hold no records: transaction markers, or
// offsets removed by compaction. A caller that waits for a certain position can
// then check it.
//
// After a break from a loop over Records, Poll returns the rest of the loop's
// batch.
func (c *Consumer) Poll(ctx context.Context) ([]record.Record, error) {
	use, err := c.enter(useNone)
	if err != nil {
		return nil, err
	}
	defer c.leave(use)
	return c.poll(ctx, 0)
}

// poll hands out all available records, or at most limit if that is not 0.
func (c *Consumer) poll(ctx context.Context, limit int) ([]record.Record, error) {
	records, handed, err := c.next(ctx)
	if err != nil {
		return nil, err
	}
	end := len(records)
	if limit > 0 {
		end = min(end, handed+limit)
	}
	c.batch.cursor.Store(pack(handed, end))
	return records[handed:end:end], nil
}

// Records iterates over records one by one. Asking for the next record marks
// the current one as done; after a break, the current one is delivered again.
// The loop ends when ctx ends. An error is yielded with an empty record, and
// asking for the next record continues; after an error that is Fatal the loop
// ends.
func (c *Consumer) Records(ctx context.Context) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		use, err := c.enter(useNone)
		if err != nil {
			yield(record.Record{}, err)
			return
		}
		defer c.leave(use)
		defer func() { // the loop ends, and no code of the program runs in it
			c.use.Store(useCall)
			c.leaveBody()
			c.awaitEnding()
		}()
		defer c.batch.handBack(math.MaxInt) // the record that is not done
		place := newPlaceholder(c.cfg)
		defer place.stop()
		c.loop(ctx, place, yield)
	}
}

func (c *Consumer) loop(ctx context.Context, place *placeholder, yield func(record.Record, error) bool) {
	var records []record.Record
	cuts, over := c.batch.cuts.Load()-1, ctx.Done()
	for {
		select {
		case <-over:
			c.settle()
			return
		default:
		}
		at := c.batch.cursor.Load()
		_, handed := unpack(at)
		if now := c.batch.cuts.Load(); now != cuts || handed >= len(records) || place.due.Load() {
			c.use.Store(useCall)
			next, err := c.more(ctx, place)
			cuts = c.batch.cuts.Load() // before enterBody, so that a Close from there on is noticed
			if !c.enterBody() && err == nil {
				next, err = nil, fault.Newf(fault.Closed, "the consumer was closed while its loop asked for records")
			}
			c.use.Store(useLoop)
			records = next
			switch {
			case err == nil:
			case ctx.Err() != nil && errors.Is(err, ctx.Err()):
				return
			case !yield(record.Record{}, err) || Fatal(err):
				return
			}
			continue
		}
		if c.batch.advance(at) && !yield(records[handed], nil) {
			return
		}
	}
}

// more is what a loop calls when it has handed out all the records that it may:
// it keeps the consumer's place in the group, and returns the current batch or
// the next one.
func (c *Consumer) more(ctx context.Context, place *placeholder) ([]record.Record, error) {
	c.settle()
	c.leaveBody()
	if place.due.Load() {
		if err := c.keepPlace(); err != nil {
			return nil, err
		}
		place.reset()
	}
	records, _, err := c.next(ctx)
	return records, err
}

// settle marks what was handed out as done.
func (c *Consumer) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked()
}

func (c *Consumer) settleLocked() {
	if c.batch.settle() {
		c.note()
	}
}

// note records how far the current batch is done. The caller holds c.mu.
func (c *Consumer) note() {
	if c.cfg.Group == "" {
		return
	}
	if done, ok := c.batch.news(); ok {
		c.mark(c.batch.TopicPartition, done)
	}
}

// next marks what was handed out as done. It returns a batch with records left
// and how many of it were handed out. The batch is the current one or a new
// one, which may be empty.
func (c *Consumer) next(ctx context.Context) ([]record.Record, int, error) {
	for fetched := false; ; fetched = true {
		c.mu.Lock()
		c.settleLocked()
		records, handed := c.batch.Records, c.batch.handed()
		if handed < len(records) || fetched && len(records) == 0 {
			c.mu.Unlock()
			return records, handed, nil
		}
		c.batch.drop()
		err := c.failure
		c.failure = nil
		c.mu.Unlock()
		if err != nil {
			return nil, 0, err
		}
		if err := c.fetch(ctx); err != nil {
			return nil, 0, err
		}
	}
}

// fetch gets the next batch, which may be empty. With a ctx that is done, it gets what is
// available, as Poll promises.
func (c *Consumer) fetch(ctx context.Context) error {
	wait, done, within := UntilDone, ctx.Err(), ctx
	if done != nil {
		wait, within = 0, context.WithoutCancel(ctx)
	}
	fetched, err := c.receive(within, wait)
	if err == nil && fetched.IsNone() {
		err = done
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch.replace(fetched)
	if len(fetched.Records) == 0 && c.cfg.Group != "" {
		// Markers and compacted records were skipped: the program need not
		// process them, so they are done.
		c.mark(fetched.TopicPartition, Offset{Offset: fetched.Next, LeaderEpoch: fetched.LeaderEpoch})
	}
	c.arm()
	return nil
}

// receive fetches once. What it returns is valid until the next call.
func (c *Consumer) receive(ctx context.Context, wait time.Duration) (Fetched, error) {
	c.session.Release(c.lease)
	c.lease = 0
	c.takeAwaited()
	fetched, err := c.session.Fetch(ctx, wait, c.buf)
	if err != nil {
		c.taken(ctx, err)
		c.awaitEnd(err)
		return Fetched{}, err
	}
	c.buf, c.lease = fetched.Records, fetched.Lease
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.progress.awaited) > 0 && c.progress.awaited[fetched.TopicPartition] && len(fetched.Records) > 0 {
		delete(c.progress.awaited, fetched.TopicPartition)
		c.mark(fetched.TopicPartition, Offset{Offset: fetched.Records[0].Offset, LeaderEpoch: record.NoLeaderEpoch})
	}
	return fetched, nil
}

// placeholder reminds a loop over Records to keep the consumer's place in its
// group while the loop works through one batch.
type placeholder struct {
	due   atomic.Bool
	every time.Duration
	timer *time.Timer // nil without a group
}

func newPlaceholder(cfg Config) *placeholder {
	p := &placeholder{every: cfg.RebalanceTimeout / 3}
	if cfg.Subscribes() {
		p.timer = time.AfterFunc(p.every, func() { p.due.Store(true) })
	}
	return p
}

func (p *placeholder) reset() {
	p.due.Store(false)
	p.timer.Reset(p.every)
}

func (p *placeholder) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// keepPlace lets the session take part in its group without returning records:
// every partition is paused for that one Fetch.
func (c *Consumer) keepPlace() error {
	before := c.session.Assignment()
	if err := c.session.Pause(before...); err != nil {
		return err
	}
	fetched, err := c.session.Fetch(context.Background(), 0, nil)
	if err == nil {
		err = c.putBack(fetched)
	}
	owned := c.session.Assignment() // by now; Resume takes no others
	c.mu.Lock()
	resume := slices.DeleteFunc(before, func(tp record.TopicPartition) bool {
		return c.paused[tp] || !slices.Contains(owned, tp)
	})
	c.mu.Unlock()
	return errors.Join(err, c.session.Resume(resume...))
}

// putBack makes the session return again what a Fetch returned: records of a
// partition that was assigned within that Fetch, and so was not paused.
func (c *Consumer) putBack(f Fetched) error {
	c.session.Release(f.Lease)
	switch {
	case f.IsNone():
		return nil
	case len(f.Records) == 0:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mark(f.TopicPartition, Offset{Offset: f.Next, LeaderEpoch: f.LeaderEpoch})
		return nil
	}
	return c.session.Seek(context.Background(), f.TopicPartition, topic.AtOffset(f.Records[0].Offset))
}

// Pause makes the consumer skip partitions until Resume, or until they are
// given up. Records of them that were fetched but not handed out are delivered
// after Resume. Pause may be called in a loop over Records and in callbacks. It
// returns fault.NotAssigned for a partition that is not owned.
func (c *Consumer) Pause(partitions ...record.TopicPartition) error {
	use, err := c.enter(useNone, useLoop, useCallback)
	if err != nil {
		return err
	}
	defer c.leave(use)
	if err := c.session.Pause(partitions...); err != nil {
		return err
	}
	c.mu.Lock()
	var back record.Position
	for _, tp := range partitions {
		c.paused[tp] = true
		if at, ok := c.batch.position(tp); ok {
			back = at
			c.batch.cut()
		}
	}
	c.mu.Unlock()
	if back.Topic == "" {
		return nil
	}
	return c.session.Seek(context.Background(), back.TopicPartition(), topic.AtOffset(back.Offset))
}

// Resume ends Pause.
func (c *Consumer) Resume(partitions ...record.TopicPartition) error {
	use, err := c.enter(useNone, useLoop, useCallback)
	if err != nil {
		return err
	}
	defer c.leave(use)
	c.mu.Lock()
	for _, tp := range partitions {
		delete(c.paused, tp)
	}
	r := c.running
	c.mu.Unlock()
	if r != nil {
		partitions = r.unheld(partitions)
	}
	return c.session.Resume(partitions...)
}
