package replica

import (
	"slices"

	"go.etcd.io/raft/v3"

	"github.com/runnel-go/runnel/fault"
)

// standing is what a replica is in its group, as of the last call of the library.
type standing struct {
	role    Role
	leader  ID // 0 if unknown
	term    uint64
	members Membership // as of what is applied
	granted []ID       // who voted for this replica in term, in ascending order

	// begun is the term as of which this leader's first batch is in the tail. 0 where
	// another replica leads.
	begun uint64

	own uint64 // the index of the last batch that this leader made itself
}

// leads reports whether this replica may stamp batches: it leads, and the batch that
// begins its term is in the tail. Before, the tail may lack batches that the library has.
func (s *standing) leads() bool { return s.role == Leader && s.begun == s.term }

// vote notes that a replica voted for this one in the present term.
func (s *standing) vote(of ID) {
	if !slices.Contains(s.granted, of) {
		s.granted = append(s.granted, of)
		slices.Sort(s.granted)
	}
}

// fail ends the replica's part in its group.
func (s *standing) fail() { s.role, s.leader, s.begun = Failed, 0, 0 }

// observe takes over the library's role, leader and term. A replica that leads no
// more, or again, does not know what became of its proposals.
func (c *Core) observe() {
	s := c.rn.BasicStatus()
	role := Candidate
	switch s.RaftState {
	case raft.StateLeader:
		role = Leader
	case raft.StateFollower:
		role = Follower
	}
	term := s.GetTerm()
	if role == c.role && ID(s.Lead) == c.leader && term == c.term {
		return
	}
	if term != c.term {
		c.granted = c.granted[:0]
		if ID(s.GetVote()) == c.cfg.ID {
			c.granted = append(c.granted, c.cfg.ID)
		}
	}
	if c.role == Leader && (role != Leader || term != c.term) {
		c.leader = ID(s.Lead)
		c.abandon()
		c.catchUp.forget()
		c.tail.loaded = nil
	}
	c.role, c.leader, c.term = role, ID(s.Lead), term
	if role != Leader {
		c.begun = 0
	}
	c.out.StateChanged = true
}

// leading returns nil if this replica may stamp batches.
func (c *Core) leading() error {
	if c.failed == nil && c.begun != c.term {
		c.drain()
	}
	switch {
	case c.failed != nil:
		return c.failed
	case !c.leads():
		return c.notLeader()
	}
	return nil
}

// heldBy returns the index up to which n voters have the log.
func (c *Core) heldBy(n int) uint64 {
	var matches []uint64
	if c.role == Leader {
		c.rn.WithProgress(func(_ uint64, kind raft.ProgressType, p peerProgress) {
			if kind == raft.ProgressTypePeer {
				matches = append(matches, p.Match)
			}
		})
	}
	if n > len(matches) {
		return 0
	}
	slices.Sort(matches)
	return matches[len(matches)-n]
}

// active returns how many voters answered lately, this one included.
func (c *Core) active() (n int) {
	c.rn.WithProgress(func(id uint64, kind raft.ProgressType, _ peerProgress) {
		if kind == raft.ProgressTypePeer && (ID(id) == c.cfg.ID || c.catchUp.heardSince(ID(id), c.ticks-c.cfg.ElectionTicks)) {
			n++
		}
	})
	return n
}

func (c *Core) notLeader() error {
	if c.leader == 0 || c.leader == c.cfg.ID {
		return c.refuse(fault.NotLeader).Detailf("replica %v knows no leader", c.cfg.ID)
	}
	return c.refuse(fault.NotLeader).Detailf("replica %v follows %v", c.cfg.ID, c.leader)
}
