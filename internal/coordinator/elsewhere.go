package coordinator

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
)

// answerFor is how long a call waits for the answer of another node, beside what the node
// is asked to wait. Then the node is looked for again.
const answerFor = 5 * time.Second

// elsewhere is the coordinator of one partition's groups on another node. A call that
// certainly had no effect, or that only reads, fails with fault.NotCoordinator where the node
// does not answer.
type elsewhere struct {
	groups *Groups
	number int32
	node   int32
	epoch  int32
}

func (e *elsewhere) ask(ctx context.Context, q request) (answer, error) {
	q.number = e.number
	q.ticket = ticket{node: e.groups.cfg.Node, epoch: e.epoch, number: e.groups.tickets.Add(1)}
	fields, err := q.encode()
	if err != nil {
		return answer{}, err
	}
	r := relay{
		send: e.groups.cfg.Ask, node: e.node, wait: q.roll.wait, reads: q.op.reads(),
		lost: fault.At(fault.NotCoordinator, group.OffsetsTopic.Name, e.number, -1),
	}
	return relayed(ctx, r, fields, func(b []byte) (answer, error) { return decodeAnswer(q.op, b) })
}

// Join adds a member to its group.
func (e *elsewhere) Join(ctx context.Context, m group.Member, l *Listener) (Assignment, error) {
	a, err := e.ask(ctx, request{op: opJoin, group: m.Group, member: m.ID, join: m, baseline: l.Baseline})
	if err == nil {
		l.Baseline = a.baseline
	}
	return a.assignment, err
}

// Heartbeat moves a member towards its target.
func (e *elsewhere) Heartbeat(ctx context.Context, memberID string, owned []group.Partition, l *Listener) (Assignment, error) {
	a, err := e.ask(ctx, request{op: opHeartbeat, group: l.Group, member: memberID, owned: owned, baseline: l.Baseline})
	return a.assignment, err
}

// Leave removes a member from its group.
func (e *elsewhere) Leave(ctx context.Context, groupName, memberID string) error {
	_, err := e.ask(ctx, request{op: opLeave, group: groupName, member: memberID})
	return err
}

// IsMember reports whether the group knows a member.
func (e *elsewhere) IsMember(ctx context.Context, groupName, memberID string) (bool, error) {
	a, err := e.ask(ctx, request{op: opIsMember, group: groupName, member: memberID})
	return a.is, err
}

// Commit stores offsets.
func (e *elsewhere) Commit(ctx context.Context, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	_, err := e.ask(ctx, request{op: opCommit, group: groupName, member: memberID, offsets: offsets})
	return err
}

// CommitPending adds offsets to a transaction.
func (e *elsewhere) CommitPending(ctx context.Context, m consumer.GroupMetadata, who txn.Identity, offsets map[record.TopicPartition]consumer.Offset) error {
	_, err := e.ask(ctx, request{op: opCommitPending, group: m.Group, member: m.MemberID, as: m, producer: who, offsets: offsets})
	return err
}

// EndTransaction ends a transaction in the partition.
func (e *elsewhere) EndTransaction(ctx context.Context, who txn.Identity, commit bool, coordinatorEpoch int32) error {
	_, err := e.ask(ctx, request{op: opEndTransaction, producer: who, commit: commit, coordinator: coordinatorEpoch})
	return err
}

// Committed returns a group's offsets of some partitions.
func (e *elsewhere) Committed(ctx context.Context, groupName string, stable bool, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	a, err := e.ask(ctx, request{op: opCommitted, group: groupName, stable: stable, partitions: partitions})
	return a.offsets, err
}

// Delete deletes a group with its offsets.
func (e *elsewhere) Delete(ctx context.Context, groupName string) error {
	_, err := e.ask(ctx, request{op: opDelete, group: groupName})
	return err
}

// DeleteOffsets makes a group forget its offsets of some partitions.
func (e *elsewhere) DeleteOffsets(ctx context.Context, groupName string, partitions ...record.TopicPartition) error {
	_, err := e.ask(ctx, request{op: opDeleteOffsets, group: groupName, partitions: partitions})
	return err
}

// Groups lists the groups.
func (e *elsewhere) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	a, err := e.ask(ctx, request{op: opList})
	return a.groups, err
}

// Describe describes a group.
func (e *elsewhere) Describe(ctx context.Context, groupName string) (consumer.GroupDescription, error) {
	a, err := e.ask(ctx, request{op: opDescribe, group: groupName})
	return a.description, err
}

// Offsets returns all offsets of a group.
func (e *elsewhere) Offsets(ctx context.Context, groupName string) (map[record.TopicPartition]consumer.Offset, error) {
	a, err := e.ask(ctx, request{op: opOffsets, group: groupName})
	return a.offsets, err
}

// watch tells how members of this node are, and returns those that should send a heartbeat
// once there are some.
func (e *elsewhere) watch(ctx context.Context, r roll) (called, error) {
	a, err := e.ask(ctx, request{op: opWatch, roll: r})
	return a.called, err
}
