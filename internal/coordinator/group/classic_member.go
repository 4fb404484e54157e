package group

import (
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// SyncGroup returns a member's assignment. It waits for the leader's request, which
// brings those of all members; a member that it leaves out has none.
//
// Errors in the answer: fault.UnknownMember, fault.FencedInstance,
// fault.IllegalGeneration, fault.InconsistentProtocol, and fault.RebalanceInProgress for
// a member that must join again.
func (c *Coordinator) SyncGroup(ticket int64, q SyncGroupRequest, now time.Time) (Result, error) {
	c.begin()
	r := c.round(q.GroupID, now)
	p, err := r.findIn(q.GenerationID, q.MemberID, q.GroupInstanceID)
	switch {
	case err != nil:
	case r.state == classicPreparing:
		err = fault.Newf(fault.RebalanceInProgress, "group %q", q.GroupID)
	case q.ProtocolType != "" && q.ProtocolType != r.protocolType || q.ProtocolName != "" && q.ProtocolName != r.protocol:
		err = fault.Newf(fault.InconsistentProtocol, "group %q has chosen %q of type %q", q.GroupID, r.protocol, r.protocolType)
	}
	if err != nil {
		c.answerSync(ticket, &SyncGroupResponse{Err: err})
		return c.end("")
	}
	c.release(p, fault.Newf(fault.RebalanceInProgress, "a later request of the member came"))
	p.heard, p.synced, p.syncing = now, true, ticket
	if r.state == classicCompleting && p.id == r.leader {
		for id, m := range r.members {
			m.assignment = q.Assignments[id]
		}
		r.state = classicStable
		c.store(q.GroupID, r, now)
	}
	if r.state == classicStable {
		for _, m := range r.sorted() {
			if m.syncing != 0 {
				c.answerSync(m.syncing, &SyncGroupResponse{ProtocolType: r.protocolType, ProtocolName: r.protocol, Assignment: m.assignment})
				m.syncing, m.heard = 0, now
			}
		}
	}
	return c.end("")
}

// HeartbeatGroup notes that a member lives. fault.RebalanceInProgress tells it to join
// again; other errors are fault.UnknownMember, fault.FencedInstance and
// fault.IllegalGeneration.
func (c *Coordinator) HeartbeatGroup(q HeartbeatRequest, now time.Time) error {
	r := c.round(q.GroupID, now)
	p, err := r.findIn(q.GenerationID, q.MemberID, q.GroupInstanceID)
	if err != nil {
		return err
	}
	p.heard = now
	if r.state == classicPreparing {
		return fault.Newf(fault.RebalanceInProgress, "group %q", q.GroupID)
	}
	return nil
}

// LeaveGroup removes members of the classic protocol, static ones too, and returns an
// error for each: fault.UnknownMember or fault.FencedInstance.
func (c *Coordinator) LeaveGroup(groupName string, members []MemberIdentity, now time.Time) (Result, []error, error) {
	c.begin()
	errs := make([]error, len(members))
	r := c.round(groupName, now)
	for i, m := range members {
		if r != nil {
			if _, ok := r.pending[m.MemberID]; ok {
				delete(r.pending, m.MemberID)
				c.advance(groupName, r, now)
				continue
			}
			if static := r.static(m.GroupInstanceID); static != nil && m.MemberID == "" {
				m.MemberID = static.id
			}
		}
		p, err := r.find(m.MemberID, m.GroupInstanceID)
		if errs[i] = err; err == nil {
			c.dismiss(groupName, r, p, now)
		}
	}
	result, err := c.end("")
	return result, errs, err
}

// dismiss removes a member, after which the others join again.
func (c *Coordinator) dismiss(groupName string, r *round, p *participant, now time.Time) {
	c.release(p, fault.Newf(fault.UnknownMember, "%q has left group %q", p.id, groupName))
	delete(r.members, p.id)
	if r.leader == p.id {
		r.leader = ""
	}
	c.prepare(groupName, r, now)
}

// CommitOffsets stores offsets for a group, all or none, as a member of the classic
// protocol; with a negative generation and no member, for a group without members.
//
// fault.UnknownMember, fault.FencedInstance, fault.IllegalGeneration;
// fault.RebalanceInProgress between JoinGroup and the leader's SyncGroup, when the member
// does not know its partitions; and those of Commit for what is committed.
func (c *Coordinator) CommitOffsets(q HeartbeatRequest, offsets map[record.TopicPartition]consumer.Offset, now time.Time) (Result, error) {
	c.begin()
	r := c.round(q.GroupID, now)
	if q.GenerationID >= 0 || q.MemberID != "" || q.GroupInstanceID != "" {
		p, err := r.findIn(q.GenerationID, q.MemberID, q.GroupInstanceID)
		if err != nil {
			return Result{}, err
		}
		p.heard = now
		if r.state == classicCompleting {
			return Result{}, fault.Newf(fault.RebalanceInProgress, "group %q", q.GroupID)
		}
	} else if err := c.noMembers(q.GroupID); err != nil {
		return Result{}, err
	}
	if err := c.checkOffsets(offsets); err != nil {
		return Result{}, err
	}
	c.emitOffsets(q.GroupID, offsets, now)
	return c.end("")
}

// expireClassic removes members of the classic protocol that were not heard of for
// longer than their session timeout, and ends rebalances whose time is over. It returns
// the next deadline, or zero.
func (c *Coordinator) expireClassic(groupName string, now time.Time) (next time.Time) {
	r := c.round(groupName, now)
	if r == nil {
		return time.Time{}
	}
	for id, until := range r.pending {
		if !now.Before(until) {
			delete(r.pending, id)
		}
	}
	for _, p := range r.sorted() {
		if at := p.expires(); !at.IsZero() && !now.Before(at) {
			c.dismiss(groupName, r, p, now)
		}
	}
	if r.state == classicCompleting && !now.Before(r.deadline) {
		for _, p := range r.sorted() { // without SyncGroup there is no use in it
			if !p.synced && p.instanceID == "" {
				c.dismiss(groupName, r, p, now)
			}
		}
		c.prepare(groupName, r, now)
	}
	c.advance(groupName, r, now)
	for _, until := range r.pending {
		next = earlier(next, until)
	}
	for _, p := range r.members {
		next = earlier(next, p.expires())
	}
	if r.state == classicPreparing || r.state == classicCompleting {
		next = earlier(next, r.deadline)
	}
	if len(r.members)+len(r.pending) == 0 {
		delete(c.rounds, groupName) // the log has all there is
	}
	return next
}
