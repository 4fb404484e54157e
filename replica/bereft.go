package replica

import "slices"

// A follower whose leader's node is gone need not wait for an election timeout. It forgets its
// leader, so that it votes for another one at once, and the remaining voters stand for election in an order that
// all of them know. What a replica takes for gone may be there: then too few others vote for it before it has
// begun a term, as raft's PreVote has it, and the leader's next heartbeat is obeyed again.

const (
	standFirst = 2 // ticks after which the first of them stands for election: the others may hear of it a little later
	standNext  = 4 // ticks from one to the next
)

// LeaderGone tells that the leader's node is not there any more, as far as is known here.
func (c *Core) LeaderGone() {
	if c.role != Follower || c.leader == 0 || c.failed != nil {
		return
	}
	voters := slices.DeleteFunc(slices.Clone(c.members.Voters), func(id ID) bool { return id == c.leader })
	slices.Sort(voters)
	c.do(func() error { return c.rn.ForgetLeader() })
	if i := slices.Index(voters, c.cfg.ID); i >= 0 {
		// The origin, which all know, lets other groups begin with other nodes.
		turn := (i + int(c.origin)%len(voters)) % len(voters)
		c.stands = c.ticks + standFirst + turn*standNext
	}
	c.observe()
}

// stand lets a replica whose leader is gone stand for election when it is its turn, unless there is another leader by
// then.
func (c *Core) stand() {
	if c.stands == 0 || c.ticks < c.stands {
		return
	}
	c.stands = 0
	if c.role == Follower && c.leader == 0 {
		_ = c.Campaign() // a failure is in its Status
	}
}

// lose notes that there is no connection to a node any more.
func (n *Node) lose(id NodeID) {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	n.down[id] = n.ticks
}

// find notes that there is a connection again.
func (n *Node) find(id NodeID) {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	delete(n.down, id)
}

// goneAfter is after how many ticks without a connection a node counts as gone. In that time a transport has tried to
// connect again.
const goneAfter = 2

// gone returns the nodes to which there is no connection, and from which nothing came since it broke.
func (n *Node) gone() (gone []NodeID) {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	for id, since := range n.down {
		if n.ticks-since >= goneAfter && n.heard[id].last <= since {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	return gone
}
