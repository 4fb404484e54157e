package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Assignment returns the partitions that the consumer currently owns, sorted.
func (c *Consumer) Assignment() []record.TopicPartition { return c.session.Assignment() }

// Assign replaces the partitions of a consumer without Topics. Partitions that
// stay keep their position. Others start at the group's committed offset or at
// Config.Start.
func (c *Consumer) Assign(ctx context.Context, partitions ...record.TopicPartition) error {
	use, err := c.enter(useNone, useLoop)
	if err != nil {
		return err
	}
	defer c.leave(use)
	for _, tp := range partitions {
		if err := checkPartition(tp); err != nil {
			return err
		}
	}
	partitions = slices.Clone(partitions)
	slices.SortFunc(partitions, record.TopicPartition.Compare)
	if err := c.session.Assign(ctx, slices.Compact(partitions)); err != nil {
		return err
	}
	return c.takeFailure()
}

// Seek continues a partition at that offset and counts everything before it as
// done: the next commit stores the offset. Fetched records of the partition are
// dropped. Seek may be called in a loop over Records and in callbacks. It
// returns fault.NotAssigned for a partition that is not owned. An offset below
// 0 is fault.OffsetOutOfRange and changes nothing; another offset that the
// partition does not hold shows only in the next Poll.
func (c *Consumer) Seek(ctx context.Context, tp record.TopicPartition, offset int64) error {
	return c.SeekTo(ctx, topic.AtOffset(offset), tp)
}

// SeekTo seeks each of the partitions, by default all assigned ones, to the
// offset that spec names.
func (c *Consumer) SeekTo(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) error {
	use, err := c.enter(useNone, useLoop, useCallback)
	if err != nil {
		return err
	}
	defer c.leave(use)
	if len(partitions) == 0 {
		partitions = c.session.Assignment()
	}
	for _, tp := range partitions {
		if err := c.seek(ctx, tp, spec); err != nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) seek(ctx context.Context, tp record.TopicPartition, spec topic.OffsetSpec) error {
	if offset, ok := spec.Offset(); ok && offset < 0 {
		return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, offset).Detailf("Seek goes to an offset of 0 or more")
	}
	if err := c.session.Seek(ctx, tp, spec); err != nil {
		return err
	}
	offset, err := c.session.Position(ctx, tp)
	if err != nil {
		return err
	}
	if r := c.run(); r != nil {
		r.restart(tp)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(tp)
	delete(c.progress.awaited, tp)
	if c.cfg.Group != "" {
		c.mark(tp, Offset{Offset: offset, LeaderEpoch: record.NoLeaderEpoch})
	}
	return nil
}

// take marks the start positions of newly assigned partitions as done where the
// group has no offset, so that the next commit stores them even if no record
// arrives. Otherwise a partition that starts at its end, and gets no record
// while this consumer reads, would start at its new end later, and skip all
// records written while there was no reader. The fetching goroutine calls take
// before it returns records.
func (c *Consumer) take(partitions []record.TopicPartition) {
	if c.cfg.Group == "" || len(partitions) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	committed, err := c.session.Committed(ctx, partitions...)
	for _, tp := range partitions {
		if _, ok := committed[tp]; ok {
			continue
		}
		offset, unknown := int64(0), err
		if unknown == nil {
			offset, unknown = c.session.Position(ctx, tp)
		}
		c.mu.Lock()
		c.progress.awaited[tp] = unknown != nil
		if unknown == nil {
			delete(c.progress.awaited, tp)
			c.mark(tp, Offset{Offset: offset, LeaderEpoch: record.NoLeaderEpoch})
		}
		c.mu.Unlock()
	}
}

// takeAwaited is take for partitions that did not exist when they were
// assigned, or for which the group did not answer.
func (c *Consumer) takeAwaited() {
	c.mu.Lock()
	awaited := slices.Collect(maps.Keys(c.progress.awaited))
	c.mu.Unlock()
	c.take(awaited)
}

// taken notes the position that a reset gave a partition, which the reset's
// error contains.
func (c *Consumer) taken(ctx context.Context, err error) {
	var f *fault.Error
	if c.cfg.Group == "" || !errors.As(err, &f) || f.Code != fault.OffsetOutOfRange {
		return
	}
	tp := record.TopicPartition{Topic: f.Topic, Partition: f.Partition}
	offset, err := c.session.Position(context.WithoutCancel(ctx), tp)
	if err != nil {
		return
	}
	to := Offset{Offset: offset, LeaderEpoch: record.NoLeaderEpoch}
	if r := c.run(); r != nil {
		r.skip(tp, to)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark(tp, to)
}

// Position returns the offset of the partition's next record. After Poll that
// is the one after its batch. In a loop over Records it is the one after the
// current record; after a break it is the current record, which is delivered
// again. Position returns fault.NotAssigned for a partition that is not owned.
func (c *Consumer) Position(ctx context.Context, tp record.TopicPartition) (int64, error) {
	c.mu.Lock()
	at, ok := c.batch.position(tp)
	c.mu.Unlock()
	if ok {
		return at.Offset, nil
	}
	return c.session.Position(ctx, tp)
}

// Offsets returns the offset that spec names in each of the partitions,
// assigned or not; by default in the assigned ones.
func (c *Consumer) Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error) {
	if len(partitions) == 0 {
		partitions = c.session.Assignment()
	}
	return c.session.Offsets(ctx, spec, partitions...)
}

// Lag returns, for each assigned partition, how many offsets lie between the
// consumer's position and the partition's high watermark.
func (c *Consumer) Lag(ctx context.Context) (map[record.TopicPartition]int64, error) {
	lag, err := c.Offsets(ctx, topic.Latest())
	if err != nil {
		return nil, err
	}
	for tp, end := range lag {
		at, err := c.Position(ctx, tp)
		if err != nil {
			return nil, err
		}
		lag[tp] = max(end-at, 0)
	}
	return lag, nil
}
