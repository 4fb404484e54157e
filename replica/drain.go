package replica

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

type peerProgress = tracker.Progress

// drain takes everything that the library has ready, until it has nothing more.
func (c *Core) drain() {
	for c.failed == nil && c.rn.HasReady() {
		var rd raft.Ready
		c.tail.light = true
		c.do(func() error {
			rd = c.rn.Ready()
			return nil
		})
		c.tail.light = false
		if c.failed == nil {
			c.take(rd)
		}
	}
	c.proposals.follow(c.tail.end(), c.tail.last()+1)
}

// take does what one Ready asks for.
func (c *Core) take(rd raft.Ready) {
	c.observe()
	c.confirm(rd.ReadStates)
	if rd.Snapshot.GetMetadata().GetIndex() > 0 {
		s, err := startFromRaft(rd.Snapshot)
		if err == nil && s.Offset < c.high {
			err = c.refuse(fault.Storage).Detailf("a snapshot begins at offset %d, below the high watermark %d", s.Offset, c.high)
		}
		if err != nil {
			_ = c.fail(err)
			return
		}
		c.tail.reset(s)
		c.members = s.Membership
		c.out.StateChanged = true
	}
	if err := c.absorb(rd.Entries); err != nil {
		_ = c.fail(err)
		return
	}
	for _, m := range rd.Messages {
		switch m.GetType() {
		case pb.MsgStorageAppend:
			c.write(m)
		case pb.MsgStorageApply:
			c.apply(m.GetEntries())
			c.deliver(m.GetResponses())
		default:
			c.send(m)
		}
	}
}

// absorb adds the entries that the library will have written to the tail, and the
// batches to those that it made itself.
func (c *Core) absorb(entries []*pb.Entry) error {
	for _, e := range entries {
		offset, ok := c.tail.begins(e.GetIndex())
		if !ok {
			return c.refuse(fault.Storage).Detailf("index %d was to be written to a log that has %d to %d in memory", e.GetIndex(), c.tail.first, c.tail.last())
		}
		if e.GetIndex() <= c.tail.last() {
			if offset < c.high {
				return c.refuse(fault.Storage).Detailf("the log was to be cut at offset %d, below the high watermark %d", offset, c.high)
			}
			c.tail.cut(e.GetIndex())
			c.tail.stable = min(c.tail.stable, c.tail.last())
		}
		batch := e.GetData()
		own := len(batch) == 0 || c.proposals.change != nil && e.GetType() == pb.EntryConfChangeV2
		if own {
			batch = c.ownBatch(e, offset)
		}
		h, err := record.ParseHeader(batch)
		if err != nil {
			return err
		}
		if h.BaseOffset != offset || uint64(h.LeaderEpoch) != e.GetTerm() {
			return c.refuse(fault.Storage).Detailf("index %d has a batch of offset %d and leader epoch %d, where the log is at offset %d and epoch %d",
				e.GetIndex(), h.BaseOffset, h.LeaderEpoch, offset, e.GetTerm())
		}
		s, err := slotOf(record.Batch{BatchHeader: h, Bytes: batch})
		if err != nil {
			return err
		}
		c.tail.add(s)
		if own && c.role == Leader && e.GetTerm() == c.term {
			c.begun, c.own = c.term, e.GetIndex()
			c.out.StateChanged = true
		}
	}
	return nil
}

// write turns the library's request for the disk into a DiskWrite. Everything that
// the library wants said after it waits for DiskDone.
func (c *Core) write(m *pb.Message) {
	w := DiskWrite{Sync: len(m.GetResponses()) > 0}
	if m.Term != nil {
		w.HasState = true
		w.State = HardState{m.GetTerm(), ID(m.GetVote()), c.recordable(m.GetCommit())}
	}
	if m.GetSnapshot().GetMetadata().GetIndex() > 0 {
		s := c.tail.base
		w.Start = &s
	}
	if n := len(m.GetEntries()); n > 0 {
		w.First = m.GetEntries()[0].GetIndex()
		w.Offset, _ = c.tail.begins(w.First)
		for _, e := range m.GetEntries() {
			w.Batches = append(w.Batches, c.tail.slot(e.GetIndex()).data)
		}
	}
	c.enqueue(w, m.GetResponses())
}

// recordable returns how much of what is committed may be on record: not more than
// up to the next change of members or log start, which is recorded when it is applied. A
// replica that starts again takes what is on record for applied.
func (c *Core) recordable(commit uint64) uint64 {
	for i := c.tail.applied + 1; i <= commit; i++ {
		if s := c.tail.slot(i); s == nil || s.members || s.start > 0 {
			return i - 1
		}
	}
	return commit
}

// apply commits entries: the high watermark moves behind them, and those who wait
// for them are answered.
func (c *Core) apply(entries []*pb.Entry) {
	for _, e := range entries {
		s := c.tail.slot(e.GetIndex())
		if s == nil || s.term != e.GetTerm() {
			_ = c.fail(c.refuse(fault.Storage).Detailf("index %d was committed and is not in memory", e.GetIndex()))
			return
		}
		if e.GetIndex() == 1 {
			c.begins(s.data)
		}
		c.tail.applied = e.GetIndex()
		c.raise(s.next)
		if s.members {
			c.applyMembers(e.GetIndex(), s)
		}
		if s.start > 0 {
			c.enqueue(DiskWrite{LogStart: s.start}, nil)
		}
	}
	c.answer()
}

// applyMembers puts a committed change of members in force, and on disk.
func (c *Core) applyMembers(index uint64, s *slot) {
	b, err := record.Parse(s.data)
	var value []byte
	if err == nil {
		_, value, err = parseControl(b)
	}
	var change *pb.ConfChangeV2
	if err == nil {
		change, err = parseChanges(value)
	}
	if err != nil {
		_ = c.fail(err)
		return
	}
	c.do(func() error {
		c.members = membershipFromRaft(c.rn.ApplyConfChange(change))
		return nil
	})
	c.out.StateChanged = true
	c.enqueue(DiskWrite{Members: &Start{Index: index, Term: s.term, Offset: s.next, Membership: c.members}, Sync: true}, nil)
}

// raise moves the high watermark.
func (c *Core) raise(to int64) {
	if to > c.high {
		c.high = to
		c.out.HighWatermarkMoved = true
	}
}

// send hands out a message, with the batches of its entries.
func (c *Core) send(r *pb.Message) {
	m, err := fromRaft(r)
	if err != nil {
		_ = c.fail(c.refuse(fault.Unknown).Because(fmt.Errorf("from the consensus library: %w", err)))
		return
	}
	for _, e := range r.GetEntries() {
		batch := e.GetData()
		if s := c.tail.slot(e.GetIndex()); s != nil && s.term == e.GetTerm() && s.data != nil {
			batch = s.data // the library's entry of a batch that this leader made itself has other data
		}
		if len(batch) == 0 {
			return // of an earlier term, which nobody waits for
		}
		m.Batches = append(m.Batches, batch)
	}
	m.Origin = c.origin
	if m.Kind == KindSnapshot {
		m.Snapshot = m.Snapshot.with(m.To)
		c.catchUp.starts(m.To, c.ticks+4*c.cfg.ElectionTicks)
	}
	c.out.Messages = append(c.out.Messages, m)
}

// quiet is the library's logger. What it has to say is in errors; what it calls
// fatal is a panic, which guard catches.
type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}

func (quiet) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (quiet) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
