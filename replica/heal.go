package replica

import (
	"context"
	"errors"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// healing is the repair of what a reader found damaged, one segment at a time.
type healing struct {
	mu   sync.Mutex
	done chan struct{} // closed when the one that runs has ended; nil: none runs
}

// heal repairs the segment that a read found damaged, from another replica, and reports
// whether to read again. The replica goes on meanwhile: what it has acknowledged is not in
// doubt, because its length and its terms are on record. Readers that find damage at the
// same time wait for one repair.
func (r *Replica) heal(found error) bool {
	damage, ok := errors.AsType[*fault.Corruption](found)
	if !ok || damage.Offset < 0 {
		return false
	}
	h := &r.healing
	h.mu.Lock()
	done := h.done
	if done == nil {
		done = make(chan struct{})
		if !r.node.run(func() {
			r.refetch(damage.Offset)
			h.mu.Lock()
			h.done = nil
			h.mu.Unlock()
			close(done)
		}) {
			h.mu.Unlock()
			return false
		}
		h.done = done
	}
	h.mu.Unlock()
	<-done
	return true
}

// run runs a goroutine that Close waits for, unless the node is closed.
func (n *Node) run(do func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Go(do)
	return true
}

// refetch gets the segment of an offset from another replica that has what this one has.
func (r *Replica) refetch(offset int64) {
	p := r.part.Load()
	end, ok := committed(p, r.home.attested.Load())
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(r.node.ctx)
	defer cancel()
	m := &mending{donors: r.node, ctx: ctx, cfg: r.cfg.Disk, end: end}
	m.cfg.Group = r.group
	members := r.Status().Members
	m.peers = members.others(r.cfg.Disk.ID)
	if len(m.peers) == 0 {
		return
	}
	_ = p.Refetch(ctx, offset, p.StartOffset(), func(from, to int64, write func([]byte) error) error {
		return m.fetch(from, to, false, write)
	}) // otherwise the reader finds the damage again, and says so
}

// committed returns the last committed batch as an ending. If that is the damaged one, it
// returns the ending on record.
func committed(p donor, attested *ending) (end ending, ok bool) {
	high := p.HighWatermark()
	s, err := p.ReadLog(high-1, 1, nil)
	if err == nil && len(s.Bytes) > 0 {
		defer s.Release()
		h, err := record.ParseHeader(s.Bytes)
		return ending{offset: high, term: uint64(h.LeaderEpoch), sum: h.CRC}, err == nil && h.NextOffset() == high
	}
	return *attested, attested.offset > 0
}

// others returns the nodes of the members but one.
func (m *Membership) others(own ID) (nodes []NodeID) {
	seen := map[NodeID]bool{own.Node(): true}
	for _, list := range m.lists() {
		for _, id := range *list {
			if !seen[id.Node()] {
				seen[id.Node()] = true
				nodes = append(nodes, id.Node())
			}
		}
	}
	return nodes
}
