package replica

import (
	"slices"
	"time"
)

// The leader of a partition gives its leadership back to the preferred one, as Kafka's
// controller has it done by auto.leader.rebalance.enable. It decides by itself, when the
// preferred one's node has been there without interruption for NodeConfig.Rebalance, this
// one has led for as long, and that replica is in sync. So a node that comes and goes gets
// nothing, and a leadership that it can't keep comes to it once in that time at the most.

const (
	// rebalanceEvery is after how many ticks a stepper looks for leaderships to give back.
	rebalanceEvery = 20

	// rebalanceMost is how many it gives back then: appends to each wait for a moment.
	rebalanceMost = 16
)

// now returns the node's count of ticks.
func (n *Node) now() int {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	return n.ticks
}

// settledIn returns the nodes that were not silent for as many ticks.
func (n *Node) settledIn(ticks int) (settled []NodeID) {
	n.hearing.Lock()
	defer n.hearing.Unlock()
	for id, p := range n.heard {
		if n.ticks-p.last <= n.cfg.ElectionTicks && n.ticks-p.since >= ticks {
			settled = append(settled, id)
		}
	}
	return settled
}

// rebalance gives leaderships back to preferred leaders.
func (s *stepper) rebalance() {
	wait, now := s.node.cfg.Rebalance, s.node.now()
	if wait < 0 || now%rebalanceEvery != 0 {
		return
	}
	ticks := int((wait + s.node.cfg.Tick - time.Nanosecond) / s.node.cfg.Tick)
	settled := s.node.settledIn(ticks)
	given := 0
	for _, r := range s.replicas {
		if given == rebalanceMost {
			return
		}
		if r.core == nil || r.tenure.epoch == 0 || now-r.tenure.since < ticks || !slices.Contains(settled, r.cfg.Preferred) {
			continue
		}
		status := r.core.Status()
		for _, p := range status.Peers {
			if p.ID.Node() == r.cfg.Preferred && p.InSync && slices.Contains(status.Members.Voters, p.ID) {
				r.wakes()
				_ = r.core.Transfer(p.ID) // it leads, or else there is nothing to give
				r.tenure.since = now
				s.touch(r)
				given++
			}
		}
	}
}
