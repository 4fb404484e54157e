package memory

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/replica"
)

// Node is a node's end of a Network. It implements replica.Transport.
type Node struct {
	network *Network
	address string

	// Set by Start, and constant from then on.
	id      replica.NodeID
	handler replica.Handler

	wake  chan struct{} // one token: look at the agenda
	done  chan struct{} // closed by the first Close
	ended chan struct{} // closed when nothing of the node is left

	handlers sync.WaitGroup // calls of HandleStream

	// The network's lock guards these.
	agenda  agenda
	peers   map[replica.NodeID]string
	routes  map[replica.NodeID]*route // to the peers that are up
	started bool
	closed  bool
}

var _ replica.Transport = (*Node)(nil)

// route is a connection to another node that was there at the time. PeerUp has been
// or is about to be called for it.
type route struct {
	to      *Node
	carried [replica.Lanes]int // bytes under way or with the handler
}

// Address returns the node's address, for SetPeers.
func (n *Node) Address() string { return n.address }

// Start is replica.Transport's. It also returns an error if another started node of the
// network has the same address.
func (n *Node) Start(self replica.NodeID, h replica.Handler) error {
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	switch {
	case n.closed:
		return fault.Newf(fault.Closed, "the transport at %q of node %v", n.address, self)
	case self == 0 || h == nil:
		return fault.Newf(fault.InvalidConfig, "a transport needs a node other than 0, and a handler")
	case n.started:
		return fault.Newf(fault.InvalidRequest, "the transport at %q has been started as node %v", n.address, n.id)
	}
	if other := n.network.nodes[n.address]; other != nil {
		return fault.Newf(fault.InvalidConfig, "node %v has the address %q, which node %v wants", other.id, n.address, self).Try("close that one first, or use another address")
	}
	n.id, n.handler, n.started = self, h, true
	n.network.nodes[n.address] = n
	n.network.look()
	go n.run()
	return nil
}

// SetPeers is replica.Transport's. An address is what Network.Node got.
func (n *Node) SetPeers(peers map[replica.NodeID]string) {
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	before := n.peers
	n.peers = maps.Clone(peers)
	if n.started && !n.closed {
		for id := range before {
			if _, stays := n.peers[id]; !stays {
				n.plan(n.network, &event{due: time.Now(), look: true, from: id})
			}
		}
		n.lookAround()
	}
}

// frameCost is what a frame counts in budgets beside its bytes, so that empty ones are
// not free.
const frameCost = 128

// MaxFrame is replica.Transport's: almost the network's Budget.
func (n *Node) MaxFrame(replica.Lane) int { return n.network.budget - frameCost }

// Send is replica.Transport's.
func (n *Node) Send(to replica.NodeID, lane replica.Lane, f *replica.Frame) bool {
	defer f.Done()
	r, arrivals := n.depart(to, lane, f.Size())
	for _, due := range arrivals {
		own, buffer := n.network.copyOf(f, r, lane) // without the lock, since it may be large
		n.network.mu.Lock()
		r.to.plan(n.network, &event{due: due, from: n.id, lane: lane, route: r, frame: own, buffer: buffer})
		n.network.mu.Unlock()
	}
	return r != nil
}

// depart decides when a frame of that size arrives, which is never if it is lost. The
// route is nil if the frame is refused.
func (n *Node) depart(to replica.NodeID, lane replica.Lane, size int) (*route, []time.Time) {
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	r := n.routes[to]
	if n.closed || r == nil || lane >= replica.Lanes || r.carried[lane]+size+frameCost > n.network.budget {
		return nil, nil
	}
	l := n.network.link(n.id, to)
	if !l.cut.IsZero() {
		return r, nil
	}
	arrivals := l.travel(lane, time.Now())
	r.carried[lane] += len(arrivals) * (size + frameCost)
	return r, arrivals
}

