package replica

import (
	"context"
	"errors"
	"maps"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// NodeConfig configures a Node. ID and Transport are required; the zero value of any
// other field means its default.
type NodeConfig struct {
	ID        NodeID
	Transport Transport // which the node starts and closes

	// Peers are the cluster's nodes and where the transport finds them, this one among
	// them. All nodes must be given the same ones: they keep the catalogue, which begins
	// once a majority of them has met. Nil is this node alone.
	Peers map[NodeID]string

	// Racks says which nodes would fail together: in one rack, one zone, one machine. The
	// replicas of a partition are spread over them. All nodes must be given the same. Nodes
	// without one are together in one.
	Racks map[NodeID]string

	// Rebalance is how long the node of a partition's preferred leader has been there
	// without interruption, and another node has led, when the leadership goes back.
	// Default 5 minutes, as Kafka's leader.imbalance.check.interval.seconds; below 0 it
	// stays where it is.
	Rebalance time.Duration

	// Tick is the unit of all times between replicas. Default 50 ms.
	Tick time.Duration

	// ElectionTicks is how many ticks without a leader begin an election, drawn
	// between once and twice this. Default 10.
	ElectionTicks int

	// Steppers is how many goroutines drive the node's replicas. Each replica belongs
	// to one of them. Default: one for each processor.
	Steppers int

	// DiskWorkers is how many replicas write, read and sync at a time. Default 16.
	DiskWorkers int

	// InboxBytes is how many bytes of received batches wait for one stepper; what
	// arrives beyond is dropped, and comes again. Default 64 MiB.
	InboxBytes int
}

func (cfg NodeConfig) withDefaults() NodeConfig {
	if cfg.Tick <= 0 {
		cfg.Tick = 50 * time.Millisecond
	}
	if cfg.Rebalance == 0 {
		cfg.Rebalance = 5 * time.Minute
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&cfg.ElectionTicks, 10}, {&cfg.Steppers, runtime.GOMAXPROCS(0)}, {&cfg.DiskWorkers, 16}, {&cfg.InboxBytes, 64 << 20}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return cfg
}

// Node drives the replicas of one process. It gives their cores what arrives, time,
// and disks, and takes what they put out to the other nodes:
//
//	transport ──▶ stepper ──▶ Core.Step, Tick, Propose, DiskDone
//	                 ▲             │ Advance
//	                 │             ├──▶ messages, in one frame for each node ──▶ transport
//	                 │             ├──▶ writes, in their order ──▶ disk workers
//	                 └─────────────┼──────── what is done ◀───────────┘
//	                               └──▶ high watermark ──▶ partition ──▶ readers
//
// A stepper never waits for a disk or for the network, so a slow disk delays
// acknowledgements and not heartbeats. All methods are safe for concurrent use.
type Node struct {
	cfg      NodeConfig
	began    time.Time
	steppers []*stepper
	disks    *workers
	replicas sync.Map // a *Replica for every GroupID
	links    sync.Map // a *link for every way that requests were sent

	answer atomic.Pointer[func(context.Context, []byte) []byte] // as Serve

	ctx context.Context // ends when Close begins to end what runs
	end context.CancelFunc

	hearing sync.Mutex // below
	ticks   int
	heard   map[NodeID]presence
	down    map[NodeID]int // peers to which there is no connection any more: since which tick

	mu     sync.Mutex
	closed bool

	handOverBy time.Time // when resign stops waiting; zero until its first call

	ended   chan struct{}  // closed when the steppers are to end
	over    chan struct{}  // closed when Close has ended
	failure error          // of closing; valid once over is closed
	running sync.WaitGroup // steppers, the ticker, and streams to other nodes; it grows under mu
}

// StartNode starts a node without replicas, and its transport.
func StartNode(cfg NodeConfig) (*Node, error) {
	cfg = cfg.withDefaults()
	if cfg.Transport == nil || cfg.ID == 0 || cfg.ID > math.MaxInt32 {
		return nil, fault.Newf(fault.InvalidConfig, "a node needs a transport, and a number from 1 to %d; it has %d", math.MaxInt32, cfg.ID)
	}
	if cfg.Peers == nil {
		cfg.Peers = map[NodeID]string{cfg.ID: ""}
	}
	if _, ok := cfg.Peers[cfg.ID]; !ok {
		return nil, fault.Newf(fault.InvalidConfig, "node %v is none of its cluster's %d nodes", cfg.ID, len(cfg.Peers)).
			Try("name it among the Peers, as the other nodes do")
	}
	for id := range cfg.Racks {
		if _, ok := cfg.Peers[id]; !ok {
			return nil, fault.Newf(fault.InvalidConfig, "rack %q is for node %v, which is none of the Peers", cfg.Racks[id], id)
		}
	}
	cfg.Peers, cfg.Racks = maps.Clone(cfg.Peers), maps.Clone(cfg.Racks)
	cfg.Transport.SetPeers(cfg.Peers)
	n := &Node{cfg: cfg, began: time.Now(), disks: newWorkers(cfg.DiskWorkers), ended: make(chan struct{}), over: make(chan struct{})}
	n.heard, n.down = map[NodeID]presence{}, map[NodeID]int{}
	n.ctx, n.end = context.WithCancel(context.Background())
	for range cfg.Steppers {
		s := newStepper(n)
		n.steppers = append(n.steppers, s)
	}
	if err := cfg.Transport.Start(cfg.ID, n); err != nil {
		return nil, err
	}
	for _, s := range n.steppers {
		n.running.Go(s.run)
	}
	n.running.Go(n.tick)
	return n, nil
}

// ID returns the node's number.
func (n *Node) ID() NodeID { return n.cfg.ID }

// tick tells the steppers the time. A stepper that was held up gets fewer ticks, not
// many at once: a process that was stopped must not take its own silence for that of
// the others.
func (n *Node) tick() {
	ticker := time.NewTicker(n.cfg.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-n.ended:
			return
		case <-ticker.C:
			n.greet()
			for _, s := range n.steppers {
				s.tick()
			}
		}
	}
}

