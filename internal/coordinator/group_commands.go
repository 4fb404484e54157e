package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Assignment is a group.Assignment with its topics' names.
type Assignment struct {
	Epoch      int32
	Partitions map[record.TopicPartition]topic.ID
}

// named returns an assignment with its topics' names, without deleted topics.
func (s *GroupShard) named(a group.Assignment) Assignment {
	named := Assignment{Epoch: a.Epoch, Partitions: make(map[record.TopicPartition]topic.ID, len(a.Partitions))}
	for _, p := range a.Partitions {
		if name, ok := s.topics.Name(p.ID); ok {
			named.Partitions[record.TopicPartition{Topic: name, Partition: p.Number}] = p.ID
		}
	}
	return named
}

// Join adds a member to its group, or finds it there. l.Baseline becomes the group's.
func (s *GroupShard) Join(ctx context.Context, m group.Member, l *Listener) (Assignment, error) {
	return s.join(ctx, ticket{}, m, l)
}

func (s *GroupShard) join(ctx context.Context, t ticket, m group.Member, l *Listener) (Assignment, error) {
	var a Assignment // which the command may still set after ctx has ended
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		if _, err := s.admit(c, t, m.Group, m.ID); err != nil {
			return group.Result{}, err
		}
		s.members = true
		joined, r, err := c.Join(m)
		if err != nil {
			return r, err
		}
		l.Baseline = l.Baseline.since(l.Group, s.listeners)
		if t.node == 0 {
			s.listeners[m.ID] = l
		} else {
			_, _ = s.guest(c, t.node, m.Group, m.ID)
			s.listeners[m.ID].Baseline = l.Baseline
		}
		a = s.named(joined)
		return r, nil
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Heartbeat moves a member towards its target.
func (s *GroupShard) Heartbeat(ctx context.Context, memberID string, owned []group.Partition, l *Listener) (Assignment, error) {
	return s.heartbeat(ctx, ticket{}, memberID, owned, l)
}

func (s *GroupShard) heartbeat(ctx context.Context, t ticket, memberID string, owned []group.Partition, l *Listener) (Assignment, error) {
	var a Assignment // which the command may still set after ctx has ended
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		g, err := s.admit(c, t, l.Group, memberID)
		if err != nil {
			return group.Result{}, err
		}
		led, r, err := c.Heartbeat(l.Group, memberID, owned)
		if err != nil {
			return r, err
		}
		if g != nil {
			g.away = time.Time{}
			s.listeners[memberID].Baseline = l.Baseline
		} else if s.listeners[memberID] == nil {
			s.listeners[memberID] = l
		}
		a = s.named(led)
		return r, nil
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Leave removes a member from its group.
func (s *GroupShard) Leave(ctx context.Context, groupName, memberID string) error {
	return s.leave(ctx, ticket{}, groupName, memberID)
}

func (s *GroupShard) leave(ctx context.Context, t ticket, groupName, memberID string) error {
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		if _, err := s.admit(c, t, groupName, memberID); err != nil {
			return group.Result{}, err
		}
		s.members = true
		delete(s.listeners, memberID)
		return c.Leave(groupName, memberID, time.Now())
	})
	if errors.Is(err, fault.UnknownMember) {
		return nil
	}
	return err
}

// Commit stores offsets, for a member or, with an empty member ID, for a group
// without members.
func (s *GroupShard) Commit(ctx context.Context, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.commit(ctx, ticket{}, groupName, memberID, offsets)
}

func (s *GroupShard) commit(ctx context.Context, t ticket, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		if _, err := s.admit(c, t, groupName, memberID); err != nil {
			return group.Result{}, err
		}
		return c.Commit(groupName, memberID, offsets, time.Now())
	})
}

// CommitPending adds offsets to a producer's transaction; see group.Coordinator.
func (s *GroupShard) CommitPending(ctx context.Context, m consumer.GroupMetadata, who txn.Identity, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.commitPending(ctx, ticket{}, m, who, offsets)
}