// copyOf returns the frame as the receiver gets it, and the memory that it is in. Its
// Release gives that back, and takes its bytes off the route.
func (n *Network) copyOf(f *replica.Frame, r *route, lane replica.Lane) (*replica.Frame, *buffers.Buffer) {
	buffer := n.buffers.Get(f.Size())
	rest := buffer.Bytes
	cut := func(from []byte) []byte {
		part := rest[:len(from):len(from)]
		copy(part, from)
		rest = rest[len(from):]
		return part
	}
	own := &replica.Frame{Header: cut(f.Header), Release: func() {
		n.mu.Lock()
		n.arrived(r, lane, buffer)
		n.mu.Unlock()
	}}
	if len(f.Payload) > 0 {
		own.Payload = make([][]byte, len(f.Payload))
	}
	for i, p := range f.Payload {
		own.Payload[i] = cut(p)
	}
	return own, buffer
}

// arrived takes a frame off its route, and its memory back. It needs the lock.
func (n *Network) arrived(r *route, lane replica.Lane, buffer *buffers.Buffer) {
	r.carried[lane] -= len(buffer.Bytes) + frameCost
	n.buffers.Put(buffer)
}

// Open is replica.Transport's.
func (n *Node) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	peer, err := n.reach(to)
	if err == nil && !n.network.link(to, n.id).cut.IsZero() {
		err = partitioned(to, n.id)
	}
	if err != nil {
		return nil, err
	}
	if n.network.between(n, peer) >= maxStreams {
		return nil, fault.Newf(fault.PolicyViolation, "node %v has %d streams to node %v", n.id, maxStreams, to).Try("close some of them")
	}
	c := newConnection(n, peer)
	n.network.streams[c] = struct{}{}
	opened, accepted := c.end(0), c.end(1)
	c.forget = context.AfterFunc(ctx, func() {
		n.network.mu.Lock()
		defer n.network.mu.Unlock()
		n.network.sever(c, context.Cause(ctx), broken(n.id, "it gave up the stream"))
	})
	peer.handlers.Go(func() {
		defer accepted.Close()
		peer.handler.HandleStream(n.id, kind, accepted)
	})
	return opened, nil
}

// Close is replica.Transport's.
func (n *Node) Close() error {
	n.network.mu.Lock()
	first, started := !n.closed, n.started
	n.closed = true
	if first {
		close(n.done)
		if started {
			delete(n.network.nodes, n.address)
			for c := range n.network.streams {
				if c.nodes[0] == n || c.nodes[1] == n {
					n.network.sever(c, n.closedError(c.nodes[0]), n.closedError(c.nodes[1]))
				}
			}
			n.network.look()
		} else {
			close(n.ended)
		}
	}
	n.network.mu.Unlock()
	<-n.ended
	return nil
}

// closedError is what a stream's end at a node reports once n is closed.
func (n *Node) closedError(at *Node) error {
	if at == n {
		return fault.Newf(fault.Closed, "the transport of node %v", n.id)
	}
	return broken(n.id, "it closed its transport")
}

func broken(peer replica.NodeID, why string) error {
	return fault.Newf(fault.NetworkException, "node %v: %s", peer, why)
}

// reach returns the peer, or why this node cannot send to it. It needs the network's
// lock, like everything below that does not take it.
func (n *Node) reach(to replica.NodeID) (*Node, error) {
	address, known := n.peers[to]
	peer := n.network.nodes[address]
	switch {
	case n.closed || !n.started:
		return nil, fault.Newf(fault.Closed, "the transport at %q is not running", n.address)
	case to == n.id:
		return nil, fault.Newf(fault.InvalidRequest, "node %v connects to itself", to)
	case !known:
		return nil, fault.Newf(fault.NetworkException, "node %v knows no address of node %v", n.id, to).Try("name it in SetPeers")
	case peer == nil:
		return nil, fault.Newf(fault.NetworkException, "no node is at %q, where node %v expects node %v", address, n.id, to).Try("start it")
	case peer.id != to:
		return nil, fault.Newf(fault.InvalidVoterKey, "at %q is node %v, and node %v expects node %v there", address, peer.id, n.id, to).Try("correct the address")
	case !n.network.link(n.id, to).cut.IsZero():
		return nil, partitioned(n.id, to)
	}
	return peer, nil
}

