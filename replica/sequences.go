package replica

import (
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// sequences is how a leader judges the batches of idempotent producers: by what its disk
// knows of them, which it asks for once in a leadership, and by what was proposed since.
type sequences struct {
	known     *log.ProducerTable // as of all that is proposed; nil until the disk has told
	held      []held             // proposals that came before, in order
	heldBytes int                // of their batches
	asked     uint64             // the DiskWrite that asks for known, or 0
}

// held is a proposal that waits for what the log knows of producers.
type held struct {
	batch []byte
	acks  Acks
	done  func(Result)
}

// holds reports whether a batch must wait until the disk has told what it knows.
func (s *sequences) holds(h *record.BatchHeader) bool {
	return len(s.held) > 0 || s.known == nil && h.ProducerID != record.NoProducerID
}

// hold keeps a proposal, unless those that are held have so many bytes already.
func (s *sequences) hold(p held, limit int) bool {
	if s.heldBytes+len(p.batch) > limit {
		return false
	}
	s.heldBytes += len(p.batch)
	s.held = append(s.held, p)
	return true
}

// release returns the proposals that were held, in order.
func (s *sequences) release() []held {
	waited := s.held
	s.held, s.heldBytes = nil, 0
	return waited
}

// abandon returns the proposals that were held, and forgets what is known: the next
// leadership asks anew.
func (s *sequences) abandon() []held {
	s.known, s.asked = nil, 0
	return s.release()
}

// hold keeps a proposal until the disk has told what it knows of producers.
func (c *Core) hold(p held) {
	if !c.sequences.hold(p, c.cfg.UncommittedBytes) {
		c.reply(p.done, c.tooMuch())
		return
	}
	if c.sequences.asked == 0 {
		c.enqueue(DiskWrite{Producers: true}, nil)
		c.sequences.asked = c.disk.sequence
	}
}

// judge begins to judge producers, and takes up the proposals that waited for it. A
// result that comes after the leadership for which it was asked is of no use.
func (c *Core) judge(r DiskResult) {
	if !c.leads() || r.Through < c.sequences.asked || c.sequences.known != nil {
		return
	}
	c.sequences.known = r.Producers
	for _, p := range c.sequences.release() {
		c.Propose(p.batch, p.acks, p.done)
	}
}

func (c *Core) propose(h *record.BatchHeader, p held) {
	idempotent := h.ProducerID != record.NoProducerID
	if idempotent {
		written, base, refused := partition.JudgeSequence(c.sequences.known.Producer(h.ProducerID), h)
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
		c.sequences.known.Add(h, nil)
	}
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
