package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
)

// stall takes note that the disk has no room. What was to be written stays with the
// core, and is tried again from time to time. A leader hands its leadership over:
// another replica may have room.
func (c *Core) stall(full error) {
	c.full = full
	c.retry = c.ticks + c.cfg.ElectionTicks
	c.out.Writes = nil // they are in unwritten, too
	if c.role != Leader || c.failed != nil {
		return
	}
	var best, match uint64
	c.rn.WithProgress(func(id uint64, kind raft.ProgressType, p peerProgress) {
		if kind == raft.ProgressTypePeer && ID(id) != c.cfg.ID && p.RecentActive && p.Match >= match {
			best, match = id, p.Match
		}
	})
	if best == 0 {
		return
	}
	c.do(func() error {
		c.rn.TransferLeader(best)
		return nil
	})
}

// rewrite tries the writes for which there was no room again, all that wait for them.
func (c *Core) rewrite() {
	if c.full == nil || c.failed != nil || c.ticks < c.retry || len(c.unwritten) == 0 {
		return
	}
	c.again = c.unwritten[len(c.unwritten)-1].Sequence
	c.retry = c.ticks + 10*c.cfg.ElectionTicks // unless the disk answers before
	c.out.Writes = slices.Clone(c.unwritten)
}
