package replica_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

// member is a consumer of a group. It reads from any node, leader or not, commits how far
// it came, and now and then forgets everything and goes on from what is committed. It
// checks that it sees nothing but what is committed, in order and without gaps; and that
// what its group has committed never goes back.
//
// A group's commits are records of the same log, as those of __consumer_offsets are: what
// the log has below the latest offset is the group's state. A member that starts again joins
// first, with a record of its own: what its earlier life has committed counts if it lies
// before that.
type member struct {
	*cluster
	group     string
	epoch     int64 // of its membership
	position  int64
	known     bool  // position counts
	committed int64 // the greatest that was acknowledged and counts
	on        *node // from which it reads
}

// commit is a record of a group in the log.
type commit struct {
	at    int64 // its offset
	group string
	epoch int64
	value int64 // joins: the member joins in epoch
	void  bool  // the member has joined again since
}

// joins is the value of a commit that commits nothing.
const joins = -1

// commitKey is the key of a commit's record.
const commitKey = "commit"

// commitOf returns a batch of one commit.
func commitOf(group string, value int64) []byte {
	b := record.NewBuilder(1 << 10)
	b.Add(1_600_000_000_000, []byte(commitKey), fmt.Appendf(nil, "%s %d", group, value), nil)
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	return batch.Bytes
}

// fold takes in the commit that a batch of the log has, if it has one.
func (c *cluster) fold(base int64, batch []byte) {
	b, err := record.Parse(batch)
	if err != nil || b.Count != 1 || b.Control() {
		return
	}
	it, err := b.Records(nil)
	var r record.Record
	if err != nil || !it.Next(&r) || string(r.Key) != commitKey {
		return
	}
	n := commit{at: base}
	if _, err := fmt.Sscanf(string(r.Value), "%s %d %d", &n.group, &n.epoch, &n.value); err != nil {
		panic(err)
	}
	if n.value == joins {
		c.epochs[n.group] = max(c.epochs[n.group], n.epoch)
	}
	n.void = n.epoch < c.epochs[n.group]
	c.commits = append(c.commits, n)
}

// committedBefore returns what a group has committed as of an offset of the log.
func (c *cluster) committedBefore(group string, offset int64) int64 {
	for i := len(c.commits) - 1; i >= 0; i-- {
		if n := c.commits[i]; n.at < offset && n.group == group && n.value != joins && !n.void {
			return n.value
		}
	}
	return 0
}

// countsAt reports whether the commit at an offset counts.
func (c *cluster) countsAt(offset int64) bool {
	return slices.ContainsFunc(c.commits, func(n commit) bool { return n.at == offset && !n.void })
}

// work is one step after the other.
func (m *member) work() {
	m.after(time.Duration(20+m.rng.IntN(60))*time.Millisecond, func() {
		if m.stopped {
			return
		}
		switch n := m.rng.IntN(20); {
		case !m.known:
			m.resume()
		case n == 0: // it crashes
			m.known = false
			m.work()
		case n < 4:
			m.commit()
		default:
			m.fetch()
			m.work()
		}
	})
}

// fetch reads from a node, up to that one's high watermark.
func (m *member) fetch() {
	if m.on == nil || m.rng.IntN(10) == 0 {
		m.on = m.nodes[m.rng.IntN(len(m.nodes))]
	}
	d := m.on
	if !d.running() || m.position >= d.high {
		return
	}
	l := d.home.Log()
	if start := l.StartOffset(); m.position < start {
		m.counts.resets++
		m.position = start
		return
	}
	s, err := l.Read(m.position, d.high, 16<<10, nil)
	if known, _ := d.damaged(err); known {
		return // it reads again
	}
	if err != nil {
		m.failf("%s reads offset %d of node %d, whose high watermark is %d: %v", m.group, m.position, d.number, d.high, err)
		return
	}
	m.counts.fetches++
	for b := s.Bytes; len(b) > 0; {
		h, err := record.ParseHeader(b)
		if err != nil {
			m.failf("%s got from node %d at offset %d: %v", m.group, d.number, m.position, err)
			return
		}
		m.see(d, &h, b[:h.Size()])
		b = b[h.Size():]
	}
}

// see takes a batch of a node.
func (m *member) see(d *node, h *record.BatchHeader, batch []byte) {
	switch want := m.truth.at(h.BaseOffset); {
	case h.BaseOffset > m.position || h.NextOffset() <= m.position:
		m.failf("%s got from node %d the batch at %d, for offset %d", m.group, d.number, h.BaseOffset, m.position)
	case h.NextOffset() > d.high:
		m.failf("%s got from node %d the batch at %d, beyond the high watermark %d", m.group, d.number, h.BaseOffset, d.high)
	case want != content(batch):
		m.failf("%s got from node %d at offset %d another batch than is there", m.group, d.number, h.BaseOffset)
	}
	m.position = h.NextOffset()
}

// propose proposes a record of the group to some leader, and calls next once it has an
// outcome, or after a while.
func (m *member) propose(value int64, next func(r replica.Result, late bool)) {
	leaders := m.leaders()
	late := false
	m.after(time.Second, func() { // the node may have crashed
		if !late {
			late = true
			next(replica.Result{Err: fault.UnknownOutcome}, false)
		}
	})
	if len(leaders) == 0 {
		return
	}
	leaders[m.rng.IntN(len(leaders))].propose(commitOf(fmt.Sprintf("%s %d", m.group, m.epoch), value), func(r replica.Result) {
		was := late
		late = true
		next(r, was)
	})
}

// commit commits the position.
func (m *member) commit() {
	value := m.position
	done := m.history.call(committed{m.group, value})
	m.propose(value, func(r replica.Result, late bool) {
		if r.Err == nil && !m.countsAt(r.Offset) {
			r.Err = fault.StaleMemberEpoch
		}
		done(value, r.Err)
		if r.Err == nil {
			m.counts.commits++
			m.committed = max(m.committed, value)
		}
		if !late {
			m.work()
		}
	})
}

// resume joins anew, and goes on from what the group has committed.
func (m *member) resume() {
	m.epoch++
	m.propose(joins, func(r replica.Result, late bool) {
		switch {
		case late:
		case r.Err == nil:
			m.after(0, m.find) // a reply is no place to ask
		default:
			m.work()
		}
	})
}

// find asks a leader for the latest offset: what the group has committed as of there is the
// position.
func (m *member) find() {
	leaders := m.leaders()
	told := false
	next := func() {
		if !told {
			told = true
			m.work()
		}
	}
	m.after(time.Second, next)
	if len(leaders) == 0 {
		return
	}
	d, before := leaders[m.rng.IntN(len(leaders))], m.committed
	done := m.history.call(found{m.group})
	d.core.ReadIndex(func(r replica.Result) {
		value := m.committedBefore(m.group, r.Offset)
		done(value, r.Err)
		switch {
		case r.Err != nil && !errors.Is(r.Err, fault.NotLeader):
			m.failf("node %d does not know the latest offset: %v", d.number, r.Err)
		case r.Err != nil || told: // it asks again
		case value < before:
			m.failf("%s has committed %d to node %d, and %d was acknowledged before it was asked", m.group, value, d.number, before)
		default:
			m.counts.resumptions++
			m.position, m.known = value, true
		}
		next()
	})
	d.pump()
}
