// Package processtest tests clusters of real processes, over package tcp, under what happens to
// processes: SIGKILL, SIGSTOP, links that lose everything or are slow, full disks; and of a
// pipeline of transactions under SIGKILL, in one process and on three nodes. It has tests only. `make soak` goes on for 20 minutes.
package processtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
)

var soak = flag.Duration("soak", 0, "for how long TestFaults goes on with random faults, mostly kills, after one of each")

// TestMain is a process of a test where that starts this binary.
func TestMain(m *testing.M) {
	for variable, run := range map[string]func() error{nodeVariable: runProcess, pipelineVariable: runPipeline} {
		if os.Getenv(variable) == "" {
			continue
		}
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(leak.Patient(m))
}

// trouble is something that happens to a node.
type trouble struct {
	name   string
	begin  func(c *cluster, id int)
	end    func(c *cluster, id int)
	victim bool // its own writes go on meanwhile
}

var troubles = []trouble{
	{
		name:  "SIGKILL",
		begin: (*cluster).kill,
		end:   (*cluster).start,
	},
	{
		name:  "SIGSTOP",
		begin: func(c *cluster, id int) { c.signal(id, syscall.SIGSTOP) },
		end:   func(c *cluster, id int) { c.signal(id, syscall.SIGCONT) },
	},
	{
		name:  "links that lose everything",
		begin: func(c *cluster, id int) { c.links(id, (*wire).cut) },
		end:   func(c *cluster, id int) { c.links(id, (*wire).heal) },
	},
	{
		name:   "slow links",
		begin:  func(c *cluster, id int) { c.links(id, func(w *wire) { w.slow(30 * time.Millisecond) }) },
		end:    func(c *cluster, id int) { c.links(id, (*wire).heal) },
		victim: true,
	},
	{
		name:   "a full disk",
		begin:  func(c *cluster, id int) { c.signal(id, syscall.SIGUSR1) },
		end:    func(c *cluster, id int) { c.signal(id, syscall.SIGUSR2) },
		victim: true,
	},
}

// figures are how long writes stood still, for each kind of trouble.
type figures map[string][]time.Duration

func (f figures) String() string {
	var b strings.Builder
	for _, tr := range troubles {
		if took := f[tr.name]; len(took) > 0 {
			slices.Sort(took)
			fmt.Fprintf(&b, "\n%4d × %-27s writes to all partitions resumed after %v (median), %v (nine in ten), %v (the longest)", len(took), tr.name,
				took[len(took)/2].Round(time.Millisecond), took[len(took)*9/10].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		}
	}
	return b.String()
}

// TestFaults torments three processes that all write, one of them at a time, so that a majority is
// always connected: writes go on soon, and in the end every copy has each acknowledged record once, where it
// was acknowledged, and all others at most once. Each process has a member of a group, which reads all of that at least once,
// and whose committed offsets never go back. The nodes speak TLS.
//
// How soon depends on the machine, so it is printed, and only a bound that has nothing to do
// with speed is a failure.
func TestFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t)
	for id := range nodes {
		c.start(id)
	}
	c.until(t, "all nodes are open", func() bool { return c.ledger.open == [nodes]int{1, 1, 1} })
	c.resumed(t, time.Now(), 0, 1, 2)

	took := figures{}
	began := time.Now()
	for round, tr := range troubles {
		took[tr.name] = append(took[tr.name], c.torment(tr, round%nodes, 500*time.Millisecond))
	}
	for time.Since(began) < *soak {
		tr := troubles[0]
		if random.IntN(2) == 0 {
			tr = troubles[random.IntN(len(troubles))]
		}
		pause(500*time.Millisecond + time.Duration(random.Int64N(int64(time.Second))))
		took[tr.name] = append(took[tr.name], c.torment(tr, random.IntN(nodes), time.Duration(random.Int64N(int64(3*time.Second)))))
	}

	c.until(t, "the group has committed something of each partition", func() bool {
		return !slices.ContainsFunc(c.group[:], func(r reading) bool { return r.commits == 0 })
	})
	acked, last, committed := c.snapshot()
	c.until(t, "the group has got what was acknowledged", func() bool { return c.gotAll(last) })
	for _, n := range c.nodes {
		_, err := fmt.Fprintln(n.in, "read", last[0], last[1], last[2])
		require.NoError(t, err)
	}
	c.until(t, "all nodes have read", func() bool { return c.read == [nodes]bool{true, true, true} })
	c.check(t, acked)
	c.checkGroup(t, acked, committed)
	c.stop()
	total, commits := 0, 0
	for p := range acked {
		total, commits = total+len(acked[p]), commits+c.group[p].commits
	}
	t.Logf("%v: %d records acknowledged, all there, each once, on all nodes; the group committed %d times; an election begins after %v to %v%v",
		time.Since(began).Round(time.Second), total, commits, electionTicks*tick, 2*electionTicks*tick, took)
}

// torment lets something happen to a node, for a time from when writes have resumed, and waits until
// the node itself writes again. It returns how long the writes of the others stood still.
func (c *cluster) torment(tr trouble, id int, d time.Duration) time.Duration {
	others := slices.DeleteFunc([]int{0, 1, 2}, func(other int) bool { return other == id })
	at := time.Now()
	tr.begin(c, id)
	took := c.resumed(c.t, at, others...)
	if tr.victim {
		c.resumed(c.t, at, id)
	}
	pause(d)
	over := time.Now()
	tr.end(c, id)
	c.resumed(c.t, over, others...)
	c.resumed(c.t, over, id)
	return took
}

// pause lets the world go on for a while: nothing tells when a process has been dead for long enough.
func pause(d time.Duration) { <-time.After(d) }
