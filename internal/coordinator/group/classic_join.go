package group

import (
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// JoinGroup gives a member a place in the next generation of a group of the classic
// protocol, or in the present one if nothing changes for the others. The answer may wait
// for other members; ticket, which is not 0, identifies it.
//
// Errors in the answer: fault.InvalidGroup, fault.InvalidSessionTimeout,
// fault.InconsistentProtocol for a group whose members know none of the protocols or
// speak KIP-848's, fault.MemberIDRequired with the ID to ask again with,
// fault.UnknownMember, fault.FencedInstance, fault.GroupMaxSizeReached, and
// fault.RebalanceInProgress for a request in whose place another one came.
func (c *Coordinator) JoinGroup(ticket int64, q JoinGroupRequest, now time.Time) (Result, error) {
	c.begin()
	if err := c.join(ticket, q, now); err != nil {
		answer := &JoinGroupResponse{Err: err, GenerationID: -1, MemberID: q.MemberID}
		if fault.CodeOf(err) == fault.MemberIDRequired {
			answer.MemberID = q.NewMemberID
		}
		c.answerJoin(ticket, answer)
	}
	return c.end("")
}

func (c *Coordinator) join(ticket int64, q JoinGroupRequest, now time.Time) error {
	r, err := c.admit(q, now)
	if err != nil {
		return err
	}
	if q.MemberID == "" {
		return c.joinNew(ticket, r, q, now)
	}
	_, isPending := r.pending[q.MemberID]
	if isPending && q.GroupInstanceID == "" {
		return c.addMember(ticket, r, q.MemberID, q, now)
	}
	p, err := r.find(q.MemberID, q.GroupInstanceID)
	if err != nil {
		return err
	}
	p.heard = now
	changed := !p.says(q.Protocols)
	if r.state == classicPreparing || changed || r.state == classicStable && p.id == r.leader {
		c.tell(p, q)
		c.wait(ticket, p)
		c.prepare(q.GroupID, r, now)
		return nil
	}
	// Nothing has changed: it did not get the answer, or it tries again.
	c.answerJoin(ticket, r.place(p))
	return nil
}

// admit checks what needs no member, and returns the group as it lives.
func (c *Coordinator) admit(q JoinGroupRequest, now time.Time) (*round, error) {
	switch {
	case q.GroupID == "":
		return nil, fault.Newf(fault.InvalidGroup, "a group's name has at least one character")
	case q.SessionTimeout < minSessionTimeout || q.SessionTimeout > maxSessionTimeout:
		return nil, fault.Newf(fault.InvalidSessionTimeout, "%v is not from %v to %v", q.SessionTimeout, minSessionTimeout, maxSessionTimeout)
	case q.tooLong():
		return nil, fault.Newf(fault.InvalidRequest, "a name of the request has more than %d bytes", math.MaxInt16)
	case q.ProtocolType == "" || len(q.Protocols) == 0:
		return nil, fault.Newf(fault.InconsistentProtocol, "the member of group %q names no protocol", q.GroupID)
	}
	if g := c.groups[q.GroupID]; g != nil && len(g.members) > 0 {
		return nil, fault.Newf(fault.InconsistentProtocol, "the members of group %q do not speak the classic protocol", q.GroupID).
			Try("end them first; a group without members takes either protocol")
	}
	r := c.round(q.GroupID, now)
	if r == nil {
		if q.MemberID != "" {
			return nil, fault.Newf(fault.UnknownMember, "%q in group %q", q.MemberID, q.GroupID)
		}
		r = newRound()
		c.rounds[q.GroupID] = r
	}
	if len(r.members) > 0 {
		before := r.members[q.MemberID]
		if before == nil {
			before = r.static(q.GroupInstanceID)
		}
		if q.ProtocolType != r.protocolType || len(r.common(q.Protocols, before)) == 0 {
			return nil, fault.Newf(fault.InconsistentProtocol, "the members of group %q know none of the protocols", q.GroupID)
		}
	}
	return r, nil
}

// tooLong reports whether the request has a text that no record holds.
func (q *JoinGroupRequest) tooLong() bool {
	texts := []string{q.GroupID, q.MemberID, q.NewMemberID, q.GroupInstanceID, q.ProtocolType, q.ClientID, q.ClientHost}
	for _, p := range q.Protocols {
		texts = append(texts, p.Name)
	}
	return slices.ContainsFunc(texts, func(s string) bool { return len(s) > math.MaxInt16 })
}

// joinNew lets in a member that has no ID yet.
func (c *Coordinator) joinNew(ticket int64, r *round, q JoinGroupRequest, now time.Time) error {
	if old := r.static(q.GroupInstanceID); old != nil {
		return c.replaceStatic(ticket, r, old, q, now)
	}
	if q.RequireKnownMemberID && q.GroupInstanceID == "" {
		if err := c.full(r, q.GroupID); err != nil {
			return err
		}
		r.pending[q.NewMemberID] = now.Add(q.SessionTimeout)
		return fault.Newf(fault.MemberIDRequired, "%q is the ID", q.NewMemberID)
	}
	return c.addMember(ticket, r, q.NewMemberID, q, now)
}

func (c *Coordinator) full(r *round, groupName string) error {
	if len(r.members)+len(r.pending) >= c.limits.Members {
		return fault.Newf(fault.GroupMaxSizeReached, "group %q has %d members", groupName, len(r.members)+len(r.pending))
	}
	return nil
}

func (c *Coordinator) addMember(ticket int64, r *round, id string, q JoinGroupRequest, now time.Time) error {
	delete(r.pending, id)
	if err := c.full(r, q.GroupID); err != nil {
		return err
	}
	if len(r.members) == 0 {
		r.protocolType = q.ProtocolType
	}
	p := &participant{id: id, isNew: true, heard: now}
	p.instanceID = q.GroupInstanceID
	c.tell(p, q)
	c.wait(ticket, p)
	r.members[id] = p
	if !r.latest.IsZero() && r.state == classicPreparing { // others may follow soon, too
		r.deadline = earlier(now.Add(c.limits.JoinDelay), r.latest)
	}
	c.prepare(q.GroupID, r, now)
	return nil
}

// tell notes what a member says of itself.
func (c *Coordinator) tell(p *participant, q JoinGroupRequest) {
	p.clientID, p.clientHost = q.ClientID, q.ClientHost
	p.sessionTimeout, p.rebalanceTimeout = q.SessionTimeout, q.RebalanceTimeout
	p.protocols = q.Protocols
}

// wait keeps a member's JoinGroup until the generation is complete.
func (c *Coordinator) wait(ticket int64, p *participant) {
	c.release(p, fault.Newf(fault.RebalanceInProgress, "a later request of the member came"))
	p.joining = ticket
}

// release answers the requests of a member that wait.
func (c *Coordinator) release(p *participant, err error) {
	if p.joining != 0 {
		c.answerJoin(p.joining, &JoinGroupResponse{Err: err, GenerationID: -1, MemberID: p.id})
	}
	if p.syncing != 0 {
		c.answerSync(p.syncing, &SyncGroupResponse{Err: err})
	}
	p.joining, p.syncing = 0, 0
}

// replaceStatic gives a new member the place of the one that had its instance ID, which
// is fenced from now on. Nothing changes for the others if it says the same (KIP-345).
func (c *Coordinator) replaceStatic(ticket int64, r *round, old *participant, q JoinGroupRequest, now time.Time) error {
	if q.NewMemberID == old.id {
		return fault.Newf(fault.UnknownMember, "%q is the ID already", old.id)
	}
	c.release(old, fault.Newf(fault.FencedInstance, "instance %q is now another member", old.instanceID))
	said := old.metadata(r.protocol)
	p := &participant{id: q.NewMemberID, classicMember: old.classicMember, isNew: true, heard: now, synced: old.synced}
	c.tell(p, q)
	delete(r.members, old.id)
	r.members[p.id] = p
	leads := r.leader == old.id
	if leads {
		r.leader = p.id
	}
	if r.state != classicStable || r.vote() != r.protocol || string(p.metadata(r.protocol)) != string(said) {
		c.wait(ticket, p)
		c.prepare(q.GroupID, r, now)
		return nil
	}
	p.isNew = false
	c.store(q.GroupID, r, now)
	answer := r.place(p)
	if leads && q.SkipAssignment {
		answer.SkipAssignment = true
	} else if leads { // an older client would assign again: it is not told that it leads
		answer.Leader, answer.Members = old.id, nil
	}
	c.answerJoin(ticket, answer)
	return nil
}

// prepare begins a rebalance, unless one has begun, and ends its first part if all have
// joined.
func (c *Coordinator) prepare(groupName string, r *round, now time.Time) {
	if r.state != classicPreparing {
		for _, p := range r.sorted() { // of the generation that is given up
			if p.syncing != 0 {
				c.answerSync(p.syncing, &SyncGroupResponse{Err: fault.Newf(fault.RebalanceInProgress, "generation %d", r.generation)})
				p.syncing, p.heard = 0, now
			}
		}
		wait := r.rebalanceTimeout()
		r.latest = time.Time{}
		if r.state == classicEmpty {
			r.latest = now.Add(wait)
			wait = min(wait, c.limits.JoinDelay)
		}
		r.state, r.deadline = classicPreparing, now.Add(wait)
	}
	c.advance(groupName, r, now)
}

// advance ends the joining of a rebalance if all have joined or its time is over.
func (c *Coordinator) advance(groupName string, r *round, now time.Time) {
	if r.state != classicPreparing {
		return
	}
	all := r.latest.IsZero() && len(r.pending) == 0
	for _, p := range r.members {
		all = all && p.joining != 0
	}
	if all || !now.Before(r.deadline) || len(r.members) == 0 {
		c.begins(groupName, r, now)
	}
}

// begins begins the next generation with those that have joined, and with static members,
// which keep their place.
func (c *Coordinator) begins(groupName string, r *round, now time.Time) {
	var joined []*participant
	for _, p := range r.sorted() {
		switch {
		case p.joining != 0:
			joined = append(joined, p)
		case p.instanceID == "":
			delete(r.members, p.id)
		}
	}
	if len(joined) == 0 && len(r.members) > 0 { // static ones alone: there is no one to lead them
		r.deadline = now.Add(r.rebalanceTimeout())
		return
	}
	r.generation++
	r.latest, r.deadline = time.Time{}, time.Time{}
	if len(joined) == 0 {
		r.state, r.protocol, r.leader = classicEmpty, "", ""
		c.left[groupName] = now
		c.store(groupName, r, now)
		return
	}
	r.state, r.protocol = classicCompleting, r.vote()
	r.deadline = now.Add(r.rebalanceTimeout())
	if leader := r.members[r.leader]; leader == nil || leader.joining == 0 {
		r.leader = joined[0].id
	}
	for _, p := range r.members {
		p.synced, p.assignment = false, nil
	}
	for _, p := range joined {
		c.answerJoin(p.joining, r.place(p))
		p.joining, p.isNew, p.heard = 0, false, now
	}
}

// rebalanceTimeout is how long members may take to join: the longest that one asks for.
func (r *round) rebalanceTimeout() (longest time.Duration) {
	for _, p := range r.members {
		longest = max(longest, p.rebalanceTimeout)
	}
	return longest
}

func (c *Coordinator) answerJoin(ticket int64, answer *JoinGroupResponse) {
	c.answers = append(c.answers, Answer{Ticket: ticket, Join: answer})
}

func (c *Coordinator) answerSync(ticket int64, answer *SyncGroupResponse) {
	c.answers = append(c.answers, Answer{Ticket: ticket, Sync: answer})
}

// earlier returns the earlier of two times; a zero one counts as never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
