package coordinator

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/record"
)

// openRequests are those of the classic protocol that wait for an answer, by ticket. The
// shard's writer owns them.
type openRequests struct {
	last int64
	open map[int64]chan<- group.Answer
}

// add returns the ticket of a request, whose answer goes to the channel, which has room.
func (r *openRequests) add(answer chan<- group.Answer) int64 {
	if r.open == nil {
		r.open = map[int64]chan<- group.Answer{}
	}
	r.last++
	r.open[r.last] = answer
	return r.last
}

// answer gives answers to those who wait.
func (r *openRequests) answer(all []group.Answer) {
	for _, a := range all {
		if to := r.open[a.Ticket]; to != nil {
			delete(r.open, a.Ticket)
			to <- a
		}
	}
}

// abandon ends all requests: the coordinator that knew of them is no more.
func (r *openRequests) abandon() {
	for _, to := range r.open {
		close(to)
	}
	r.open = nil
}

// JoinGroup gives a member of the classic protocol a place in the next generation, and
// waits until that is complete. An error is fault.NotCoordinator if the coordinator
// starts again meanwhile; see group.Coordinator.JoinGroup.
func (s *GroupShard) JoinGroup(ctx context.Context, q group.JoinGroupRequest) group.JoinGroupResponse {
	a, err := s.wait(ctx, func(c *group.Coordinator, ticket int64) (group.Result, error) {
		return c.JoinGroup(ticket, q, time.Now())
	})
	if err != nil {
		return group.JoinGroupResponse{Err: err, GenerationID: -1, MemberID: q.MemberID}
	}
	return *a.Join
}

// SyncGroup returns a member's assignment, and waits until the leader has assigned. See
// JoinGroup and group.Coordinator.SyncGroup.
func (s *GroupShard) SyncGroup(ctx context.Context, q group.SyncGroupRequest) group.SyncGroupResponse {
	a, err := s.wait(ctx, func(c *group.Coordinator, ticket int64) (group.Result, error) {
		return c.SyncGroup(ticket, q, time.Now())
	})
	if err != nil {
		return group.SyncGroupResponse{Err: err}
	}
	return *a.Sync
}

// wait runs a command, and returns what its request is answered with, by this command or
// by a later one.
func (s *GroupShard) wait(ctx context.Context, command func(c *group.Coordinator, ticket int64) (group.Result, error)) (group.Answer, error) {
	answer := make(chan group.Answer, 1)
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		s.members = true
		return command(c, s.requests.add(answer))
	})
	if err != nil {
		return group.Answer{}, err
	}
	select {
	case a, ok := <-answer:
		if !ok {
			return a, s.notCoordinator().Detailf("the coordinator has started again")
		}
		return a, nil
	case <-ctx.Done():
		return group.Answer{}, ctx.Err()
	case <-s.host.Closing():
		return group.Answer{}, fault.Closed
	}
}

// HeartbeatGroup notes that a member of the classic protocol lives. See
// group.Coordinator.HeartbeatGroup.
func (s *GroupShard) HeartbeatGroup(ctx context.Context, q group.HeartbeatRequest) error {
	return s.View(ctx, func(c *group.Coordinator) error { return c.HeartbeatGroup(q, time.Now()) })
}

// LeaveGroup removes members of the classic protocol, and returns an error for each.
func (s *GroupShard) LeaveGroup(ctx context.Context, groupName string, members []group.MemberIdentity) ([]error, error) {
	var errs []error // which the command may still set after ctx has ended
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		s.members = true
		r, each, err := c.LeaveGroup(groupName, members, time.Now())
		errs = each
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return errs, nil
}

// CommitOffsets stores offsets as a member of the classic protocol. See
// group.Coordinator.CommitOffsets.
func (s *GroupShard) CommitOffsets(ctx context.Context, q group.HeartbeatRequest, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) { return c.CommitOffsets(q, offsets, time.Now()) })
}
