package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
)

// longestWatch is how long another node's request may wait here.
const longestWatch = time.Minute

// Serve answers a request of another node's Groups, as its GroupsConfig.Ask brings it.
func (g *Groups) Serve(ctx context.Context, fields []byte) ([]byte, error) {
	q, err := decodeRequest(fields)
	if err != nil {
		return nil, err
	}
	shards, err := g.All(ctx, false)
	if err != nil {
		return nil, err
	}
	if int(q.number) >= len(shards) {
		return nil, fault.At(fault.NotCoordinator, group.OffsetsTopic.Name, q.number, -1)
	}
	a, err := shards[q.number].answer(ctx, q)
	if errors.Is(err, fault.Closed) {
		err = shards[q.number].notCoordinator()
	}
	if err != nil {
		return nil, err
	}
	return a.encode(q.op)
}

// answer does what another node asks for.
func (s *GroupShard) answer(ctx context.Context, q *request) (a answer, err error) {
	l := &Listener{Group: q.group, Baseline: q.baseline}
	switch q.op {
	case opJoin:
		a.assignment, err = s.join(ctx, q.ticket, q.join, l)
		a.baseline = l.Baseline
	case opHeartbeat:
		a.assignment, err = s.heartbeat(ctx, q.ticket, q.member, q.owned, l)
	case opLeave:
		err = s.leave(ctx, q.ticket, q.group, q.member)
	case opIsMember:
		a.is, err = s.IsMember(ctx, q.group, q.member)
	case opCommit:
		err = s.commit(ctx, q.ticket, q.group, q.member, q.offsets)
	case opCommitted:
		a.offsets, err = s.Committed(ctx, q.group, q.stable, q.partitions...)
	case opCommitPending:
		err = s.commitPending(ctx, q.ticket, q.as, q.producer, q.offsets)
	case opEndTransaction:
		err = s.EndTransaction(ctx, q.producer, q.commit, q.coordinator)
	case opWatch:
		q.roll.wait = min(max(q.roll.wait, 0), longestWatch)
		a.called, err = s.Watch(ctx, q.ticket, q.roll)
	case opList:
		a.groups, err = s.Groups(ctx)
	case opDescribe:
		a.description, err = s.Describe(ctx, q.group)
	case opDelete:
		err = s.delete(ctx, q.ticket, q.group)
	case opDeleteOffsets:
		err = s.deleteOffsets(ctx, q.ticket, q.group, q.partitions...)
	case opOffsets:
		a.offsets, err = s.Offsets(ctx, q.group)
	}
	return a, err
}
