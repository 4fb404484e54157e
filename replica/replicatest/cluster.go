package replicatest

import (
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// SeedVariable is the environment variable that sets the seed from which the network and
// crashes draw. Without it the seed is derived from the test's name.
const SeedVariable = "RUNNEL_SEED"

// dir is the directory of each node's files, on its own disk.
const dir = "/data"

// Brokers are the brokers of a cluster, one on each of its nodes, which have the numbers
// from 1 on.
type Brokers struct {
	t       testing.TB
	opts    []runnel.Option
	network *memory.Network
	peers   map[replica.NodeID]string
	seed    uint64
	drawn   uint64
	nodes   []*node
}

// node is one node, whether it runs or not.
type node struct {
	id        replica.NodeID
	disk      *vfs.Crashable
	faults    *vfs.Faulty // on disk, while the node runs
	transport *memory.Node
	node      *replica.Node
	broker    *runnel.Broker // nil while the node does not run
	gate      gate           // closed while it is paused
}

// Cluster starts n brokers that form a cluster, and closes them when the test ends. They
// are there at once; a leader for the catalogue is elected within a second or two, and
// commands wait for it.
//
// An acknowledged record is on the disks of a majority, unless a durability says otherwise.
func Cluster(t testing.TB, n int, opts ...runnel.Option) *Brokers {
	t.Helper()
	c := &Brokers{t: t, opts: opts, peers: map[replica.NodeID]string{}, seed: seedOf(t)}
	c.network = memory.New(memory.Seed(c.seed))
	for i := range n {
		id := replica.NodeID(i + 1)
		c.peers[id] = fmt.Sprint("node-", id)
		c.nodes = append(c.nodes, &node{id: id, disk: vfs.NewCrashable()})
	}
	for _, d := range c.nodes {
		c.start(d)
	}
	t.Cleanup(c.finish)
	return c
}

func seedOf(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv(SeedVariable)
	if text == "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(t.Name())) // never fails
		return h.Sum64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("replicatest: %s: %v", SeedVariable, err)
	}
	return seed
}

// start starts a node with what is on its disk.
func (c *Brokers) start(d *node) {
	c.t.Helper()
	d.faults = vfs.NewFaulty(d.disk)
	d.gate.holdFiles(d.faults)
	d.transport = c.network.Node(c.peers[d.id])
	var err error
	if d.node, err = replica.StartNode(replica.NodeConfig{ID: d.id, Transport: gated{d.transport, &d.gate}, Peers: c.peers}); err != nil {
		c.t.Fatalf("replicatest: node %v: %v", d.id, err)
	}
	opts := append(slices.Clone(c.opts), runnel.Replicated(d.node))
	b, err := fixture.Open(d.faults, dir, opts)
	if err != nil {
		_ = d.node.Close()
		c.t.Fatalf("replicatest: the broker of node %v: %v", d.id, err)
	}
	d.broker = b.(*runnel.Broker)
}

// finish closes all brokers that run.
func (c *Brokers) finish() {
	c.t.Helper()
	for _, d := range c.nodes {
		if d.broker != nil {
			c.stop(d)
		}
	}
	if c.t.Failed() {
		c.t.Logf("replicatest: the same again with %s=%d", SeedVariable, c.seed)
	}
}

// stop closes a node in order.
func (c *Brokers) stop(d *node) {
	c.t.Helper()
	d.gate.open()
	d.faults.Clear()
	if err := d.broker.Close(); err != nil {
		c.t.Errorf("replicatest: closing the broker of node %v: %v", d.id, err)
	}
	if err := d.node.Close(); err != nil {
		c.t.Errorf("replicatest: closing node %v: %v", d.id, err)
	}
	d.broker = nil
}

// of returns a node.
func (c *Brokers) of(id int) *node {
	c.t.Helper()
	if id < 1 || id > len(c.nodes) {
		c.t.Fatalf("replicatest: there is no node %d; they are numbered from 1 to %d", id, len(c.nodes))
	}
	return c.nodes[id-1]
}

// Broker returns the broker of a node, which runs.
func (c *Brokers) Broker(id int) *runnel.Broker {
	c.t.Helper()
	d := c.of(id)
	if d.broker == nil {
		c.t.Fatalf("replicatest: node %d does not run", id)
	}
	return d.broker
}

// Running returns the numbers of the nodes that run and are not paused, in order.
func (c *Brokers) Running() (running []int) {
	for i, d := range c.nodes {
		if d.broker != nil && !d.gate.isClosed() {
			running = append(running, i+1)
		}
	}
	return running
}

// Network returns the network, for what the methods here don't do: losses and delays.
func (c *Brokers) Network() *memory.Network { return c.network }

// Partition lets messages pass only within these groups of nodes. Nodes in no group are
// alone.
func (c *Brokers) Partition(groups ...[]int) {
	ids := make([][]replica.NodeID, len(groups))
	for i, g := range groups {
		for _, id := range g {
			ids[i] = append(ids[i], c.of(id).id)
		}
	}
	c.network.Partition(ids...)
}

