package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// catchUp is what a leader knows of the peers that lack batches which its tail has dropped.
type catchUp struct {
	loading []uint64   // indexes that are being read for them
	behind  []behind   // those that were sent a snapshot
	heard   map[ID]int // at which tick each replica was last heard
}

// behind is a peer that was sent a snapshot, and the tick at which that is forgotten.
type behind struct {
	id       ID
	deadline int
}

// forget forgets what was begun, as a replica that leads no more does.
func (u *catchUp) forget() { u.loading, u.behind = nil, nil }

// hear notes that a replica was heard at a tick.
func (u *catchUp) hear(from ID, tick int) {
	if u.heard == nil {
		u.heard = make(map[ID]int)
	}
	u.heard[from] = tick
}

// heardSince reports whether a replica was heard at a tick or later.
func (u *catchUp) heardSince(from ID, tick int) bool {
	heard, ok := u.heard[from]
	return ok && heard >= tick
}

// starts notes that a peer is sent a snapshot.
func (u *catchUp) starts(id ID, deadline int) { u.behind = append(u.behind, behind{id, deadline}) }

// started forgets that a peer was sent a snapshot.
func (u *catchUp) started(id ID) {
	u.behind = slices.DeleteFunc(u.behind, func(b behind) bool { return b.id == id })
}

// overdue returns a peer of whose snapshot nothing was heard in time.
func (u *catchUp) overdue(tick int) (id ID, ok bool) {
	for _, b := range u.behind {
		if tick >= b.deadline {
			return b.id, true
		}
	}
	return 0, false
}

// load notes that the batch of an index is to be read, unless it is already.
func (u *catchUp) load(index uint64) bool {
	if slices.Contains(u.loading, index) {
		return false
	}
	u.loading = append(u.loading, index)
	return true
}

// loaded notes that the batch of an index was read, if that is still of use.
func (u *catchUp) loaded(index uint64) bool {
	i := slices.Index(u.loading, index)
	if i < 0 {
		return false
	}
	u.loading = slices.Delete(u.loading, i, i+1)
	return true
}

// SnapshotSent tells whether a message with a Snapshot reached its receiver, and
// whether that has what comes before it. Without this call the replica is tried
// again after some time.
func (c *Core) SnapshotSent(id ID, ok bool) {
	c.catchUp.started(id)
	status := raft.SnapshotFailure
	if ok {
		status = raft.SnapshotFinish
	}
	c.do(func() error {
		c.rn.ReportSnapshot(uint64(id), status)
		return nil
	})
}

// Loaded reports what a Load has read.
func (c *Core) Loaded(r LoadResult) {
	if c.failed != nil || !c.catchUp.loaded(r.Index) {
		return
	}
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
		if !c.catchUp.heardSince(p.ID, c.ticks-c.cfg.ElectionTicks/2) || p.Match >= c.tail.first {
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
	if index == 0 || c.failed != nil || !c.catchUp.load(index) {
		return
	}
	c.out.Loads = append(c.out.Loads, Load{Index: index, MaxBytes: 4 * c.cfg.MessageBytes, last: c.begun})
}
