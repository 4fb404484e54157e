package group

import (
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Commit stores offsets for a group, all or none. A member may commit only for
// partitions that it owns or has not revoked yet; in Kafka's protocol, the member
// epoch serves this purpose. Without a member ID, the group must have no members.
//
// fault.UnknownMember, fault.StaleMemberEpoch for a partition that the member
// does not own, fault.NonEmptyGroup without a member; fault.UnknownTopic,
// fault.OffsetMetadataTooLarge, fault.OffsetOutOfRange for an offset below zero.
func (c *Coordinator) Commit(groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset, now time.Time) (Result, error) {
	c.begin()
	if err := c.mayCommit(groupName, memberID, offsets); err != nil {
		return Result{}, err
	}
	c.emitOffsets(groupName, offsets, now)
	return c.end(memberID)
}

func (c *Coordinator) emitOffsets(groupName string, offsets map[record.TopicPartition]consumer.Offset, now time.Time) {
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), record.TopicPartition.Compare) {
		c.emit(key{kind: keyOffset, group: groupName, topic: tp.Topic, partition: tp.Partition}, c.offsetOf(tp, offsets[tp], now).encode)
	}
}

// offsetOf returns the value of an offset that is committed now.
func (c *Coordinator) offsetOf(tp record.TopicPartition, o consumer.Offset, now time.Time) offset {
	return offset{
		offset: o.Offset, leaderEpoch: o.LeaderEpoch, metadata: o.Metadata,
		committed: now.UnixMilli(), id: c.topics.byName[tp.Topic].ID,
	}
}

// mayCommit returns why the offsets may not be committed, or nil.
func (c *Coordinator) mayCommit(groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	g := c.groups[groupName]
	if memberID == "" {
		if err := c.noMembers(groupName); err != nil {
			return err
		}
		return c.checkOffsets(offsets)
	}
	if _, _, err := c.find(groupName, memberID); err != nil {
		return err
	}
	if err := c.checkOffsets(offsets); err != nil {
		return err
	}
	for tp, o := range offsets {
		if g.owner(Partition{ID: c.topics.byName[tp.Topic].ID, Number: tp.Partition}) != memberID {
			return fault.At(fault.StaleMemberEpoch, tp.Topic, tp.Partition, o.Offset).
				Detailf("the member does not own the partition")
		}
	}
	return nil
}

// noMembers returns fault.NonEmptyGroup for a group with members of either protocol.
func (c *Coordinator) noMembers(groupName string) error {
	n := c.classicMembers(groupName)
	if g := c.groups[groupName]; g != nil {
		n += len(g.members)
	}
	if n > 0 {
		return fault.Newf(fault.NonEmptyGroup, "group %q has %d members", groupName, n)
	}
	return nil
}

// checkOffsets returns why no group may commit the offsets, or nil.
func (c *Coordinator) checkOffsets(offsets map[record.TopicPartition]consumer.Offset) error {
	for tp, o := range offsets {
		t, ok := c.topics.byName[tp.Topic]
		switch {
		case !ok || tp.Partition < 0 || tp.Partition >= t.Partitions:
			return fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1)
		case o.Offset < 0:
			return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, -1).Detailf("offset %d", o.Offset)
		case len(o.Metadata) > c.limits.Metadata:
			return fault.At(fault.OffsetMetadataTooLarge, tp.Topic, tp.Partition, o.Offset).
				Detailf("%d bytes, at most %d fit", len(o.Metadata), c.limits.Metadata)
		}
	}
	return nil
}

// DeleteOffsets makes a group forget its offsets of some partitions, all or none.
// Those that it has none of are skipped. fault.GroupNotFound;
// fault.GroupSubscribedToTopic while a member subscribes to one of the topics.
func (c *Coordinator) DeleteOffsets(groupName string, partitions ...record.TopicPartition) (Result, error) {
	c.begin()
	g := c.groups[groupName]
	if g == nil {
		return Result{}, fault.Newf(fault.GroupNotFound, "%q", groupName)
	}
	subscribed := g.topics(c.topics)
	if r := c.rounds[groupName]; r != nil {
		subscribed = append(subscribed, r.topics()...)
	} else if c.classicMembers(groupName) > 0 {
		subscribed = append(subscribed, g.classic.topics()...)
	}
	for _, tp := range partitions {
		if slices.Contains(subscribed, tp.Topic) {
			return Result{}, fault.At(fault.GroupSubscribedToTopic, tp.Topic, tp.Partition, -1).Detailf("group %q", groupName)
		}
	}
	partitions = slices.Clone(partitions)
	slices.SortFunc(partitions, record.TopicPartition.Compare)
	for _, tp := range slices.Compact(partitions) {
		if _, ok := g.offsets[tp]; ok {
			c.emit(key{kind: keyOffset, group: groupName, topic: tp.Topic, partition: tp.Partition}, nil)
		}
	}
	return c.end("")
}
