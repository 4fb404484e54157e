package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
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

// Join adds a member to its group. l.Baseline becomes the group's.
func (s *GroupShard) Join(ctx context.Context, m group.Member, l *Listener) (a Assignment, err error) {
	err = s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		s.members = true
		joined, r, err := c.Join(m)
		if err == nil {
			l.Baseline = l.Baseline.since(l.Group, s.listeners)
			s.listeners[m.ID] = l
			a = s.named(joined)
		}
		return r, err
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Heartbeat moves a member towards its target.
func (s *GroupShard) Heartbeat(ctx context.Context, groupName, memberID string, owned []group.Partition) (a Assignment, err error) {
	err = s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		led, r, err := c.Heartbeat(groupName, memberID, owned)
		if err == nil {
			a = s.named(led)
		}
		return r, err
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Leave removes a member from its group.
func (s *GroupShard) Leave(ctx context.Context, groupName, memberID string) error {
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
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
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		return c.Commit(groupName, memberID, offsets, time.Now())
	})
}

// IsMember reports whether the group knows a member.
func (s *GroupShard) IsMember(ctx context.Context, groupName, memberID string) (is bool, err error) {
	err = s.View(ctx, func(c *group.Coordinator) error {
		is = c.IsMember(groupName, memberID)
		return nil
	})
	return is, err
}

// Committed returns a group's offsets of these partitions; none for a group that does
// not exist.
func (s *GroupShard) Committed(ctx context.Context, groupName string, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	var offsets map[record.TopicPartition]consumer.Offset
	err := s.View(ctx, func(c *group.Coordinator) error {
		offsets = c.Offsets(groupName, partitions...)
		return nil
	})
	if err != nil {
		return nil, err // also when fn ran: its result may not be in the log
	}
	return offsets, nil
}

// Delete deletes a group with its offsets.
func (s *GroupShard) Delete(ctx context.Context, groupName string) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) { return c.Delete(groupName) })
}

// View calls fn with the groups of the shard, which fn must not change.
func (s *GroupShard) View(ctx context.Context, fn func(*group.Coordinator) error) error {
	return s.view(ctx, fn)
}