// Cut lets no message pass from one node to another one. The other direction stays.
func (c *Brokers) Cut(from, to int) { c.network.Cut(c.of(from).id, c.of(to).id) }

// Heal ends every Partition and Cut.
func (c *Brokers) Heal() { c.network.Heal() }

// Crash takes the power from a node: what it had not synced is lost, and the others only
// notice that it is silent. Its broker is closed, with its producers and consumers.
func (c *Brokers) Crash(id int) {
	c.t.Helper()
	c.drawn++
	c.crash(id, vfs.RandomLoss(c.seed+c.drawn))
}

// Kill ends a node's process, as kill -9 does: like Crash, but the operating system still has
// what was written.
func (c *Brokers) Kill(id int) {
	c.t.Helper()
	c.crash(id, vfs.Loss{Kept: vfs.KeepAll})
}

func (c *Brokers) crash(id int, loss vfs.Loss) {
	c.t.Helper()
	d := c.of(id)
	broker := c.Broker(id)
	d.gate.open()
	_ = d.transport.Close()
	rest := d.disk.Crash(loss)
	_ = broker.Close() // whose disk is gone
	_ = d.node.Close()
	d.broker, d.disk = nil, rest
}

// LoseDisk takes the power from a node and replaces its disk: it starts again with an empty
// one. It may have been stopped or crashed before.
func (c *Brokers) LoseDisk(id int) {
	c.t.Helper()
	if c.of(id).broker != nil {
		c.Crash(id)
	}
	c.of(id).disk = vfs.NewCrashable()
}

// Stop closes a node's broker and then the node, which hands its leaderships over.
func (c *Brokers) Stop(id int) {
	c.t.Helper()
	c.Broker(id)
	c.stop(c.of(id))
}

// Restart starts a node that was crashed or stopped, with what is on its disk.
func (c *Brokers) Restart(id int) {
	c.t.Helper()
	if c.of(id).broker != nil {
		c.t.Fatalf("replicatest: node %d runs", id)
	}
	c.start(c.of(id))
}

// SlowDisk makes every sync of a node's disk take so much longer, until end is called or
// the node ends.
func (c *Brokers) SlowDisk(id int, by time.Duration) (end func()) {
	c.t.Helper()
	c.Broker(id)
	return c.of(id).faults.Add(vfs.Rule{On: vfs.OpSync, Delay: by})
}

// Leader returns the node that leads a partition, as one of the running nodes knows it; 0
// if none of them leads it.
func (c *Brokers) Leader(tp record.TopicPartition) int {
	c.t.Helper()
	for _, id := range c.Running() {
		d, err := c.Broker(id).DescribeTopics(c.t.Context(), tp.Topic)
		if err != nil || int(tp.Partition) >= len(d[0].Partitions) {
			continue
		}
		if leader := d[0].Partitions[tp.Partition].Leader; int(leader) == id {
			return id
		}
	}
	return 0
}

// AwaitLeader waits until a running node leads a partition, for a minute at the most, and
// returns it.
func (c *Brokers) AwaitLeader(tp record.TopicPartition) int {
	c.t.Helper()
	return c.await(tp, "no node leads it", func(leader int) bool { return leader != 0 })
}

func (c *Brokers) await(tp record.TopicPartition, otherwise string, ok func(leader int) bool) int {
	c.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for late := time.Now().Add(time.Minute); ; <-look.C {
		leader := c.Leader(tp)
		if ok(leader) {
			return leader
		}
		if time.Now().After(late) {
			c.t.Fatalf("replicatest: %v: %s after a minute", tp, otherwise)
		}
	}
}

// moveAgain is how soon MoveLeader asks a leader again that has not handed over: one gives up
// after an election timeout where the other node has just started, and lacks something.
const moveAgain = 2 * time.Second

// MoveLeader hands the leadership of a partition to another node, and waits until that
// leads.
func (c *Brokers) MoveLeader(tp record.TopicPartition, to int) {
	c.t.Helper()
	c.Broker(to)
	asked, late := 0, time.Time{}
	c.await(tp, fmt.Sprintf("node %d does not lead it", to), func(leader int) bool {
		if leader != 0 && leader != to && (asked != leader || time.Now().After(late)) {
			asked, late = leader, time.Now().Add(moveAgain)
			c.transfer(leader, tp, to)
		}
		return leader == to
	})
}

func (c *Brokers) transfer(leader int, tp record.TopicPartition, to int) {
	c.t.Helper()
	d, err := c.Broker(leader).DescribeTopics(c.t.Context(), tp.Topic)
	if err != nil {
		c.t.Fatalf("replicatest: %v: %v", tp, err)
	}
	r, ok := c.of(leader).node.Replica(replica.GroupID{Topic: d[0].ID, Partition: tp.Partition})
	if !ok {
		c.t.Fatalf("replicatest: node %d has no replica of %v", leader, tp)
	}
	for _, voter := range r.Status().Members.Voters {
		if voter.Node() == c.of(to).id {
			_ = r.Transfer(voter) // if it leads no more, await finds the next one
		}
	}
}
