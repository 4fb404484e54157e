package replica

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Core is one replica of one partition, as a state machine without I/O. See the
// package's documentation. All methods are one goroutine's.
type Core struct {
	cfg   Config
	rn    *raft.RawNode
	now   int64 // milliseconds, for the timestamps of control batches
	ticks int

	stands int // in which tick it stands for election, because its leader is gone; 0: in none

	standing
	tail   tail
	high   int64  // the high watermark, which never goes back
	origin uint32 // of the group, or 0
	failed error  // why the replica does nothing any more, or nil

	proposals proposals
	sequences sequences
	reads     reads
	disk      diskQueue
	catchUp   catchUp
	followers followers

	out Output // since the last Advance
}

// New returns the core of a replica whose Disk was opened with this state.
func New(cfg Config, s DiskState) (*Core, error) {
	cfg = cfg.withDefaults()
	c := &Core{cfg: cfg, standing: standing{members: s.Members, term: s.State.Term}, high: s.HighWatermark, origin: s.Origin, now: record.NoTimestamp}
	c.tail = tail{
		base: s.Start, first: s.Tail.Index + 1, from: s.Tail.Offset, budget: cfg.TailBytes, terms: slices.Clone(s.terms),
		slots: slices.Clone(s.slots), applied: s.State.Commit,
	}
	c.tail.stable = c.tail.last()
	err := c.guard(func() (err error) {
		c.rn, err = raft.NewRawNode(&raft.Config{
			ID: uint64(cfg.ID), ElectionTick: cfg.ElectionTicks, HeartbeatTick: cfg.HeartbeatTicks,
			Storage: storage{&c.tail, s.State, s.Members}, Applied: s.State.Commit, AsyncStorageWrites: true,
			MaxSizePerMsg: uint64(cfg.MessageBytes), MaxCommittedSizePerReady: 64 << 20,
			MaxUncommittedEntriesSize: uint64(cfg.UncommittedBytes), MaxInflightMsgs: cfg.InflightMessages,
			CheckQuorum: true, PreVote: true, StepDownOnRemoval: true, DisableProposalForwarding: true,
			Logger: quiet{},
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	c.tail.trim()
	return c, nil
}

// Tick tells that one tick has passed. now, the time of day, becomes the timestamp
// of control batches, and nothing else.
func (c *Core) Tick(now time.Time) {
	if c.failed != nil {
		return
	}
	c.now = now.UnixMilli()
	c.ticks++
	c.drain() // so that a candidate knows all that it has applied
	c.do(func() error {
		c.rn.Tick()
		return nil
	})
	c.stand()
	c.rewrite()
	for id, ok := c.catchUp.overdue(c.ticks); ok; id, ok = c.catchUp.overdue(c.ticks) {
		c.SnapshotSent(id, false)
	}
}

// Step takes a message of another replica. An error says why it was ignored.
func (c *Core) Step(m Message) error {
	if c.failed != nil {
		return c.failed
	}
	if err := c.check(&m); err != nil {
		return err
	}
	r, err := m.toRaft()
	if err != nil {
		return c.refuse(fault.CodeOf(err)).Because(err)
	}
	if m.Kind == KindTimeoutNow || m.Kind == KindSnapshot {
		c.drain()
	}
	c.catchUp.hear(m.From, c.ticks)
	if m.Kind == KindVoteReply && !m.Reject && m.Term == c.term {
		c.vote(m.From)
	}
	var refused error
	c.do(func() error {
		refused = c.rn.Step(r)
		return nil
	})
	if c.failed != nil {
		return c.failed
	}
	c.noted(&m)
	if m.Kind == KindAppendReply && c.proposals.minimum > 1 {
		c.answer()
	}
	return refused
}

// Transfer asks the leader to hand its leadership to another voter, once that has
// the whole log. Meanwhile Propose fails with fault.NotLeader.
func (c *Core) Transfer(to ID) error {
	c.drain() // a message since then may have ended the leadership: the library would send the request to the next leader
	if err := c.leading(); err != nil {
		return err
	}
	c.do(func() error {
		c.rn.TransferLeader(uint64(to))
		return nil
	})
	return c.failed
}

// Campaign makes the replica stand for election without waiting for its time.
func (c *Core) Campaign() error {
	c.drain()
	c.do(func() error { return ignore(c.rn.Campaign()) })
	return c.failed
}

// Unreachable tells that a message to a replica was not sent.
func (c *Core) Unreachable(id ID) {
	c.do(func() error {
		c.rn.ReportUnreachable(uint64(id))
		return nil
	})
}

// DiskDone reports what the Disk has done. Reports come in the order of the writes.
func (c *Core) DiskDone(r DiskResult) {
	full := fault.CodeOf(r.Err) == fault.DiskFull
	if r.Err != nil && !full {
		_ = c.fail(r.Err)
		return
	}
	c.disk.done(r.Through)
	for c.failed == nil {
		messages, ok := c.disk.said(r.Through)
		if !ok {
			break
		}
		c.deliver(messages)
	}
	if r.Producers != nil {
		c.judge(r)
	}
	c.Rebase(r.LogStart)
	if full {
		c.stall(r.Err)
	} else if c.disk.roomy(r.Through) {
		c.out.Writes = slices.Clone(c.disk.unwritten) // those that came meanwhile
	}
}

// deliver sends messages that waited for the disk.
func (c *Core) deliver(messages []*pb.Message) {
	for _, r := range messages {
		if r.GetTo() != uint64(c.cfg.ID) {
			c.send(r)
			continue
		}
		c.do(func() error { return ignore(c.rn.Step(r)) })
		if r.GetType() == pb.MsgStorageAppendResp {
			c.stored(r)
		}
	}
}

// stored notes that the log on disk has everything up to an index, unless another
// term may have changed it since.
func (c *Core) stored(r *pb.Message) {
	if r.GetIndex() > 0 && r.GetTerm() == c.term {
		c.tail.stable = max(c.tail.stable, min(r.GetIndex(), c.tail.last()))
		c.answer()
	}
	if r.GetSnapshot() != nil {
		c.raise(c.tail.base.Offset)
	}
}

// Rebase tells that the log on disk begins later now: what lay before was deleted.
// The start must be one that Disk.SetStart returned.
func (c *Core) Rebase(s Start) {
	if s.Index > c.tail.base.Index && s.Index <= c.tail.applied {
		c.tail.rebase(s)
	}
}

// Advance moves everything that is to be done to out.
func (c *Core) Advance(out *Output) {
	c.drain()
	c.ask()
	c.read()
	c.readAhead()
	c.tail.trim()
	c.out.Messages, out.Messages = c.out.Messages[:0], append(out.Messages, c.out.Messages...)
	c.out.Writes, out.Writes = c.out.Writes[:0], append(out.Writes, c.out.Writes...)
	c.out.Loads, out.Loads = c.out.Loads[:0], append(out.Loads, c.out.Loads...)
	c.out.Replies, out.Replies = c.out.Replies[:0], append(out.Replies, c.out.Replies...)
	c.tellEnough(out)
	out.HighWatermark = c.high
	out.HighWatermarkMoved = out.HighWatermarkMoved || c.out.HighWatermarkMoved
	out.StateChanged = out.StateChanged || c.out.StateChanged
	c.out.HighWatermarkMoved, c.out.StateChanged = false, false
}
