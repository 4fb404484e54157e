package replica_test

import (
	"errors"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/replica"
)

// trouble lets one fault after the other happen, for some time.
func (c *cluster) trouble(d time.Duration) {
	until := c.now + d
	var next func()
	next = func() {
		if c.now >= until {
			return
		}
		c.fault()
		c.after(time.Duration(c.rng.Int64N(int64(2*time.Second))), next)
	}
	c.after(time.Second, next)
}

// fault is one of the faults, to a node, for some time.
func (c *cluster) fault() {
	d := c.nodes[c.rng.IntN(len(c.nodes))]
	long := time.Duration(c.rng.Int64N(int64(4 * time.Second)))
	switch c.rng.IntN(18) {
	case 0, 1:
		d.outage(vfs.RandomLoss(c.rng.Uint64()), long)
	case 2: // the power fails everywhere
		for _, d := range c.nodes {
			d.outage(vfs.RandomLoss(c.rng.Uint64()), long)
		}
	case 3, 4:
		c.counts.pauses++
		d.paused = max(d.paused, c.now+long)
	case 5: // one way
		c.counts.cuts++
		c.cut[[2]int{d.number, c.rng.IntN(len(c.nodes))}] = c.now + long
	case 6: // one node from all others
		c.counts.cuts++
		for i := range c.nodes {
			c.cut[[2]int{d.number, i}], c.cut[[2]int{i, d.number}] = c.now+long, c.now+long
		}
	case 7, 8:
		d.transfer()
	case 9:
		c.delay = time.Duration(1+c.rng.IntN(40)) * time.Millisecond
		c.diskTime = []time.Duration{100 * time.Microsecond, time.Millisecond, 30 * time.Millisecond}[c.rng.IntN(3)]
	case 10:
		c.changeMembers()
	case 11: // the disk is full, or nearly so
		c.counts.full++
		fs := d.fs
		fs.SetFree(int64(c.rng.IntN(4 << 10)))
		c.after(long, func() { fs.SetFree(-1) })
	case 12:
		if d.up {
			d.fs.Add(vfs.Rule{On: vfs.OpSync, Skip: c.rng.IntN(4), Times: 1, Err: errSync})
		}
	case 13:
		c.counts.stuck++
		d.stuck = max(d.stuck, c.now+long)
	case 14:
		d.mistime()
	case 15:
		d.lose()
	case 16:
		d.harm()
	case 17: // some take their leader for gone, which it may be or not
		c.counts.bereft++
		for _, d := range c.nodes {
			if d.running() && c.rng.IntN(3) > 0 {
				d.core.LeaderGone()
				d.pump()
			}
		}
	}
	if d.running() && c.rng.IntN(4) == 0 {
		d.retain()
	}
	if l := c.leader(); l != nil && c.rng.IntN(4) == 0 {
		l.deleteRecords()
	}
}

// transfer has the leader hand its leadership to a node.
func (d *node) transfer() {
	if l := d.leader(); l != nil && d.running() {
		d.counts.transfers++
		_ = l.core.Transfer(d.id)
		l.pump()
	}
}

// mistime lets a node's clock go too fast or too slow, or sets it to another time of day.
func (d *node) mistime() {
	if d.rng.IntN(2) == 0 {
		d.counts.skews++
		d.clock.rate = 0.8 + 0.4*d.rng.Float64()
		return
	}
	d.counts.jumps++
	d.clock.off = time.Duration(d.rng.Int64N(int64(2*time.Hour))) - time.Hour
}

// lose makes a node lose its disk, unless another one has: what a majority has is there
// as long as only a minority loses it. It comes back as a new replica.
func (d *node) lose() {
	if d.harmed == nil && d.replace() {
		d.counts.lost++
	}
}

