package replica_test

import (
	"errors"
	"fmt"
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
// the log has below the latest offset is the group's state.
type member struct {
	*cluster
	group     string
	position  int64
	known     bool  // position counts
	committed int64 // the greatest that was acknowledged
	on        *node // from which it reads
}

// commit is a group's commit in the log.
type commit struct {
	at    int64 // the offset of its record
	group string
	value int64
}

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

// appendCommits appends the commits that a batch has.
func appendCommits(commits []commit, base int64, batch []byte) []commit {
	b, err := record.Parse(batch)
	if err != nil || b.Count != 1 || b.Control() {
		return commits
	}
	it, err := b.Records(nil)
	var r record.Record
	if err != nil || !it.Next(&r) || string(r.Key) != commitKey {
		return commits
	}
	c := commit{at: base}
	if _, err := fmt.Sscanf(string(r.Value), "%s %d", &c.group, &c.value); err != nil {
		panic(err)
	}
	return append(commits, c)
}

// committedBefore returns what a group has committed as of an offset of the log.
func (c *cluster) committedBefore(group string, offset int64) int64 {
	for i := len(c.commits) - 1; i >= 0; i-- {
		if found := c.commits[i]; found.at < offset && found.group == group {
			return found.value
		}
	}
	return 0
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

// commit commits the position, and waits for the outcome or for a while.
func (m *member) commit() {
	leaders := m.leaders()
	value, told := m.position, false
	next := func() {
		if !told {
			told = true
			m.work()
		}
	}
	m.after(time.Second, next) // the node may have crashed
	if len(leaders) == 0 {
		return
	}
	done := m.history.call(committed{m.group, value})
	leaders[m.rng.IntN(len(leaders))].propose(commitOf(m.group, value), func(r replica.Result) {
		done(value, r.Err)
		if r.Err == nil {
			m.counts.commits++
			m.committed = max(m.committed, value)
		}
		next()
	})
}

// resume asks a leader for the latest offset, and goes on from what the group has committed
// as of there.
func (m *member) resume() {
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
		case r.Err != nil || m.known: // or an earlier answer came before
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