func (s *GroupShard) commitPending(ctx context.Context, t ticket, m consumer.GroupMetadata, who txn.Identity, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		if _, err := s.admit(c, t, m.Group, m.MemberID); err != nil {
			return group.Result{}, err
		}
		return c.CommitPending(m, who.ProducerID, who.Epoch, offsets, time.Now())
	})
}

// EndTransaction ends a producer's transaction in this partition by a marker, for a
// coordinator of that epoch.
func (s *GroupShard) EndTransaction(ctx context.Context, who txn.Identity, commit bool, coordinatorEpoch int32) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		return c.EndTransaction(who.ProducerID, who.Epoch, group.Marker{Commit: commit, CoordinatorEpoch: coordinatorEpoch, Time: time.Now().UnixMilli()})
	})
}

// IsMember reports whether the group knows a member.
func (s *GroupShard) IsMember(ctx context.Context, groupName, memberID string) (bool, error) {
	return look(ctx, s, func(c *group.Coordinator) (bool, error) { return c.IsMember(groupName, memberID), nil })
}

// Committed returns a group's offsets of these partitions; none for a group that does
// not exist. With stable, it returns fault.UnstableOffsetCommit while an open transaction has
// one of them.
func (s *GroupShard) Committed(ctx context.Context, groupName string, stable bool, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	return look(ctx, s, func(c *group.Coordinator) (map[record.TopicPartition]consumer.Offset, error) {
		if stable {
			if err := c.Stable(groupName, partitions...); err != nil {
				return nil, err
			}
		}
		return c.Offsets(groupName, partitions...), nil
	})
}

// Delete deletes a group with its offsets.
func (s *GroupShard) Delete(ctx context.Context, groupName string) error {
	return s.delete(ctx, ticket{}, groupName)
}

func (s *GroupShard) delete(ctx context.Context, t ticket, groupName string) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		if _, err := s.admit(c, t, groupName, ""); err != nil {
			return group.Result{}, err
		}
		return c.Delete(groupName)
	})
}

// DeleteOffsets makes a group forget its offsets of some partitions.
func (s *GroupShard) DeleteOffsets(ctx context.Context, groupName string, partitions ...record.TopicPartition) error {
	return s.deleteOffsets(ctx, ticket{}, groupName, partitions...)
}

func (s *GroupShard) deleteOffsets(ctx context.Context, t ticket, groupName string, partitions ...record.TopicPartition) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		if _, err := s.admit(c, t, groupName, ""); err != nil {
			return group.Result{}, err
		}
		return c.DeleteOffsets(groupName, partitions...)
	})
}

// View calls fn with the groups of the shard, which fn must not change.
func (s *GroupShard) View(ctx context.Context, fn func(*group.Coordinator) error) error {
	return s.view(ctx, fn)
}

// look returns what fn finds in the groups of a shard. After an error it returns nothing,
// also where fn ran: what it found may not be in the log. If ctx has ended, fn may still
// be running, so its result is not even looked at.
func look[T any](ctx context.Context, s *GroupShard, fn func(*group.Coordinator) (T, error)) (T, error) {
	var found, nothing T
	err := s.View(ctx, func(c *group.Coordinator) (err error) {
		found, err = fn(c)
		return err
	})
	if err != nil {
		return nothing, err
	}
	return found, nil
}

// Groups lists the shard's groups, sorted by name.
func (s *GroupShard) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	return look(ctx, s, func(c *group.Coordinator) ([]consumer.GroupListing, error) { return c.Groups(), nil })
}

// Describe describes a group; fault.GroupNotFound.
func (s *GroupShard) Describe(ctx context.Context, groupName string) (consumer.GroupDescription, error) {
	return look(ctx, s, func(c *group.Coordinator) (consumer.GroupDescription, error) { return c.Describe(groupName) })
}

// Offsets returns all offsets of a group; fault.GroupNotFound.
func (s *GroupShard) Offsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error) {
	return look(ctx, s, func(c *group.Coordinator) (map[record.TopicPartition]consumer.Offset, error) {
		if !c.Has(groupName) {
			return nil, fault.Newf(fault.GroupNotFound, "%q", groupName)
		}
		return c.Offsets(groupName), nil
	})
}
