package replica

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/runnel-go/runnel/fault"
)

// Change is what becomes of a member.
type Change struct {
	ID   ID
	Kind ChangeKind
}

// ChangeKind says what becomes of a member.
type ChangeKind uint8

// The changes of a member.
const (
	AddVoter   = ChangeKind(pb.ConfChangeAddNode)
	Remove     = ChangeKind(pb.ConfChangeRemoveNode)
	AddLearner = ChangeKind(pb.ConfChangeAddLearnerNode)
)

// ProposeMembers proposes a change of the group's members. Several changes take
// effect together, through a membership with Outgoing voters that ends by itself.
// A change while another one is under way is fault.InvalidRequest.
func (c *Core) ProposeMembers(changes []Change, done func(Result)) {
	err := c.leading()
	if err == nil {
		c.drain() // so that the change is the next entry that the library hands out
		err = c.leading()
	}
	if err == nil && len(c.members.Outgoing) > 0 {
		err = c.refuse(fault.InvalidRequest).Detailf("its members are changing already")
	}
	how := pb.ConfChangeTransitionAuto
	change := &pb.ConfChangeV2{Transition: &how}
	for _, ch := range changes {
		change.Changes = append(change.Changes, &pb.ConfChangeSingle{Type: new(pb.ConfChangeType(ch.Kind)), NodeId: new(uint64(ch.ID))})
	}
	index, offset := c.proposals.nextIndex, c.proposals.next
	if err == nil {
		c.proposals.change = change // for absorb, which drain calls
		if err = c.tell(func() error { return c.rn.ProposeConfChange(change) }); err == nil {
			c.drain()
		}
		c.proposals.change = nil // or the next change, of another leader's, would be taken for this one
	}
	if err != nil {
		c.out.Replies = append(c.out.Replies, Reply{done, Result{-1, err}})
		return
	}
	if s := c.tail.slot(index); s == nil || !s.members { // the library wrote an empty entry instead
		err := c.refuse(fault.InvalidRequest).Detailf("its members are changing already")
		c.out.Replies = append(c.out.Replies, Reply{done, Result{-1, err}})
		return
	}
	c.proposals.await(wait{index, offset, AcksAll, done})
}
