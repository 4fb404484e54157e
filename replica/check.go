package replica

import (
	"go.etcd.io/raft/v3"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// check refuses what no sound replica of this group sends.
func (c *Core) check(m *Message) error {
	if err := c.ofThisGroup(m); err != nil {
		return err
	}
	switch {
	case m.Kind >= KindRest:
		return c.refuse(fault.InvalidRequest).Detailf("a %v is the node's", m.Kind)
	case m.To != c.cfg.ID:
		return c.refuse(fault.InvalidRequest).Detailf("a message for replica %v came to %v", m.To, c.cfg.ID)
	case m.From == 0 || m.From == c.cfg.ID || uint64(m.From) >= raft.LocalApplyThread:
		return c.refuse(fault.InvalidRequest).Detailf("a message of replica %v", m.From)
	case m.Term == 0 || m.Term > maxTerm:
		return c.refuse(fault.InvalidRequest).Detailf("a message of term %d", m.Term)
	case len(m.Batches) > 0 && m.Kind != KindAppend:
		return c.refuse(fault.InvalidRequest).Detailf("%v with batches", m.Kind)
	case (m.Snapshot != nil) != (m.Kind == KindSnapshot):
		return c.refuse(fault.InvalidRequest).Detailf("%v, with a snapshot or without one", m.Kind)
	case m.Snapshot != nil && (m.Snapshot.Index == 0 || m.Snapshot.Term == 0 || m.Snapshot.Term > m.Term || len(m.Snapshot.Voters) == 0):
		return c.refuse(fault.InvalidRequest).Detailf("a snapshot of index %d, term %d and %d voters", m.Snapshot.Index, m.Snapshot.Term, len(m.Snapshot.Voters))
	case m.Snapshot != nil && !m.Snapshot.sound():
		return c.refuse(fault.InvalidRequest).Detailf("a snapshot of a group that cannot be: %+v", m.Snapshot.Membership)
	case m.Kind == KindAppendReply && c.role == Leader && !m.Reject && m.Term == c.term && m.Index > c.tail.last()+uint64(len(c.proposals.waiting)):
		return c.refuse(fault.InvalidRequest).Detailf("replica %v has index %d of a log that ends with %d", m.From, m.Index, c.tail.last())
	case m.Kind == KindHeartbeat && m.Term >= c.term && m.Commit > c.tail.last():
		// The leader only tells of what this replica acknowledged.
		return c.fail(c.lost("the leader knows that this replica had index %d, and its log ends with %d", m.Commit, c.tail.last()))
	}
	return c.checkBatches(m)
}

// checkBatches checks what holds for the batches of any leader's message.
func (c *Core) checkBatches(m *Message) error {
	next, term := int64(-1), m.LogTerm
	for i, b := range m.Batches {
		h, err := record.ParseHeader(b)
		switch {
		case err != nil:
			return c.refuse(fault.CodeOf(err)).Because(err)
		case next >= 0 && h.BaseOffset != next:
			return c.refuse(fault.InvalidRequest).Detailf("replica %v sends a batch that begins at %d instead of %d", m.From, h.BaseOffset, next)
		case uint64(h.LeaderEpoch) < term || uint64(h.LeaderEpoch) > m.Term:
			return c.refuse(fault.InvalidRequest).Detailf("replica %v sends a batch of leader epoch %d for index %d, after %d and in %d", m.From, h.LeaderEpoch, m.Index+1+uint64(i), term, m.Term)
		}
		next, term = h.NextOffset(), uint64(h.LeaderEpoch)
	}
	return nil
}
