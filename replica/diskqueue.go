package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// diskQueue is what a core hands to its Disk, and what may only be said after that.
// While the disk has no room, nothing is handed over but tries of all that waits.
type diskQueue struct {
	sequence  uint64      // of the last DiskWrite
	unwritten []DiskWrite // that are not reported as done, in order
	responses []response  // in the order of their writes

	full  error  // why the disk has no room for the first of unwritten, or nil
	retry int    // the tick at which they are tried again
	again uint64 // the last one that was
}

// response is what may only be said after a DiskWrite.
type response struct {
	sequence uint64
	messages []*pb.Message
}

// add adds a write and what may be said after it.
func (q *diskQueue) add(w *DiskWrite, after []*pb.Message) {
	q.sequence++
	w.Sequence = q.sequence
	q.unwritten = append(q.unwritten, *w)
	if len(after) > 0 {
		q.responses = append(q.responses, response{w.Sequence, after})
	}
}

// done notes that the disk has done the writes up to a sequence number.
func (q *diskQueue) done(through uint64) {
	q.unwritten = slices.DeleteFunc(q.unwritten, func(w DiskWrite) bool { return w.Sequence <= through })
}

// said returns what may be said next once the writes up to a sequence number are done.
func (q *diskQueue) said(through uint64) (messages []*pb.Message, ok bool) {
	if len(q.responses) == 0 || q.responses[0].sequence > through {
		return nil, false
	}
	messages, q.responses = q.responses[0].messages, q.responses[1:]
	return messages, true
}

// due returns the writes to try again at a tick, all that wait for room, or nil. They are
// tried again at until, unless the disk answers before.
func (q *diskQueue) due(tick, until int) []DiskWrite {
	if q.full == nil || tick < q.retry || len(q.unwritten) == 0 {
		return nil
	}
	q.again = q.unwritten[len(q.unwritten)-1].Sequence
	q.retry = until
	return slices.Clone(q.unwritten)
}

// roomy notes that writes up to a sequence number were done, and reports whether the disk
// has room again.
func (q *diskQueue) roomy(through uint64) bool {
	if q.full == nil || through < q.again {
		return false
	}
	q.full = nil
	return true
}

// enqueue has the disk do a write.
func (c *Core) enqueue(w DiskWrite, after []*pb.Message) {
	w.Origin = c.origin
	c.disk.add(&w, after)
	if c.disk.full == nil {
		c.out.Writes = append(c.out.Writes, w)
	}
}

// stall takes note that the disk has no room. What was to be written stays with the
// core, and is tried again from time to time. A leader hands its leadership over:
// another replica may have room.
func (c *Core) stall(full error) {
	c.disk.full = full
	c.disk.retry = c.ticks + c.cfg.ElectionTicks
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

// rewrite tries the writes again for which there was no room.
func (c *Core) rewrite() {
	if c.failed != nil {
		return
	}
	if writes := c.disk.due(c.ticks, c.ticks+10*c.cfg.ElectionTicks); writes != nil {
		c.out.Writes = writes
	}
}
