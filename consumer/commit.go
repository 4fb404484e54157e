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

// mark records how far a partition is done. The caller holds c.mu.
func (c *Consumer) mark(tp record.TopicPartition, o Offset) {
	c.progress.mark(tp, o)
	c.arm()
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
		c.progress.overtake(tp) // everything that CommitAsync still has to commit was marked earlier
	}
	return nil
}

// Committed returns the offsets that the group has committed for partitions, by
// default the assigned ones. A partition without a committed offset is absent.
// Without a group it returns fault.InvalidGroup.
//
// With ReadCommitted, it waits while an open transaction has offsets of one of the
// partitions. If ctx ends first, it returns fault.UnstableOffsetCommit.
func (c *Consumer) Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]Offset, error) {
	if len(partitions) == 0 {
		partitions = c.session.Assignment()
	}
	for pause := unstableFirst; ; pause = min(2*pause, unstableEvery) {
		offsets, err := c.session.Committed(ctx, partitions...)
		if !errors.Is(err, fault.UnstableOffsetCommit) {
			return offsets, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// While offsets are part of an open transaction, they are asked for again after
// unstableFirst, then twice that and so on, up to unstableEvery.
const (
	unstableFirst = 10 * time.Millisecond
	unstableEvery = 500 * time.Millisecond
)

// GroupMetadata returns who the consumer is in its group, for offsets that become part of a
// transaction: see producer.Tx.SendOffsets. A rebalance changes it, so it must be taken
// after the Poll that returned the records. It returns fault.InvalidGroup without a group,
// and fault.UnknownMember while a consumer that subscribes is not a member.
//
// fault.InvalidConfig says that the consumer does not go with transactions. It needs
// ManualCommit, because what it commits itself would take the place of what a transaction
// has, and ReadCommitted, or it would not wait for its group's offsets to be decided.
func (c *Consumer) GroupMetadata(ctx context.Context) (GroupMetadata, error) {
	var errs []error
	refuse := func(code fault.Code, what, option string) {
		errs = append(errs, fault.Newf(code, "%s", what).Try("make it with consumer."+option))
	}
	if c.cfg.Group == "" {
		refuse(fault.InvalidGroup, "the consumer has no group", "Group")
	}
	if c.auto.every > 0 {
		refuse(fault.InvalidConfig, "the consumer commits by itself, beside the transactions", "ManualCommit")
	}
	if !c.cfg.ReadCommitted {
		refuse(fault.InvalidConfig, "the consumer reads what is not committed", "ReadCommitted")
	}
	if len(errs) > 0 {
		return GroupMetadata{}, errors.Join(errs...)
	}
	return c.session.GroupMetadata(ctx)
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
	done := maps.Clone(c.progress.done)
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
	c.progress.noteStored(marks)
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

// autoCommit commits what is done every so often. Its timer runs only while there is
// something that it could commit, so an idle consumer costs nothing.
type autoCommit struct {
	every time.Duration // 0: only on request

	// Guarded by Consumer.mu.
	timer *time.Timer // nil until it was started once
	armed bool        // the timer runs, or its commit does
}

// start starts the timer, which calls tick on a goroutine of its own.
func (a *autoCommit) start(tick func()) {
	a.armed = true
	if a.timer == nil {
		a.timer = time.AfterFunc(a.every, tick)
		return
	}
	a.timer.Reset(a.every)
}

func (a *autoCommit) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// arm starts the commit timer, unless it runs already or there is nothing that
// it could ever commit. The caller holds c.mu.
func (c *Consumer) arm() {
	if c.auto.armed || c.auto.every == 0 || c.ending.closed || len(c.progress.done) == 0 && len(c.batch.Records) == 0 {
		return
	}
	c.auto.start(c.tick)
}

// tick runs when the timer fires, on a goroutine of its own.
func (c *Consumer) tick() {
	c.mu.Lock()
	if c.ending.closed {
		c.mu.Unlock()
		return
	}
	c.waits.Add(1)
	c.mu.Unlock()
	defer c.waits.Done()
	err := lostPlace(c.commit(context.Background()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auto.armed = false
	c.arm()
	if err != nil && !c.ending.closed {
		c.failure = err
	}
}
