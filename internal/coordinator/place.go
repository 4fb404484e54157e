package coordinator

import (
	"context"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
)

// shardOf coordinates the groups of one partition: a GroupShard, or one on another node.
type shardOf interface {
	Coordinator
	EndTransaction(ctx context.Context, who txn.Identity, commit bool, coordinatorEpoch int32) error
	Delete(ctx context.Context, groupName string) error
	DeleteOffsets(ctx context.Context, groupName string, partitions ...record.TopicPartition) error
	Groups(ctx context.Context) ([]consumer.GroupListing, error)
	Describe(ctx context.Context, groupName string) (consumer.GroupDescription, error)
	Offsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error)
}

var (
	_ shardOf = (*GroupShard)(nil)
	_ shardOf = (*elsewhere)(nil)
	_ shardOf = (*place)(nil)
)

// place is the coordinator of one partition's groups, on whichever node it is. Each call
// goes to the node that leads at the moment, once.
type place struct {
	groups *Groups
	local  *GroupShard
}

// at returns the coordinator as of now; fault.NotCoordinator while none is known.
func (p *place) at() (shardOf, error) {
	led, replicated := p.local.topic.Partitions()[p.local.number].Group()
	switch {
	case !replicated || led.Leader == p.groups.cfg.Node:
		return p.local, nil
	case led.Leader < 0:
		return nil, p.local.notCoordinator().Detailf("no node leads the group's partition at the moment")
	}
	return &elsewhere{groups: p.groups, number: p.local.number, node: led.Leader, epoch: led.Epoch}, nil
}

// call calls the coordinator where it is.
func call[T any](p *place, do func(shardOf) (T, error)) (result T, err error) {
	at, err := p.at()
	if err != nil {
		return result, err
	}
	return do(at)
}

// Join adds a member to its group.
func (p *place) Join(ctx context.Context, m group.Member, l *Listener) (Assignment, error) {
	a, err := call(p, func(at shardOf) (Assignment, error) { return at.Join(ctx, m, l) })
	if err == nil {
		p.groups.enter(p, m.ID, l)
	}
	return a, err
}

// Heartbeat moves a member towards its target.
func (p *place) Heartbeat(ctx context.Context, memberID string, owned []group.Partition, l *Listener) (Assignment, error) {
	a, err := call(p, func(at shardOf) (Assignment, error) { return at.Heartbeat(ctx, memberID, owned, l) })
	switch {
	case err == nil:
		p.groups.enter(p, memberID, l)
	case fault.CodeOf(err) == fault.UnknownMember:
		p.groups.exit(p, memberID)
	}
	return a, err
}

// Leave removes a member from its group.
func (p *place) Leave(ctx context.Context, groupName, memberID string) error {
	p.groups.exit(p, memberID)
	_, err := call(p, func(at shardOf) (struct{}, error) { return struct{}{}, at.Leave(ctx, groupName, memberID) })
	return err
}

// IsMember reports whether the group knows a member.
func (p *place) IsMember(ctx context.Context, groupName, memberID string) (bool, error) {
	return call(p, func(at shardOf) (bool, error) { return at.IsMember(ctx, groupName, memberID) })
}

// Commit stores offsets.
func (p *place) Commit(ctx context.Context, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	_, err := call(p, func(at shardOf) (struct{}, error) {
		return struct{}{}, at.Commit(ctx, groupName, memberID, offsets)
	})
	return err
}

// CommitPending adds offsets to a transaction.
func (p *place) CommitPending(ctx context.Context, m consumer.GroupMetadata, who txn.Identity, offsets map[record.TopicPartition]consumer.Offset) error {
	_, err := call(p, func(at shardOf) (struct{}, error) {
		return struct{}{}, at.CommitPending(ctx, m, who, offsets)
	})
	return err
}

// EndTransaction ends a transaction in the partition.
func (p *place) EndTransaction(ctx context.Context, who txn.Identity, commit bool, coordinatorEpoch int32) error {
	_, err := call(p, func(at shardOf) (struct{}, error) {
		return struct{}{}, at.EndTransaction(ctx, who, commit, coordinatorEpoch)
	})
	return err
}

// Committed returns a group's offsets of some partitions.
func (p *place) Committed(ctx context.Context, groupName string, stable bool, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	return call(p, func(at shardOf) (map[record.TopicPartition]consumer.Offset, error) {
		return at.Committed(ctx, groupName, stable, partitions...)
	})
}

// Delete deletes a group with its offsets.
func (p *place) Delete(ctx context.Context, groupName string) error {
	_, err := call(p, func(at shardOf) (struct{}, error) { return struct{}{}, at.Delete(ctx, groupName) })
	return err
}

// DeleteOffsets makes a group forget its offsets of some partitions.
func (p *place) DeleteOffsets(ctx context.Context, groupName string, partitions ...record.TopicPartition) error {
	_, err := call(p, func(at shardOf) (struct{}, error) {
		return struct{}{}, at.DeleteOffsets(ctx, groupName, partitions...)
	})
	return err
}

// Groups lists the groups.
func (p *place) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	return call(p, func(at shardOf) ([]consumer.GroupListing, error) { return at.Groups(ctx) })
}

// Describe describes a group.
func (p *place) Describe(ctx context.Context, groupName string) (consumer.GroupDescription, error) {
	return call(p, func(at shardOf) (consumer.GroupDescription, error) { return at.Describe(ctx, groupName) })
}

// Offsets returns all offsets of a group.
func (p *place) Offsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error) {
	return call(p, func(at shardOf) (map[record.TopicPartition]consumer.Offset, error) { return at.Offsets(ctx, groupName) })
}