// replace has a new replica, with an empty disk, come in the place of this one, unless that cannot be now.
func (d *node) replace() bool {
	l := d.leader()
	if d.lost != nil || l == nil {
		return false
	}
	members := l.core.Status().Members
	if !slices.Contains(members.Voters, d.id) || len(members.Outgoing) > 0 {
		return false
	}
	d.crash(vfs.Loss{})
	d.lost, d.gone = d, d.id
	d.disk = vfs.NewCrashable()
	d.fs = vfs.NewFaulty(d.disk)
	d.promised = replica.HardState{}
	d.id = replica.NewID(d.id.Node(), d.id.Incarnation()+1)
	members.Learners = []replica.ID{d.id}
	if err := replica.CreateDisk(d.config(), members); err != nil {
		d.failf("node %d: %v", d.number, err)
		return true
	}
	d.start()
	return true
}

// replacements has the leader bring in the replica that comes in the place of a lost one,
// in two steps: as a learner, and then as a voter, while the lost one goes.
func (c *cluster) replacements() {
	c.after(300*time.Millisecond, c.replacements)
	l := c.leader()
	if c.lost == nil || l == nil {
		return
	}
	id, m := c.lost.id, l.core.Status().Members
	done := func(replica.Result) {}
	switch {
	case len(m.Outgoing) > 0:
	case !m.Has(id):
		l.core.ProposeMembers([]replica.Change{{ID: id, Kind: replica.AddLearner}}, done)
	case slices.Contains(m.Learners, id) && c.lost.running() && c.lost.high+50 > l.high:
		l.core.ProposeMembers([]replica.Change{{ID: id, Kind: replica.AddVoter}, {ID: c.gone, Kind: replica.Remove}}, done)
	case slices.Contains(m.Voters, id) && !m.Has(c.gone) && l.core.Status().HighWatermark == l.core.Status().EndOffset:
		c.counts.replaced++
		c.lost = nil
	}
	l.pump()
}

// changeMembers adds a learner that nobody ever sees, or removes it.
func (c *cluster) changeMembers() {
	l := c.leader()
	if l == nil {
		return
	}
	kind := replica.AddLearner
	stranger := replica.NewID(99, 0)
	if slices.Contains(l.core.Status().Members.Learners, stranger) {
		kind = replica.Remove
	}
	l.core.ProposeMembers([]replica.Change{{ID: stranger, Kind: kind}}, func(r replica.Result) {
		if r.Err == nil {
			c.counts.changes++
		}
	})
	l.pump()
}

// outage switches a node off for some time.
func (d *node) outage(loss vfs.Loss, long time.Duration) {
	if !d.up {
		return
	}
	d.crash(loss)
	d.after(long, func() {
		if !d.up {
			d.start()
		}
	})
}

// retain drops some of what a node shows from its log, as retention does.
func (d *node) retain() {
	keep := int64(200 + d.rng.IntN(2000))
	if d.high-keep <= d.home.Log().StartOffset() || d.busy {
		return
	}
	start, err := d.home.SetStart(d.high - keep)
	if known, _ := d.damaged(err); known {
		return
	}
	if err != nil && !errors.Is(err, fault.DiskFull) && !errors.Is(err, errSync) {
		d.failf("node %d drops records: %v", d.number, err)
		return
	}
	d.counts.retained++
	d.core.Rebase(start)
}

// deleteRecords has the logs of all replicas begin later.
func (d *node) deleteRecords() {
	start := d.high - int64(d.rng.IntN(500))
	if start <= 0 {
		return
	}
	d.core.Propose(replica.StartBatch(1_600_000_000_000+int64(d.now/time.Millisecond), start), replica.AcksAll, func(r replica.Result) {
		if r.Err == nil {
			d.counts.deletions++
			d.deleted = max(d.deleted, start)
		}
	})
	d.pump()
}

// heal ends all faults.
func (c *cluster) heal() {
	c.loss, c.double, c.flip, c.delay, c.diskTime = 0, 0, 0, 2*time.Millisecond, 300*time.Microsecond
	clear(c.cut)
	for _, d := range c.nodes {
		d.fs.Clear()
		d.paused, d.stuck, d.clock = c.now, c.now, clock{}
		if !d.up {
			d.start()
		}
	}
}
