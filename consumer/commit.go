package consumer

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Commit marks the records returned so far as done (in a loop over Records: the
// current record) and stores for the group how far each partition is done. It
// returns once the offsets are stored, as durably as the backend's topics.
// Without anything new to commit it does nothing.
//
// Without a group it returns fault.InvalidGroup. It returns
// fault.UnknownMember, fault.StaleMemberEpoch or fault.FencedInstance if the
// consumer lost its place in the group; the new owner of the partitions then
// continues from the previous commit.
func (c *Consumer) Commit(ctx context.Context) error {
	c.settle()
	return c.commit(ctx)
}

// mark is how far a partition is done. Marks are numbered, so that a delayed
// commit does not undo a later one that overtook it.
type mark struct {
	Offset
	number uint64
}

// mark records how far a partition is done. The caller holds c.mu.
func (c *Consumer) mark(tp record.TopicPartition, o Offset) {
	c.marks++
	c.done[tp] = mark{o, c.marks}
	c.arm()
}

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
	if c.closed && c.isEnded() {
		c.mu.Unlock()
		c.tell(fn, fault.Closed)
		return
	}
	c.settleLocked()
	c.asyncs = append(c.asyncs, &async{fn: fn, want: maps.Clone(c.done)})
	c.pending++
	start := !c.draining
	if start {
		c.draining = true
		c.waits.Add(1)
	}
	c.mu.Unlock()
	if start {
		go c.drain()
	}
}

func (c *Consumer) isEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
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
		for len(c.telling) > 0 {
			a := c.telling[0]
			c.telling = c.telling[1:]
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
		c.telling = asyncs
	}
}

// commitAsyncs commits for the calls that are waiting once it holds the token.
// When none are left it ends draining.
func (c *Consumer) commitAsyncs() ([]*async, error) {
	ctx := context.Background()
	if err := c.takeToken(ctx); err != nil {
		return nil, err
	}
	defer c.returnToken()
	c.mu.Lock()
	asyncs := c.asyncs
	c.asyncs = nil
	if len(asyncs) == 0 {
		c.draining = false
		c.mu.Unlock()
		return nil, nil
	}
	want := make(map[record.TopicPartition]mark)
	for _, a := range asyncs {
		for tp, m := range a.want {
			if m.number > c.stored[tp] { // else a later commit overtook this one
				want[tp] = m
			}
		}
	}
	c.mu.Unlock()
	err := c.store(ctx, want)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending -= len(asyncs)
	if c.pending == 0 && c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
	return asyncs, err
}

// awaitCommits waits for pending commits, for a limited time.
func (c *Consumer) awaitCommits() {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	c.mu.Lock()
	if c.pending > 0 && c.settled == nil {
		c.settled = make(chan struct{})
	}
	settled := c.settled
	c.mu.Unlock()
	if settled != nil {
		select {
		case <-settled:
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

// CommitOffsets stores these offsets for the group, all or none: for each
// partition, the next record to read. It does not commit records that are done
// otherwise. Errors are those of Commit.
func (c *Consumer) CommitOffsets(ctx context.Context, offsets map[record.TopicPartition]Offset) error {
	if err := c.takeToken(ctx); err != nil {
		return err
	}
	defer c.returnToken()
	if err := c.session.Commit(ctx, offsets); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp := range offsets {
		c.stored[tp] = c.marks // everything that CommitAsync still has to commit was marked earlier
	}
	return nil
}

// Committed returns the offsets that the group has committed for partitions, by
// default the assigned ones. A partition without a committed offset is absent.
// Without a group it returns fault.InvalidGroup.
func (c *Consumer) Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]Offset, error) {
	if len(partitions) == 0 {
		partitions = c.session.Assignment()
	}
	return c.session.Committed(ctx, partitions...)
}

func (c *Consumer) takeToken(ctx context.Context) error {
	select {
	case c.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Consumer) returnToken() { <-c.writing }

// commit stores what is done at the moment it gets the token.
func (c *Consumer) commit(ctx context.Context) error {
	if err := c.takeToken(ctx); err != nil {
		return err
	}
	defer c.returnToken()
	c.mu.Lock()
	c.note()
	done := maps.Clone(c.done)
	c.mu.Unlock()
	return c.store(ctx, done)
}

// store commits marks. The caller holds the token.
func (c *Consumer) store(ctx context.Context, marks map[record.TopicPartition]mark) error {
	if c.cfg.Group == "" {
		return fault.Newf(fault.InvalidGroup, "a consumer without a group commits nothing").
			Try("name one with consumer.Group")
	}
	if len(marks) == 0 {
		return nil
	}
	offsets := make(map[record.TopicPartition]Offset, len(marks))
	for tp, m := range marks {
		offsets[tp] = m.Offset
	}
	if err := c.session.Commit(ctx, offsets); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp, m := range marks {
		c.stored[tp] = m.number
		if c.done[tp] == m {
			delete(c.done, tp)
		}
	}
	return nil
}

// commitSoon commits what is done before partitions are given up, within a time
// limit.
func (c *Consumer) commitSoon() error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return lostPlace(c.commit(ctx))
}

// lostPlace returns nil for errors which say that the consumer's place in the
// group has changed. The session notices that itself and calls OnLost.
func lostPlace(err error) error {
	switch fault.CodeOf(err) {
	case fault.UnknownMember, fault.StaleMemberEpoch, fault.FencedMemberEpoch, fault.FencedInstance,
		fault.RebalanceInProgress, fault.IllegalGeneration, fault.NotAssigned, fault.GroupNotFound:
		return nil
	}
	return err
}

// arm starts the commit timer, unless it runs already or there is nothing that
// it could ever commit. The caller holds c.mu.
func (c *Consumer) arm() {
	if c.armed || c.auto == 0 || c.closed || len(c.done) == 0 && len(c.batch.Records) == 0 {
		return
	}
	c.armed = true
	if c.timer == nil {
		c.timer = time.AfterFunc(c.auto, c.tick)
		return
	}
	c.timer.Reset(c.auto)
}

// tick runs when the timer fires, on a goroutine of its own.
func (c *Consumer) tick() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.waits.Add(1)
	c.mu.Unlock()
	defer c.waits.Done()
	err := lostPlace(c.commit(context.Background()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	c.arm()
	if err != nil && !c.closed {
		c.failure = err
	}
}
