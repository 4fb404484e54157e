package replica

import (
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Loaded reports what a Load has read.
func (c *Core) Loaded(r LoadResult) {
	i := slices.Index(c.loading, r.Index)
	if i < 0 || c.failed != nil {
		return
	}
	c.loading = slices.Delete(c.loading, i, i+1)
	if r.Err != nil || c.role != Leader || r.last != c.begun {
		return // the peer is tried again when it answers the next heartbeat
	}
	run := loadedRun{first: r.Index}
	for i, b := range r.Batches {
		index := r.Index + uint64(i)
		e, err := entryOf(index, b)
		if term, ok := c.tail.Term(index); err != nil || ok != nil || term != e.GetTerm() {
			break
		}
		run.entries = append(run.entries, e)
	}
	if len(run.entries) == 0 {
		return
	}
	c.tail.load(run)
	c.resume()
}

// resume makes the library send to the peers that are behind and alive, as if each
// had just answered a heartbeat, which it did not long ago.
func (c *Core) resume() {
	for _, p := range c.Status().Peers {
		heard, ok := c.heard[p.ID]
		if !ok || c.ticks-heard > c.cfg.ElectionTicks/2 || p.Match >= c.tail.first {
			continue
		}
		c.do(func() error {
			return ignore(c.rn.Step(&pb.Message{
				Type: pb.MsgHeartbeatResp.Enum(), From: new(uint64(p.ID)), To: new(uint64(c.cfg.ID)), Term: new(c.term),
			}))
		})
	}
}

// readAhead asks for the batches that the library missed.
func (c *Core) readAhead() {
	index := c.tail.missed
	c.tail.missed = 0
	if index == 0 || c.failed != nil || slices.Contains(c.loading, index) {
		return
	}
	c.loading = append(c.loading, index)
	c.out.Loads = append(c.out.Loads, Load{Index: index, MaxBytes: 4 * c.cfg.MessageBytes, last: c.begun})
}
