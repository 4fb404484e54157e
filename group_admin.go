package runnel

import (
	"context"
	"errors"
	"sort"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/record"
)

var _ consumer.Admin = (*Broker)(nil)

// Groups lists all groups, sorted by name. See consumer.Admin.
func (b *Broker) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	shards, err := b.groups.All(ctx, false)
	if err != nil {
		return nil, err
	}
	all := []consumer.GroupListing{}
	for _, s := range shards {
		err := s.View(ctx, func(c *group.Coordinator) error {
			all = append(all, c.Groups()...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// DescribeGroups describes the named groups in that order. See consumer.Admin.
func (b *Broker) DescribeGroups(ctx context.Context, names ...string) ([]consumer.GroupDescription, error) {
	descriptions := make([]consumer.GroupDescription, 0, len(names))
	for _, name := range names {
		s, err := b.groups.Shard(ctx, name, false)
		if err != nil {
			return nil, err
		}
		if s == nil {
			return nil, fault.Newf(fault.GroupNotFound, "%q", name)
		}
		var d consumer.GroupDescription
		err = s.View(ctx, func(c *group.Coordinator) (err error) {
			d, err = c.Describe(name)
			return err
		})
		if err != nil {
			return nil, err
		}
		descriptions = append(descriptions, d)
	}
	return descriptions, nil
}

// DeleteGroups deletes groups with their offsets. Those that cannot be deleted
// are reported together. See consumer.Admin.
func (b *Broker) DeleteGroups(ctx context.Context, names ...string) error {
	var errs []error
	for _, name := range names {
		s, err := b.groups.Shard(ctx, name, false)
		switch {
		case err != nil:
			return err
		case s == nil:
			errs = append(errs, fault.Newf(fault.GroupNotFound, "%q", name))
			continue
		}
		errs = append(errs, s.Delete(ctx, name))
	}
	return errors.Join(errs...)
}

// GroupOffsets returns all offsets that a group has committed;
// fault.GroupNotFound. See consumer.Admin.
func (b *Broker) GroupOffsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error) {
	s, err := b.groups.Shard(ctx, groupName, false)
	if err != nil {
		return nil, err
	}
	var offsets map[record.TopicPartition]consumer.Offset
	known := false
	if s != nil {
		err = s.View(ctx, func(c *group.Coordinator) error {
			offsets, known = c.Offsets(groupName), c.Has(groupName)
			return nil
		})
	}
	switch {
	case err != nil:
		return nil, err
	case !known:
		return nil, fault.Newf(fault.GroupNotFound, "%q", groupName)
	}
	return offsets, nil
}

// SetGroupOffsets stores offsets for a group without members. See
// consumer.Admin.
func (b *Broker) SetGroupOffsets(ctx context.Context, groupName string, offsets map[record.TopicPartition]consumer.Offset) error {
	if groupName == "" {
		return fault.Newf(fault.InvalidGroup, "a group's name has at least one character")
	}
	s, err := b.groups.Shard(ctx, groupName, true)
	if err != nil {
		return err
	}
	return s.Commit(ctx, groupName, "", offsets)
}
