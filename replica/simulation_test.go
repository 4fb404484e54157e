package replica_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/replica"
)

var (
	simSeeds = flag.Int("sim.seeds", 8, "how many seeds TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "its first seed")
	simTime  = flag.Duration("sim.time", 30*time.Second, "the simulated time of each")
	simOn    = flag.Bool("sim.on", false, "go on with TestSimulation, from a random seed, until it fails or is stopped")
)

// Faults of every kind fall upon a group, drawn from a seed. At the end all is
// healed, and then: writes go on, all replicas have the same log, and what was
// acknowledged is in it.
func TestSimulation(t *testing.T) {
	first := *simFirst
	if *simOn {
		first = rand.Uint64() >> 16
		fmt.Fprintln(os.Stderr, "from seed", first)
	}
	for n := 0; (n < *simSeeds || *simOn) && !t.Failed(); n++ {
		seed := first + uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			c := simulate(seed, *simTime)
			t.Logf("trace=%016x %+v acked=%d unknown=%d refused=%d end=%d resumed=%v", c.trace.sum, c.counts, len(c.acked), c.unknown, c.refused, c.truth.end, c.resumed)
			require.Empty(t, c.failures, "again: go test ./replica -run TestSimulation$ -sim.first %d -sim.seeds 1 -sim.time %v", seed, *simTime)
		})
		if *simOn && n%100 == 99 {
			fmt.Fprintf(os.Stderr, "%d seeds of %v, up to seed %d\n", n+1, *simTime, seed)
		}
	}
}

// The same seed gives the same run, to the last message.
func TestSimulationRepeats(t *testing.T) {
	run := func() (trace uint64) {
		t.Run("run", func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, 7)
			c := simulate(7, 20*time.Second)
			require.Empty(t, c.failures)
			trace = c.trace.sum
		})
		return trace
	}
	require.Equal(t, run(), run())
}

func simulate(seed uint64, d time.Duration) *cluster {
	c := newCluster(3+2*int(seed%2), seed)
	c.loss, c.double = 0.03, 0.02
	c.work()
	for i := range 3 {
		(&idempotent{cluster: c, id: int64(i + 1)}).send()
	}
	c.trouble(d)
	c.run(d)

	c.heal()
	// Writes resume when a majority is connected, within twice the longest election
	// timeout, and what the last faults still delay.
	healed := c.now
	if !c.runUntil(2*20*tick+500*time.Millisecond, func() bool { return c.lastAck > healed }) {
		c.failf("no write succeeds after all is healed")
	}
	c.resumed = c.now - healed
	c.stopped = true
	if !c.runUntil(20*time.Second, c.settled) {
		for _, d := range c.nodes {
			s := d.core.Status()
			c.failf("node %d does not catch up: %v of epoch %d, %d of %d, %d", d.number, s.Role, s.Epoch, s.HighWatermark, s.EndOffset, c.truth.end)
		}
	}
	c.check()
	return c
}

// work proposes batches, to all that think they lead.
func (c *cluster) work() {
	c.after(time.Duration(c.rng.Int64N(int64(60*time.Millisecond))), func() {
		if c.stopped {
			return
		}
		for _, d := range c.leaders() {
			if d.running() && c.rng.IntN(4) == 0 {
				d.readLatest()
			}
			for range 1 + c.rng.IntN(3) {
				if d.up {
					d.produce(1 + c.rng.IntN(4))
				}
			}
		}
		c.work()
	})
}

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

func (c *cluster) fault() {
	d := c.nodes[c.rng.IntN(len(c.nodes))]
	long := time.Duration(c.rng.Int64N(int64(4 * time.Second)))
	switch c.rng.IntN(11) {
	case 0, 1:
		d.outage(vfs.RandomLoss(c.rng.Uint64()), long)
	case 2: // the power fails everywhere
		for _, d := range c.nodes {
			d.outage(vfs.RandomLoss(c.rng.Uint64()), long)
		}
	case 3:
		c.counts.pauses++
		d.paused = max(d.paused, c.now+long)
	case 4: // one way
		c.counts.cuts++
		c.cut[[2]int{d.number, c.rng.IntN(len(c.nodes))}] = c.now + long
	case 5: // one node from all others
		c.counts.cuts++
		for i := range c.nodes {
			c.cut[[2]int{d.number, i}], c.cut[[2]int{i, d.number}] = c.now+long, c.now+long
		}
	case 6:
		if l := c.leader(); l != nil && d.running() {
			c.counts.transfers++
			_ = l.core.Transfer(d.id)
			l.pump()
		}
	case 7:
		c.delay = time.Duration(1+c.rng.IntN(40)) * time.Millisecond
		c.diskTime = []time.Duration{100 * time.Microsecond, time.Millisecond, 30 * time.Millisecond}[c.rng.IntN(3)]
	case 10:
		c.changeMembers()
	case 8: // the disk is full, or nearly so
		c.counts.full++
		fs := d.fs
		fs.SetFree(int64(c.rng.IntN(4 << 10)))
		c.after(long, func() { fs.SetFree(-1) })
	case 9:
		if d.up {
			d.fs.Add(vfs.Rule{On: vfs.OpSync, Skip: c.rng.IntN(4), Times: 1, Err: errSync})
		}
	}
	if d.running() && c.rng.IntN(4) == 0 {
		d.retain()
	}
	if l := c.leader(); l != nil && c.rng.IntN(4) == 0 {
		l.deleteRecords()
	}
}

// changeMembers adds a learner that nobody ever sees, or removes it.
func (c *cluster) changeMembers() {
	l := c.leader()
	if l == nil {
		return
	}
	kind := replica.AddLearner
	if len(l.core.Status().Members.Learners) > 0 {
		kind = replica.Remove
	}
	l.core.ProposeMembers([]replica.Change{{ID: replica.NewID(99, 0), Kind: kind}}, func(r replica.Result) {
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
	if err != nil && !errors.Is(err, fault.DiskFull) && !errors.Is(err, errSync) {
		d.failf("node %d drops records: %v", d.number, err)
		return
	}
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
	c.loss, c.double, c.delay, c.diskTime = 0, 0, 2*time.Millisecond, 300*time.Microsecond
	clear(c.cut)
	for _, d := range c.nodes {
		d.fs.Clear()
		d.paused = c.now
		if !d.up {
			d.start()
		}
	}
}
