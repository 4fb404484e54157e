package coordinator

import (
	"context"
	"errors"
	"sort"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// List lists all groups, sorted by name. See consumer.Admin.
func (g *Groups) List(ctx context.Context) ([]consumer.GroupListing, error) {
	shards, err := known(ctx, false, g.cfg.CatchUp, g.All)
	if err != nil {
		return nil, err
	}
	all := []consumer.GroupListing{}
	for _, s := range shards {
		err := g.insist(ctx, func() error {
			some, err := g.place(s).Groups(ctx)
			all = append(all, some...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// existing returns the shard of a group, or fault.GroupNotFound if there is no shard
// yet, and so no group either.
func (g *Groups) existing(ctx context.Context, groupName string) (shardOf, error) {
	s, err := g.Shard(ctx, groupName, false)
	if err == nil && s == nil {
		err = fault.Newf(fault.GroupNotFound, "%q", groupName)
	}
	if err != nil {
		return nil, err
	}
	return g.place(s), nil
}

// Describe describes the named groups in that order. See consumer.Admin.
func (g *Groups) Describe(ctx context.Context, names ...string) ([]consumer.GroupDescription, error) {
	descriptions := make([]consumer.GroupDescription, 0, len(names))
	for _, name := range names {
		s, err := g.existing(ctx, name)
		if err != nil {
			return nil, err
		}
		var d consumer.GroupDescription
		err = g.insist(ctx, func() (err error) {
			d, err = s.Describe(ctx, name)
			return err
		})
		if err != nil {
			return nil, err
		}
		descriptions = append(descriptions, d)
	}
	return descriptions, nil
}

// Delete deletes groups with their offsets, and returns the errors of all that it
// couldn't delete. See consumer.Admin.
func (g *Groups) Delete(ctx context.Context, names ...string) error {
	var errs []error
	for _, name := range names {
		s, err := g.Shard(ctx, name, false)
		switch {
		case err != nil:
			return err
		case s == nil:
			errs = append(errs, fault.Newf(fault.GroupNotFound, "%q", name))
		default:
			errs = append(errs, g.insistGone(ctx, func() error { return g.place(s).Delete(ctx, name) }))
		}
	}
	return errors.Join(errs...)
}

// Offsets returns all offsets that a group has committed; fault.GroupNotFound. See
// consumer.Admin.
func (g *Groups) Offsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error) {
	s, err := g.existing(ctx, groupName)
	if err != nil {
		return nil, err
	}
	var offsets map[record.TopicPartition]consumer.Offset
	err = g.insist(ctx, func() (err error) {
		offsets, err = s.Offsets(ctx, groupName)
		return err
	})
	if err != nil {
		return nil, err
	}
	return offsets, nil
}

// DeleteOffsets makes a group forget its offsets of some partitions. See consumer.Admin.
func (g *Groups) DeleteOffsets(ctx context.Context, groupName string, partitions ...record.TopicPartition) error {
	s, err := g.existing(ctx, groupName)
	if err != nil {
		return err
	}
	return g.insistGone(ctx, func() error { return s.DeleteOffsets(ctx, groupName, partitions...) })
}

// SetOffsets stores offsets for a group without members. See consumer.Admin.
func (g *Groups) SetOffsets(ctx context.Context, groupName string, offsets map[record.TopicPartition]consumer.Offset) error {
	if groupName == "" {
		return fault.Newf(fault.InvalidGroup, "a group's name has at least one character")
	}
	s, err := g.Shard(ctx, groupName, true)
	if err != nil {
		return err
	}
	return g.insist(ctx, func() error { return g.place(s).Commit(ctx, groupName, "", offsets) })
}