// lookAround plans a look at each peer.
func (n *Node) lookAround() {
	for _, id := range slices.Sorted(maps.Keys(n.peers)) {
		n.plan(n.network, &event{due: time.Now(), look: true, from: id})
	}
}

// plan puts an event on the node's agenda.
func (n *Node) plan(network *Network, e *event) {
	if n.closed {
		return
	}
	network.events++
	e.number = network.events
	heap.Push(&n.agenda, e)
	if n.agenda[0] == e {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

// run is the node's goroutine. It makes all calls of the handler but HandleStream.
func (n *Node) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		call, wait := n.next(time.Now())
		if call != nil {
			call()
			continue
		}
		timer.Reset(wait)
		select {
		case <-n.wake:
		case <-timer.C:
		case <-n.done:
			n.end()
			return
		}
	}
}

// end is the last thing that the node's goroutine does.
func (n *Node) end() {
	n.network.mu.Lock()
	up := slices.Sorted(maps.Keys(n.routes))
	n.routes, n.agenda = nil, nil
	n.network.mu.Unlock()
	for _, id := range up {
		n.handler.PeerDown(id, n.closedError(n))
	}
	n.handlers.Wait()
	close(n.ended)
}

// forever is how long a node with an empty agenda waits.
const forever = 24 * time.Hour

// next takes the next event that is due and concerns the handler, and returns the
// call to make for it; or how long to wait.
func (n *Node) next(now time.Time) (call func(), wait time.Duration) {
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	for call == nil {
		switch {
		case n.closed:
			return nil, forever
		case len(n.agenda) == 0:
			return nil, forever
		case n.agenda[0].due.After(now):
			return nil, n.agenda[0].due.Sub(now)
		}
		e := heap.Pop(&n.agenda).(*event)
		if e.look {
			call = n.compare(e.from, now)
		} else {
			call = n.receive(e)
		}
	}
	return call, 0
}

// receive returns the call for a frame that has arrived, nil if it is lost after all.
func (n *Node) receive(e *event) func() {
	if !n.network.link(e.from, n.id).cut.IsZero() {
		n.network.arrived(e.route, e.lane, e.buffer)
		return nil
	}
	return func() { n.handler.HandleFrame(e.from, e.lane, e.frame) }
}

// compare returns the call that is due if the node's connection to a peer is not as
// it could be.
func (n *Node) compare(id replica.NodeID, now time.Time) func() {
	r := n.routes[id]
	peer, err := n.reach(id)
	switch {
	case r == nil && err == nil:
		n.routes[id] = &route{to: peer}
		return func() { n.handler.PeerUp(id) }
	case r == nil || peer == r.to:
		return nil
	case err == nil: // another one took its place
		n.plan(n.network, &event{due: now, look: true, from: id})
		err = broken(id, "the connection is lost")
	case n.cutOnly(id, r) && now.Before(n.network.link(n.id, id).cut.Add(n.network.notice)):
		return nil // not yet noticed; Cut has planned the next look
	}
	if _, stays := n.peers[id]; !stays {
		err = fault.Newf(fault.Closed, "node %v is no peer of node %v any more", id, n.id)
	}
	delete(n.routes, id)
	for c := range n.network.streams {
		if c.nodes == [2]*Node{n, r.to} || c.nodes == [2]*Node{r.to, n} {
			n.network.sever(c, broken(id, "the connection is lost"), broken(n.id, "the connection is lost"))
		}
	}
	return func() { n.handler.PeerDown(id, err) }
}

// cutOnly reports whether nothing but a cut keeps the node from a peer.
func (n *Node) cutOnly(id replica.NodeID, r *route) bool {
	address, known := n.peers[id]
	return known && n.network.nodes[address] == r.to && !n.network.link(n.id, id).cut.IsZero()
}
