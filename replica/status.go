package replica

import "go.etcd.io/raft/v3"

// Role is what a replica is in its group.
type Role uint8

// The roles.
const (
	Follower Role = iota
	Candidate
	Leader
	Failed // it does nothing any more
)

// String returns the role's name.
func (r Role) String() string { return [...]string{"follower", "candidate", "leader", "failed"}[r] }

// Status is what a Core knows of itself and its group.
type Status struct {
	Role          Role
	Leader        ID   // 0 if unknown
	Leading       bool // it is the leader, and takes proposals
	Epoch         int32
	Members       Membership
	StartIndex    uint64 // of the batch before the log's first one
	LastIndex     uint64
	HighWatermark int64
	EndOffset     int64
	Peers         []Peer // as the leader knows them, in the order of their IDs
	Err           error  // why it failed
}

// Peer is another replica as its leader knows it.
type Peer struct {
	ID     ID
	Match  uint64 // the index up to which it has the log
	Active bool   // it was heard within an election timeout
	InSync bool   // it is active, and lately had all that the leader had
	Lag    int64  // how many records it lacks of the leader's; -1 while the leader does not know
}

// Status returns the present state.
func (c *Core) Status() Status {
	s := Status{
		Role: c.role, Leader: c.leader, Leading: c.leads(), Epoch: int32(c.term), Members: c.members, StartIndex: c.tail.base.Index, LastIndex: c.tail.last(),
		HighWatermark: c.high, EndOffset: c.tail.end(), Err: c.failed,
	}
	if c.role == Leader {
		c.rn.WithProgress(func(id uint64, _ raft.ProgressType, p peerProgress) {
			if ID(id) != c.cfg.ID {
				s.Peers = append(s.Peers, c.peer(ID(id), p.Match))
			}
		})
	}
	return s
}
