package consumer

import (
	"context"
	"errors"
	"maps"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// async is a call of CommitAsync.
type async struct {
	fn   func(error)
	want map[record.TopicPartition]mark
	err  error // why part of it cannot be committed any more
}

// revoke removes a partition that was taken away before it was committed.
func (a *async) revoke(tp record.TopicPartition) {
	if m, ok := a.want[tp]; ok {
		delete(a.want, tp)
		a.err = errors.Join(a.err, fault.At(fault.StaleMemberEpoch, tp.Topic, tp.Partition, m.Offset.Offset).
			Detailf("the partition was taken away before it was committed"))
	}
}

// asyncQueue has the calls of CommitAsync, in order. While there are any, one
// goroutine serves them: Consumer.drain.
//
//	waiting ──claim──> being committed ──finish──> telling: fn is called
//	   └─────── pending counts these ───────┘
type asyncQueue struct {
	// Guarded by Consumer.mu.
	waiting []*async
	pending int           // calls that are waiting or being committed
	idle    chan struct{} // closed when pending is 0 again; nil unless a goroutine waits for that
	served  bool          // drain runs

	telling []*async // drain's own
}

// add adds a call, and reports whether the caller must start drain.
func (q *asyncQueue) add(a *async) (start bool) {
	q.waiting = append(q.waiting, a)
	q.pending++
	start = !q.served
	q.served = true
	return start
}

// claim takes the calls that are waiting. If there are none, drain ends.
func (q *asyncQueue) claim() []*async {
	taken := q.waiting
	q.waiting = nil
	if len(taken) == 0 {
		q.served = false
	}
	return taken
}

// finish notes that n calls have been committed, or have failed.
func (q *asyncQueue) finish(n int) {
	q.pending -= n
	if q.pending == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// whenIdle returns a channel that is closed once no call is pending; nil if there is
// none.
func (q *asyncQueue) whenIdle() <-chan struct{} {
	if q.pending > 0 && q.idle == nil {
		q.idle = make(chan struct{})
	}
	return q.idle
}

// CommitAsync marks the records returned so far as done and commits in the
// background. It calls fn, which may be nil, with the outcome on another
// goroutine: nil means that the marked records are committed, by this commit or
// by a later one of the same consumer. Commits of one consumer happen in order.
// Close, and the revocation of partitions, wait for pending commits. Without an
// fn, the next Poll returns the error. fn must not call Close, which waits for
// it.
func (c *Consumer) CommitAsync(fn func(error)) {
	if fn == nil {
		fn = func(err error) {
			if err != nil {
				c.fail(err)
			}
		}
	}
	c.mu.Lock()
	if c.ending.closed && c.ending.isOver() {
		c.mu.Unlock()
		c.tell(fn, fault.Closed)
		return
	}
	c.settleLocked()
	start := c.asyncs.add(&async{fn: fn, want: maps.Clone(c.progress.done)})
	if start {
		c.waits.Add(1)
	}
	c.mu.Unlock()
	if start {
		go c.drain()
	}
}

// drain serves CommitAsync until no call is waiting, with one commit for all
// that are. If fn ends its goroutine, as a failed require in a test does, only
// fn is lost, not the commits after it.
func (c *Consumer) drain() {
	over := false
	defer func() {
		if !over {
			go c.drain()
			return
		}
		c.waits.Done()
	}()
	for {
		for len(c.asyncs.telling) > 0 {
			a := c.asyncs.telling[0]
			c.asyncs.telling = c.asyncs.telling[1:]
			c.tell(a.fn, a.err)
		}
		asyncs, err := c.commitAsyncs()
		if len(asyncs) == 0 {
			over = true
			return
		}
		for _, a := range asyncs {
			a.err = errors.Join(err, a.err)
		}
		c.asyncs.telling = asyncs
	}
}

// commitAsyncs commits for the calls that are waiting once it holds the token. When
// it returns none, drain must end.
func (c *Consumer) commitAsyncs() ([]*async, error) {
	ctx := context.Background()
	if err := c.takeToken(ctx); err != nil {
		return nil, err
	}
	defer c.returnToken()
	c.mu.Lock()
	asyncs := c.asyncs.claim()
	if len(asyncs) == 0 {
		c.mu.Unlock()
		return nil, nil
	}
	want := make(map[record.TopicPartition]mark)
	for _, a := range asyncs {
		for tp, m := range a.want {
			if !c.progress.isStored(tp, m) { // else a later commit overtook this one
				want[tp] = m
			}
		}
	}
	c.mu.Unlock()
	err := c.store(ctx, want)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asyncs.finish(len(asyncs))
	return asyncs, err
}

// awaitCommits waits for pending commits, for a limited time.
func (c *Consumer) awaitCommits() {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	c.mu.Lock()
	idle := c.asyncs.whenIdle()
	c.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
	if c.takeToken(ctx) == nil {
		c.returnToken()
	}
}

func (c *Consumer) tell(fn func(error), err error) {
	defer c.caught("CommitAsync's function")
	fn(err)
}
