package processtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/internal/pipeline"
)

var (
	nodesRecords = flag.Int("exactly.nodes.records", 400, "how many records go through the pipeline whose nodes are killed; make exactly has 20,000")
	nodesKills   = flag.Int("exactly.nodes.kills", 2, "how often one of them is killed; make exactly has 20")
)

// pipelineOfNodes is the pipeline of three nodes, each of which has a member of every stage.
func pipelineOfNodes(records, node int) pipeline.Pipeline {
	return pipeline.Pipeline{
		Partitions: [4]int{7, 11, 31, 7}, Replicas: nodes, Keys: 100, Records: records, Batch: 100,
		Members: 1, First: node - 1, Life: 10 * time.Second, Session: 6 * time.Second, Excused: pipeline.Closed,
	}
}

// pipeline is the work of a node's process in a pipeline. On its output, besides what a process says:
//
//	commits O...      what the groups have committed, as pipeline.Committed orders it
//	end               it has done what it was asked for
//
// On its input: "load" with a number, to write the input up to a record; "await", to wait until all of it is at the
// end; "leave", to end its members; "check", to check what is there; and "stop".
func (p *process) pipeline(b *runnel.Broker, id int) error {
	records, err := strconv.Atoi(os.Getenv(recordsVariable))
	if err != nil {
		return err
	}
	l := pipelineOfNodes(records, id)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := l.Create(ctx, b); err != nil {
		return err
	}
	p.say("open")
	at, leave := context.WithCancel(ctx)
	defer leave()
	ran := make(chan error, 1)
	go func() { ran <- l.Run(at, uint64(id), func() pipeline.Backend { return b }) }()
	for p.in.Scan() {
		what, rest, _ := strings.Cut(p.in.Text(), " ")
		switch what {
		case "load":
			var until int
			if until, err = strconv.Atoi(rest); err == nil {
				err = l.Load(ctx, b, until)
			}
		case "await":
			err = l.Await(ctx, b)
		case "leave":
			leave()
			err = <-ran
		case "check":
			l.First, l.Members = 0, nodes
			err = l.Check(ctx, b)
		case "stop":
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.in.Text(), err)
		}
		committed, err := l.Committed(ctx, b)
		if err != nil {
			return err
		}
		line := []byte("commits")
		for _, c := range committed {
			line = strconv.AppendInt(append(line, ' '), c.Offset, 10)
		}
		p.say("%s", line)
		p.say("end")
	}
	return errors.New("the parent is gone")
}

// commits are what processes have said of a pipeline's groups.
type commits struct {
	latest []pipeline.Commit
	seen   pipeline.Offsets
}

// said takes down a line, and returns an error if an offset went back.
func (c *commits) said(line string) error {
	fields := strings.Fields(line)
	if len(fields) != len(c.latest) {
		return fmt.Errorf("%d offsets of %d partitions", len(fields), len(c.latest))
	}
	for i, f := range fields {
		var err error
		if c.latest[i].Offset, err = strconv.ParseInt(f, 10, 64); err != nil {
			return err
		}
	}
	return c.seen.Seen(c.latest)
}

// do asks a node for something, and waits until it is done.
func (c *cluster) do(id int, what string) {
	c.ask(id, what)
	c.done(id, what)
}

func (c *cluster) ask(id int, what string) {
	c.ledger.mu.Lock()
	c.ledger.read[id] = false
	c.ledger.mu.Unlock()
	_, err := fmt.Fprintln(c.nodes[id].in, what)
	require.NoError(c.t, err)
}

func (c *cluster) done(id int, what string) {
	c.until(c.t, fmt.Sprintf("node %d has done: %s", id+1, what), func() bool { return c.read[id] })
}

// TestPipelineOfKilledNodes runs a pipeline on three processes that replicate each other, over TCP, while one of
// them after the other is killed, with its members, the partitions that it leads and the transactions and groups that it
// coordinates. Each input has its result once, in order, what groups have committed never goes back, and no
// transaction stays open, as every node says.
func TestPipelineOfKilledNodes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t)
	c.env = []string{fmt.Sprint(recordsVariable, "=", *nodesRecords)}
	l := pipelineOfNodes(*nodesRecords, 1)
	nothing, err := runnel.OpenMemory()
	require.NoError(t, err)
	c.commits.latest, err = l.Committed(t.Context(), nothing)
	require.NoError(t, errors.Join(err, nothing.Close()))
	began := time.Now()
	for id := range nodes {
		c.start(id)
	}
	c.until(t, "all nodes are open", func() bool { return c.ledger.open == [nodes]int{1, 1, 1} })
	for kill := range *nodesKills {
		victim := random.IntN(nodes)
		other, load := (victim+1)%nodes, fmt.Sprint("load ", (kill+1)*l.Records/(*nodesKills+1))
		c.ask(other, load) // each time a part of the input, so that there is work
		pause(time.Duration(random.Int64N(int64(time.Second))))
		c.kill(victim)
		c.done(other, load)
		c.start(victim)
		incarnation := c.nodes[victim].incarnation
		c.until(t, "the node is open", func() bool { return c.ledger.open[victim] == incarnation })
	}
	killed := time.Since(began)
	c.do(0, fmt.Sprint("load ", l.Records))
	c.do(1, "await")
	for id := range nodes {
		c.do(id, "leave")
	}
	for id := range nodes {
		c.do(id, "check")
	}
	c.stop()
	t.Logf("%d records, through %v partitions, each there once and in order, on all nodes: %d nodes were killed within %v, and all was done after %v",
		l.Records, l.Partitions, *nodesKills, killed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}
