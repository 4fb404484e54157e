package replica_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	simSeeds = flag.Int("sim.seeds", 8, "how many seeds TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "its first seed")
	simTime  = flag.Duration("sim.time", 30*time.Second, "the simulated time of each")
	simOn    = flag.Bool("sim.on", false, "go on with TestSimulation, from a random seed, until it fails or is stopped")
)

// Faults of every kind fall upon a group and its clients, drawn from a seed. At the end
// all is healed, and then: writes go on, all replicas have the same log, and what was
// acknowledged is in it. docs/replication-tests.md says which fault and which promise is tested
// where.
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
	c.clients()
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
	if !c.runUntil(20*time.Second, func() bool { return c.lost == nil && c.harmed == nil && c.settled() }) {
		if c.lost != nil {
			c.failf("node %d is not replaced: %+v", c.lost.number, c.leaders())
		}
		for _, d := range c.nodes {
			s := d.core.Status()
			c.failf("node %d does not catch up: %v of epoch %d, %d of %d, %d", d.number, s.Role, s.Epoch, s.HighWatermark, s.EndOffset, c.truth.end)
		}
	}
	c.check()
	return c
}

// clients lets everybody work, over a network as it is.
func (c *cluster) clients() {
	c.work()
	c.carefulClients()
}

// carefulClients are those that wait for what becomes of one call before they make the next.
func (c *cluster) carefulClients() {
	c.loss, c.double, c.flip = 0.03, 0.02, 0.005
	for i := range 3 {
		(&idempotent{cluster: c, id: int64(i + 1)}).send()
	}
	for i := range 2 {
		(&member{cluster: c, group: fmt.Sprint("group-", i)}).work()
	}
	c.replacements()
}

// work proposes batches, to all that think they lead.
func (c *cluster) work() {
	c.after(time.Duration(c.rng.Int64N(int64(60*time.Millisecond))), func() {
		if c.stopped {
			return
		}
		for _, d := range c.leaders() {
			if d.running() && c.rng.IntN(4) == 0 {
				d.readLatest(func() {})
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
