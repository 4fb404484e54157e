package replica

import (
	"slices"
	"sort"

	"go.etcd.io/raft/v3"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// wait is a proposal without an outcome.
type wait struct {
	index  uint64
	offset int64
	acks   Acks
	done   func(Result)
}

// held is a proposal that waits for what the log knows of producers.
type held struct {
	batch []byte
	acks  Acks
	done  func(Result)
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
	if err != nil {
		c.reply(done, err)
		return
	}
	if len(c.held) > 0 || c.producers == nil && h.ProducerID != record.NoProducerID {
		c.hold(held{batch, acks, done})
		return
	}
	c.propose(&h, held{batch, acks, done})
}

func (c *Core) reply(done func(Result), err error) {
	c.out.Replies = append(c.out.Replies, Reply{done, Result{-1, err}})
}

// hold keeps a proposal until the disk has told what it knows of producers.
func (c *Core) hold(p held) {
	if c.heldBytes += len(p.batch); c.heldBytes > c.cfg.UncommittedBytes {
		c.heldBytes -= len(p.batch)
		c.reply(p.done, c.tooMuch())
		return
	}
	c.held = append(c.held, p)
	if c.asked == 0 {
		c.enqueue(DiskWrite{Producers: true}, nil)
		c.asked = c.sequence
	}
}

// judge begins to judge producers, and takes up the proposals that waited for it. A
// result that comes after the leadership for which it was asked is of no use.
func (c *Core) judge(r DiskResult) {
	if c.role != Leader || c.begun != c.term || r.Through < c.asked || c.producers != nil {
		return
	}
	c.producers = r.Producers
	waited := c.held
	c.held, c.heldBytes = nil, 0
	for _, p := range waited {
		c.Propose(p.batch, p.acks, p.done)
	}
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
	if b.Size() != len(batch) || b.Count <= 0 || b.Control() {
		return b.BatchHeader, c.refuse(fault.InvalidRecord).Detailf("a batch of %d bytes of %d, %d records, attributes %#x", b.Size(), len(batch), b.Count, b.Attributes)
	}
	if c.full != nil {
		return b.BatchHeader, c.full
	}
	if active := c.active(); active < c.minimum {
		return b.BatchHeader, c.refuse(fault.NotEnoughReplicas).Detailf("%d of %d replicas are there", active, c.minimum)
	}
	return b.BatchHeader, nil
}

func (c *Core) propose(h *record.BatchHeader, p held) {
	idempotent := h.ProducerID != record.NoProducerID
	if idempotent {
		written, base, refused := partition.JudgeSequence(c.producers.Producer(h.ProducerID), h)
		if refused != nil {
			refused.Topic, refused.Partition = c.cfg.Topic, c.cfg.Partition
			c.confirmed(refused, p.done)
			return
		}
		if written {
			c.await(base, p)
			return
		}
	}
	if c.add(h, p) && idempotent {
		c.producers.Add(h)
	}
}

// add stamps a batch and gives it to the library. It returns false if that did not
// take it.
func (c *Core) add(h *record.BatchHeader, p held) bool {
	h.BaseOffset, h.LeaderEpoch = c.next, int32(c.term)
	record.Stamp(p.batch, h.BaseOffset, h.LeaderEpoch)
	if err := c.tell(func() error { return c.rn.Propose(p.batch) }); err != nil {
		c.reply(p.done, err)
		return false
	}
	c.waiting = append(c.waiting, wait{c.nextIndex, c.next, p.acks, p.done})
	c.next = h.NextOffset()
	c.nextIndex++
	return true
}

// confirmed refuses a proposal once it is certain that this replica leads. A leader
// that is none any more, and has not heard of it, lacks what the producer has
// written since with another one, and would take that for a gap.
func (c *Core) confirmed(refused error, done func(Result)) {
	c.ReadIndex(func(r Result) {
		if r.Err == nil {
			r = Result{-1, refused}
		}
		done(r)
	})
}

// ProposeStamped is Propose for a batch that its caller has judged and stamped, as
// the Proposer of a partition.Partition has, and counts once it is committed.
// fault.NotLeader where another leader epoch or another offset is next. It may not be
// mixed with Propose within an epoch.
func (c *Core) ProposeStamped(batch []byte, done func(Result)) {
	h, err := c.examine(batch)
	if err == nil && (h.BaseOffset != c.next || uint64(h.LeaderEpoch) != c.term) {
		err = c.refuse(fault.NotLeader).Detailf("a batch for offset %d in epoch %d; offset %d in epoch %d is next", h.BaseOffset, h.LeaderEpoch, c.next, c.term)
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
	c.waiting = append(c.waiting, wait{c.tail.first + uint64(i), offset, p.acks, p.done})
}

// answer ends the proposals that count now.
func (c *Core) answer() {
	enough := c.tail.applied
	if c.minimum > len(c.members.Voters)/2+1 {
		enough = min(enough, c.heldBy(c.minimum))
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(w wait) bool {
		counts := w.index <= enough || w.acks == AcksLeader && w.index <= c.tail.stable
		if counts {
			c.out.Replies = append(c.out.Replies, Reply{w.done, Result{w.offset, nil}})
		}
		return counts
	})
}

// SetMinimum sets how many replicas, the leader included, must have a batch before
// it is acknowledged under AcksAll, where that is more than a majority (Kafka's
// min.insync.replicas). While fewer answer, proposals fail with
// fault.NotEnoughReplicas.
func (c *Core) SetMinimum(n int) {
	c.minimum = n
	c.answer()
}

// heldBy returns the index up to which n voters have the log.
func (c *Core) heldBy(n int) uint64 {
	var matches []uint64
	if c.role == Leader {
		c.rn.WithProgress(func(_ uint64, kind raft.ProgressType, p peerProgress) {
			if kind == raft.ProgressTypePeer {
				matches = append(matches, p.Match)
			}
		})
	}
	if n > len(matches) {
		return 0
	}
	slices.Sort(matches)
	return matches[len(matches)-n]
}

// active returns how many voters answered lately, this one included.
func (c *Core) active() (n int) {
	c.rn.WithProgress(func(id uint64, kind raft.ProgressType, p peerProgress) {
		if kind == raft.ProgressTypePeer && (ID(id) == c.cfg.ID || p.RecentActive) {
			n++
		}
	})
	return n
}

// leading returns nil if this replica may stamp batches: it leads, and the batch
// that begins its term is in the tail. Before, the tail may lack batches that the
// library has.
func (c *Core) leading() error {
	if c.failed == nil && c.begun != c.term {
		c.drain()
	}
	switch {
	case c.failed != nil:
		return c.failed
	case c.role != Leader || c.begun != c.term:
		return c.notLeader()
	}
	return nil
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
