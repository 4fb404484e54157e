package replica

import (
	"math"

	"github.com/runnel-go/runnel/record"
)

// followers is what a leader knows of how far the others have got. Kafka's leaders judge
// theirs in the same way: a follower is in sync if it lately had all that its leader had
// at the time. One that answers and falls behind, because its disk is slow, is not.
type followers struct {
	term uint64 // in which this replica leads and of has them
	of   map[ID]*follower
}

// follower is another replica as its leader knows it.
type follower struct {
	match    uint64 // the index up to which it has the log
	next     int64  // the offset after that; -1 where it is not known
	last     uint64 // where the leader's log ended when it answered last
	answered int    // the tick of that
	caughtUp int    // the last tick at which it had all that the leader had
}

// outOfSync is after how many election timeouts a follower is out of sync that has not
// caught up since. With the default timeout these are ten seconds.
const outOfSync = 20

// noted notes an answer of another replica.
func (c *Core) noted(m *Message) {
	if c.role != Leader || m.Term != c.term || m.Kind != KindAppendReply && m.Kind != KindHeartbeatReply {
		return
	}
	if c.followers.term != c.term {
		c.followers = followers{c.term, map[ID]*follower{}}
	}
	f := c.followers.of[m.From]
	if f == nil {
		f = &follower{next: -1, caughtUp: math.MinInt}
		c.followers.of[m.From] = f
	}
	if m.Kind == KindAppendReply && !m.Reject && m.Index >= f.match {
		f.match = m.Index
		if next, ok := c.tail.after(m.Index); ok {
			f.next = next
		}
	}
	switch last := c.tail.last(); {
	case f.match >= last:
		f.caughtUp = c.ticks
	case f.last > 0 && f.match >= f.last:
		f.caughtUp = max(f.caughtUp, f.answered)
	}
	f.last, f.answered = c.tail.last(), c.ticks
}

// peer returns what is known of a replica whose log is known to match up to an index.
func (c *Core) peer(id ID, match uint64) Peer {
	p := Peer{ID: id, Match: match, Active: c.catchUp.heardSince(id, c.ticks-c.cfg.ElectionTicks), Lag: -1}
	f := c.followers.of[id]
	if f == nil || c.followers.term != c.term {
		return p
	}
	if f.next >= 0 {
		p.Lag = c.tail.end() - f.next
	}
	p.InSync = p.Active && f.caughtUp >= c.ticks-outOfSync*c.cfg.ElectionTicks
	return p
}

// after returns the offset after the batch of an index, where the tail knows it.
func (t *tail) after(index uint64) (offset int64, ok bool) {
	if index == t.base.Index {
		return t.base.Offset, true
	}
	if offset, ok := t.begins(index + 1); ok {
		return offset, true
	}
	if e := t.entry(index); e != nil {
		if h, err := record.ParseHeader(e.GetData()); err == nil {
			return h.NextOffset(), true
		}
	}
	return 0, false
}
