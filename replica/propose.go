package replica

import (
	"slices"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// proposals are a leader's, and what becomes of them.
type proposals struct {
	// The place of the next batch: behind the tail, and behind what the library has taken
	// and not handed out.
	next      int64
	nextIndex uint64

	waiting []wait           // without an outcome
	minimum int              // how many replicas must have what is acknowledged
	enough  int64            // before it, so many have everything, as an Output has said
	change  *pb.ConfChangeV2 // while ProposeMembers has the library take it; nil otherwise
}

// wait is a proposal without an outcome.
type wait struct {
	index  uint64
	offset int64
	acks   Acks
	done   func(Result)
}

// follow makes the next batch come behind the log's last one.
func (p *proposals) follow(offset int64, index uint64) { p.next, p.nextIndex = offset, index }

// took notes that the library took a batch for the next place.
func (p *proposals) took(h *record.BatchHeader, acks Acks, done func(Result)) {
	p.waiting = append(p.waiting, wait{p.nextIndex, p.next, acks, done})
	p.next = h.NextOffset()
	p.nextIndex++
}

// await makes a proposal wait for the batch of an index.
func (p *proposals) await(w wait) { p.waiting = append(p.waiting, w) }

// counting takes out the proposals that count, in their order: enough replicas have what
// lies up to an index, or the leader has it on its disk and that is enough.
func (p *proposals) counting(enough, stable uint64) (counting []wait) {
	p.waiting = slices.DeleteFunc(p.waiting, func(w wait) bool {
		counts := w.index <= enough || w.acks == AcksLeader && w.index <= stable
		if counts {
			counting = append(counting, w)
		}
		return counts
	})
	return counting
}

// abandon returns the proposals that wait, which wait no more.
func (p *proposals) abandon() []wait {
	waiting := p.waiting
	p.waiting = nil
	return waiting
}

// Propose proposes a batch, which passes to the core, and stamps it. done becomes
// part of an Output once the outcome is known: always, unless the Core is dropped.
//
// A batch of an idempotent producer is judged as a partition without replicas judges
// it (partition.JudgeSequence), by the log and by what is proposed: one that is
// written already has the outcome of the one before.
//
// fault.NotLeader and fault.NotEnoughReplicas mean that nothing was proposed, and
// fault.BufferFull that too much is uncommitted.
func (c *Core) Propose(batch []byte, acks Acks, done func(Result)) {
	h, err := c.examine(batch)
	if active := c.active(); err == nil && active < c.proposals.minimum {
		err = c.refuse(fault.NotEnoughReplicas).Detailf("%d of %d replicas are there", active, c.proposals.minimum)
	}
	if err != nil {
		c.reply(done, err)
		return
	}
	if c.sequences.holds(&h) {
		c.hold(held{batch, acks, done})
		return
	}
	c.propose(&h, held{batch, acks, done})
}

func (c *Core) reply(done func(Result), err error) {
	c.out.Replies = append(c.out.Replies, Reply{done, Result{-1, err}})
}

// examine returns the header of a batch that this leader may stamp.
func (c *Core) examine(batch []byte) (record.BatchHeader, error) {
	if err := c.leading(); err != nil {
		return record.BatchHeader{}, err
	}
	b, err := record.Parse(batch)
	if err != nil {
		return b.BatchHeader, c.refuse(fault.CodeOf(err)).Because(err)
	}
	if b.Size() != len(batch) || b.Count <= 0 || b.Control() && !isProposed(b) {
		return b.BatchHeader, c.refuse(fault.InvalidRecord).Detailf("a batch of %d bytes of %d, %d records, attributes %#x", b.Size(), len(batch), b.Count, b.Attributes)
	}
	if c.disk.full != nil {
		return b.BatchHeader, c.disk.full
	}
	return b.BatchHeader, nil
}

// add stamps a batch and gives it to the library. It returns false if that did not
// take it.
func (c *Core) add(h *record.BatchHeader, p held) bool {
	h.BaseOffset, h.LeaderEpoch = c.proposals.next, int32(c.term)
	record.Stamp(p.batch, h.BaseOffset, h.LeaderEpoch)
	if err := c.tell(func() error { return c.rn.Propose(p.batch) }); err != nil {
		c.reply(p.done, err)
		return false
	}
	c.proposals.took(h, p.acks, p.done)
	return true
}

// ProposeStamped is Propose for a batch that its caller has judged and stamped, as
// the Proposer of a partition.Partition has, and counts once it is committed.
// fault.NotLeader where another leader epoch or another offset is next. It may not be
// mixed with Propose within an epoch.
func (c *Core) ProposeStamped(batch []byte, done func(Result)) {
	h, err := c.examine(batch)
	if err == nil && (h.BaseOffset != c.proposals.next || uint64(h.LeaderEpoch) != c.term) {
		err = c.refuse(fault.NotLeader).Detailf("a batch for offset %d in epoch %d; offset %d in epoch %d is next", h.BaseOffset, h.LeaderEpoch, c.proposals.next, c.term)
	}
	if err != nil {
		c.reply(done, err)
		return
	}
	_ = c.add(&h, held{batch, AcksAll, done})
}

// await gives a proposal the outcome of the batch at an offset.
func (c *Core) await(offset int64, p held) {
	if offset < c.high {
		c.out.Replies = append(c.out.Replies, Reply{p.done, Result{offset, nil}})
		return
	}
	c.drain() // so that the tail has all that is proposed
	i := sort.Search(len(c.tail.slots), func(i int) bool { return c.tail.slots[i].next > offset })
	c.proposals.await(wait{c.tail.first + uint64(i), offset, p.acks, p.done})
}

// answer ends the proposals that count now.
func (c *Core) answer() {
	enough := c.tail.applied
	if c.demandsMore() {
		enough = min(enough, c.heldBy(c.proposals.minimum))
	}
	for _, w := range c.proposals.counting(enough, c.tail.stable) {
		c.out.Replies = append(c.out.Replies, Reply{w.done, Result{w.offset, nil}})
	}
}

// SetMinimum sets how many replicas, the leader included, must have a batch before
// it is acknowledged under AcksAll, where that is more than a majority (Kafka's
// min.insync.replicas). While fewer answer, Propose fails with fault.NotEnoughReplicas.
// Output.Enough says it of what ProposeStamped proposes.
func (c *Core) SetMinimum(n int) {
	c.proposals.minimum, c.proposals.enough = n, 0
	c.answer()
}

// demandsMore reports whether more than a majority must have what is acknowledged.
func (c *Core) demandsMore() bool { return c.proposals.minimum > len(c.members.Voters)/2+1 }

// tellEnough sets Output.Enough where a minimum was set.
func (c *Core) tellEnough(out *Output) {
	if c.proposals.minimum <= 1 || !c.leads() {
		return
	}
	enough, ok := c.high, true
	if c.demandsMore() {
		enough, ok = c.tail.after(min(c.tail.applied, c.heldBy(c.proposals.minimum)))
	}
	if ok && enough > c.proposals.enough {
		c.proposals.enough = enough
		out.Enough = enough
	}
}

// tell makes a proposal to the library, and returns why it took it not.
func (c *Core) tell(propose func() error) error {
	var dropped error
	c.do(func() error {
		dropped = propose()
		return nil
	})
	switch {
	case c.failed != nil:
		return c.failed
	case dropped == nil:
		return nil
	case c.rn.BasicStatus().RaftState == raft.StateLeader && c.rn.BasicStatus().LeadTransferee == raft.None:
		return c.tooMuch()
	}
	return c.notLeader()
}

func (c *Core) tooMuch() error {
	return c.refuse(fault.BufferFull).Detailf("%d bytes wait to be committed", c.cfg.UncommittedBytes)
}
