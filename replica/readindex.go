package replica

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
)

// reads is what waits for a majority to confirm that this replica still leads.
type reads struct {
	number  uint64
	waiting []read
}

// read is a call of ReadIndex.
type read struct {
	number uint64
	index  uint64 // once confirmed: what must be applied before
	done   func(Result)
}

// abandon returns the reads that wait, which wait no more.
func (r *reads) abandon() []read {
	waiting := r.waiting
	r.waiting = nil
	return waiting
}

// ReadIndex tells done the high watermark, once a majority has confirmed that this
// replica leads: no batch that was acknowledged before the call lies above it. Calls
// between two Advances share one round of messages. Loss of the leadership is
// fault.NotLeader.
func (c *Core) ReadIndex(done func(Result)) {
	if err := c.leading(); err != nil {
		c.reply(done, err)
		return
	}
	c.reads.waiting = append(c.reads.waiting, read{number: c.reads.number + 1, done: done})
}

// ask begins a round for the reads that came since the last one.
func (c *Core) ask() {
	n := len(c.reads.waiting)
	if n == 0 || c.reads.waiting[n-1].number == c.reads.number {
		return
	}
	c.reads.number++
	c.do(func() error {
		c.rn.ReadIndex(binary.BigEndian.AppendUint64(nil, c.reads.number))
		return nil
	})
	c.drain()
}

// confirm takes note of rounds that a majority has answered.
func (c *Core) confirm(states []raft.ReadState) {
	for _, s := range states {
		if len(s.RequestCtx) != 8 {
			continue
		}
		number := binary.BigEndian.Uint64(s.RequestCtx)
		for i := range c.reads.waiting {
			if r := &c.reads.waiting[i]; r.number <= number && r.index == 0 {
				r.index = max(s.Index, 1)
			}
		}
	}
}

// read ends the reads that are confirmed and whose batches are readable.
func (c *Core) read() {
	for len(c.reads.waiting) > 0 {
		r := c.reads.waiting[0]
		if r.index == 0 || r.index > c.tail.applied {
			return
		}
		c.out.Replies = append(c.out.Replies, Reply{r.done, Result{c.high, nil}})
		c.reads.waiting = c.reads.waiting[1:]
	}
}
