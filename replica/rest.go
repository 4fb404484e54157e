package replica

import "slices"

// A group in which nothing happens costs nothing. When its leader has been idle for a
// while, and all members have the whole log, it tells them to rest, and rests. For a
// replica that rests no tick passes: a leader sends no heartbeats, and a follower waits
// for none. Whatever else happens to it wakes it up.
//
//	        idle; the leader: all have the whole log
//	        a follower: it has the log that the leader named
//	awake ───────────────────────────────────────────────────▶ rests
//	  ▲                                                           │
//	  └───────────────────────────────────────────────────────────┘
//	   an append, a message of another replica, the leader's node is silent
//
// A follower that missed the leader's word is awake, stands for election after a while,
// and so wakes the others; the leader answers, and all come to rest again. What a resting
// follower watches in place of its leader is the leader's node: nodes send each other a
// frame in every second tick, whether they have something to say or not.

// activity is what the stepper has to do with a replica. It is the stepper's own.
type activity struct {
	idle    int  // ticks since something happened but ticks
	rests   bool // no tick passes for it
	awake   bool // it is in the stepper's awake
	touched bool // it is in the stepper's list of those to advance
}

// restAfter is after how many idle ticks a leader rests.
const restAfter = 20

// wakes ends a rest. It runs on the stepper's goroutine.
func (r *Replica) wakes() {
	r.activity.idle = 0
	r.rise()
}

// rise lets ticks pass for the replica again.
func (r *Replica) rise() {
	r.activity.rests = false
	if !r.activity.awake {
		r.activity.awake = true
		r.stepper.awake = append(r.stepper.awake, r)
	}
}

// heard ends a rest where another replica has something to say. Heartbeats are no events,
// but a follower that gets one has a leader that does not rest.
func (r *Replica) heard(k Kind) {
	switch k {
	case KindHeartbeatReply:
	case KindHeartbeat:
		r.rise()
	default:
		r.wakes()
	}
}

// rest lets a leader and its group rest, if every member has the whole log. It is asked
// every tick from restAfter on.
func (s *stepper) rest(r *Replica) {
	status := r.core.Status()
	if !status.Leading || !status.settled() {
		return
	}
	for _, p := range status.Peers {
		if !p.Active || p.Match != status.LastIndex {
			return
		}
	}
	for _, p := range status.Peers {
		s.address(r, &Message{
			Kind: KindRest, From: r.ID(), To: p.ID, Term: uint64(status.Epoch), Index: status.LastIndex,
		})
	}
	r.activity.rests = true
}

// settled reports whether everything in the log is committed.
func (s *Status) settled() bool {
	return s.HighWatermark == s.EndOffset && len(s.Members.Outgoing) == 0
}

// mayRest lets a follower rest whose leader rests, if it has the same log.
func (r *Replica) mayRest(s Status, m Message) {
	if s.Role == Follower && s.Leader == m.From && uint64(s.Epoch) == m.Term && s.LastIndex == m.Index && s.settled() {
		r.activity.rests = true
	}
}

// hear notes that a node is alive.
func (n *Node) hear(from NodeID) {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	p, known := n.heard[from]
	if !known || n.ticks-p.last > n.cfg.ElectionTicks {
		p.since = n.ticks
	}
	p.last = n.ticks
	n.heard[from] = p
}

// presence is in which tick something came from a node last, and since which tick it was
// not silent.
type presence struct{ since, last int }

// knows reports whether something ever came from a node.
func (n *Node) knows(id NodeID) bool {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	_, ok := n.heard[id]
	return ok
}

// silent returns the nodes from which nothing came for an election timeout.
func (n *Node) silent() (silent []NodeID) {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	for id, p := range n.heard {
		if n.ticks-p.last > n.cfg.ElectionTicks {
			silent = append(silent, id)
		}
	}
	slices.Sort(silent)
	return silent
}

// greet counts a tick, and in every second one sends an empty frame to every other node.
func (n *Node) greet() {
	n.hearing.Lock()
	n.ticks++
	now := n.ticks
	n.hearing.Unlock()
	if now%2 != 0 {
		return
	}
	for id := range n.cfg.Peers {
		if id != n.cfg.ID {
			n.cfg.Transport.Send(id, LaneControl, emptyEnvelope())
		}
	}
}