// HandleFrame implements Handler. A frame that is malformed is dropped whole or in
// part, as if the rest were lost. Its bytes are copied: a replica keeps batches in memory
// for as long as it likes, and the transport wants its own back.
func (n *Node) HandleFrame(from NodeID, _ Lane, f *Frame) {
	batches := 0
	for _, p := range f.Payload {
		batches += len(p)
	}
	payload := make([][]byte, len(f.Payload))
	for i, copied := 0, make([]byte, 0, batches); i < len(payload); i++ {
		begin := len(copied)
		copied = append(copied, f.Payload[i]...)
		payload[i] = copied[begin:len(copied):len(copied)]
	}
	header := append([]byte(nil), f.Header...)
	f.Done()
	n.hear(from)
	_ = openEnvelope(header, payload, func(g GroupID, m Message) {
		if m.From.Node() != from {
			return // a node speaks for its own replicas
		}
		if r, ok := n.replicas.Load(g); ok {
			r := r.(*Replica)
			r.stepper.receive(r, m)
		}
	})
}

// HandleStream implements Handler. A kind that is not known is closed.
func (n *Node) HandleStream(_ NodeID, kind StreamKind, s Stream) {
	switch kind {
	case StreamAppends:
		n.serveAppends(s)
	case StreamCalls:
		n.serveCalls(s)
	case StreamAsks:
		n.serveAsks(s)
	case StreamBatches:
		n.serveBatches(s)
	}
	_ = s.Close()
}

// PeerUp implements Handler.
func (n *Node) PeerUp(peer NodeID) { n.find(peer) }

// PeerDown implements Handler.
func (n *Node) PeerDown(peer NodeID, _ error) { n.lose(peer) }

// Replica returns the node's replica of a group.
func (n *Node) Replica(g GroupID) (*Replica, bool) {
	r, ok := n.replicas.Load(g)
	if !ok {
		return nil, false
	}
	return r.(*Replica), true
}

// handOver is how many election timeouts Close waits, at the most, for others to take
// the node's leaderships over.
const handOver = 2

// Close hands the node's leaderships over, where another node can take them, and closes
// its replicas and the transport. It is idempotent, and waits until no goroutine is left.
func (n *Node) Close() error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	n.mu.Unlock()
	if !first {
		<-n.over
		return n.failure
	}
	n.resign(n.all()...)
	var errs []error
	for _, r := range n.all() {
		errs = append(errs, r.Close())
	}
	n.end()
	errs = append(errs, n.cfg.Transport.Close())
	close(n.ended)
	n.running.Wait()
	n.disks.wait()
	n.failure = errors.Join(errs...)
	close(n.over)
	return n.failure
}

// all returns the node's replicas, in no order.
func (n *Node) all() (all []*Replica) {
	n.replicas.Range(func(_, r any) bool {
		all = append(all, r.(*Replica))
		return true
	})
	return all
}

// resign hands these leaderships over, and waits until others have them: then writers
// need not wait for an election. All calls together wait so long and no longer, because
// the other nodes may be closing, too.
func (n *Node) resign(replicas ...*Replica) {
	n.mu.Lock()
	if n.handOverBy.IsZero() {
		n.handOverBy = time.Now().Add(handOver * time.Duration(n.cfg.ElectionTicks) * n.cfg.Tick)
	}
	late := time.NewTimer(time.Until(n.handOverBy))
	n.mu.Unlock()
	defer late.Stop()
	for _, r := range replicas {
		select {
		case <-r.resign():
		case <-late.C:
			return
		}
	}
}
