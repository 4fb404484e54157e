package memory

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/replica"
)

// Network connects the nodes of one cluster. Its methods may be called by any
// goroutine at any time.
type Network struct {
	config
	buffers buffers.Pool

	mu      sync.Mutex
	nodes   map[string]*Node // started, by address
	links   map[pair]*link
	streams map[*connection]struct{}
	events  uint64 // how many there have been, which orders those of one instant
}

// pair is a direction between two nodes.
type pair struct{ from, to replica.NodeID }

// New returns a network without nodes.
func New(options ...Option) *Network {
	n := &Network{
		config:  config{seed: 1, budget: DefaultBudget},
		nodes:   map[string]*Node{},
		links:   map[pair]*link{},
		streams: map[*connection]struct{}{},
	}
	for _, o := range options {
		o.apply(&n.config)
	}
	return n
}

// Node returns the transport of a new node that has this address once it is started. To
// start a node again after a crash, close its transport and make another one.
func (n *Network) Node(address string) *Node {
	return &Node{
		network: n, address: address, routes: map[replica.NodeID]*route{},
		wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}),
	}
}

// SetLink changes what happens to frames on their way between two nodes, in this
// direction.
func (n *Network) SetLink(from, to replica.NodeID, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).Link = l
}

// SetLinks changes what happens to frames on their way between any two nodes.
func (n *Network) SetLinks(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links0 = l
	for _, k := range n.links {
		k.Link = l
	}
}

// Cut lets nothing pass from one node to another any more. The opposite direction
// stays open. Frames that are under way are lost, streams between the two break at
// once, and the sender notices after NoticeAfter: its handler's PeerDown is called.
func (n *Network) Cut(from, to replica.NodeID) {
	n.mu.Lock()
	n.cut(from, to)
	n.mu.Unlock()
}

// Partition cuts both directions between any two nodes that do not stand in the same
// group, and heals those within a group. Nodes in no group stand alone.
func (n *Network) Partition(groups ...[]replica.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	group := map[replica.NodeID]int{}
	for i, members := range groups {
		for _, id := range members {
			group[id] = i + 1
		}
	}
	for _, a := range n.ids() {
		for _, b := range n.ids() {
			switch {
			case a == b:
			case group[a] != 0 && group[a] == group[b]:
				n.link(a, b).cut = time.Time{}
			default:
				n.cut(a, b)
			}
		}
	}
	n.look()
}

// Heal undoes every Cut and Partition.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.cut = time.Time{}
	}
	n.look()
}

// cut needs the lock.
func (n *Network) cut(from, to replica.NodeID) {
	l := n.link(from, to)
	if !l.cut.IsZero() {
		return
	}
	l.cut = time.Now()
	for c := range n.streams {
		if a, b := c.nodes[0].id, c.nodes[1].id; a == from && b == to || a == to && b == from {
			n.sever(c, partitioned(from, to), partitioned(from, to))
		}
	}
	for _, node := range n.nodes {
		if node.id == from {
			node.plan(n, &event{due: l.cut.Add(n.notice), look: true, from: to})
		}
	}
}

func partitioned(from, to replica.NodeID) error {
	return fault.Newf(fault.NetworkException, "the network is cut from node %v to node %v", from, to).Try("heal the network")
}

// ids are the nodes that are started, in order. It needs the lock, like everything
// below.
func (n *Network) ids() []replica.NodeID {
	var ids []replica.NodeID
	for _, node := range n.nodes {
		ids = append(ids, node.id)
	}
	slices.Sort(ids)
	return ids
}

// look has every node compare whom it is connected to with whom it could reach.
func (n *Network) look() {
	for _, address := range slices.Sorted(maps.Keys(n.nodes)) {
		n.nodes[address].lookAround()
	}
}

// link is one direction between two nodes. It outlives connections and restarts.
type link struct {
	Link
	random *rand.Rand
	cut    time.Time // since when nothing passes; zero if frames pass

	// last is when the latest frame of each lane is due that keeps its place, so that
	// later ones do not overtake it.
	last [replica.Lanes]time.Time
}

func (n *Network) link(from, to replica.NodeID) *link {
	p := pair{from, to}
	l := n.links[p]
	if l == nil {
		l = &link{Link: n.links0, random: rand.New(rand.NewPCG(n.seed, uint64(from)<<32^uint64(to)))}
		n.links[p] = l
	}
	return l
}

// travel decides when the copies of a frame arrive: none if it is lost, two if it is
// duplicated. It draws the same number of values for each frame, whatever the
// settings, so that changing one of them does not change what the others do.
func (l *link) travel(lane replica.Lane, now time.Time) []time.Time {
	lost, twice, astray := l.random.Float64() < l.Loss, l.random.Float64() < l.Duplicate, l.random.Float64() < l.Reorder
	jitter, detour, again := l.random.Float64(), l.random.Float64(), l.random.Float64()
	if lost {
		return nil
	}
	due := now.Add(l.Delay + part(l.Jitter, jitter))
	if astray {
		due = due.Add(part(max(2*l.Delay+2*l.Jitter, time.Millisecond), detour))
	} else {
		due = latest(due, l.last[lane])
		l.last[lane] = due
	}
	if !twice {
		return []time.Time{due}
	}
	return []time.Time{due, due.Add(part(max(2*l.Delay+2*l.Jitter, time.Millisecond), again))}
}

func part(d time.Duration, of float64) time.Duration { return time.Duration(of * float64(d)) }

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// event is something that happens at a node at some time: a frame arrives, or the
// node looks whether it is still connected to a peer.
type event struct {
	due    time.Time
	number uint64
	from   replica.NodeID

	look bool // the rest is for frames

	lane   replica.Lane
	frame  *replica.Frame
	buffer *buffers.Buffer // that the frame is in
	route  *route
}

// before orders events: by time, then control before bulk, then as they were planned.
func (e *event) before(o *event) bool {
	return cmp.Or(e.due.Compare(o.due), cmp.Compare(e.lane, o.lane), cmp.Compare(e.number, o.number)) < 0
}

// agenda is a heap of events, the next one first.
type agenda []*event

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].before(a[j]) }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push is for package heap.
func (a *agenda) Push(x any) { *a = append(*a, x.(*event)) }

// Pop is for package heap.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return e
}
