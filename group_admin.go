package runnel

import (
	"context"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

var _ consumer.Admin = (*Broker)(nil)

// Groups lists all groups, sorted by name. See consumer.Admin.
func (b *Broker) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	return b.groups.List(ctx)
}

// DescribeGroups describes the named groups in that order. See consumer.Admin.
func (b *Broker) DescribeGroups(ctx context.Context, names ...string) ([]consumer.GroupDescription, error) {
	return b.groups.Describe(ctx, names...)
}

// DeleteGroups deletes groups with their offsets. Those that cannot be deleted
// are reported together. See consumer.Admin.
func (b *Broker) DeleteGroups(ctx context.Context, names ...string) error {
	return b.groups.Delete(ctx, names...)
}

// GroupOffsets returns all offsets that a group has committed;
// fault.GroupNotFound. See consumer.Admin.
func (b *Broker) GroupOffsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error) {
	return b.groups.Offsets(ctx, groupName)
}

// SetGroupOffsets stores offsets for a group without members. See
// consumer.Admin.
func (b *Broker) SetGroupOffsets(ctx context.Context, groupName string, offsets map[record.TopicPartition]consumer.Offset) error {
	return b.groups.SetOffsets(ctx, groupName, offsets)
}

// DeleteGroupOffsets makes a group forget its offsets of some partitions. See
// consumer.Admin.
func (b *Broker) DeleteGroupOffsets(ctx context.Context, groupName string, partitions ...record.TopicPartition) error {
	return b.groups.DeleteOffsets(ctx, groupName, partitions...)
}
