package transporttest

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// patience is how long the suite waits for what should happen. A test that passes does
// not wait for it, however slow the machine is.
const patience = time.Minute

// fixture is the world of one test.
type fixture struct {
	testing.TB
	cluster Cluster
	ctx     context.Context // of the test
	nodes   []*node
}

func newFixture(t testing.TB, c Cluster) *fixture {
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	f := &fixture{TB: t, cluster: c, ctx: ctx}
	t.Cleanup(func() {
		for _, n := range f.nodes {
			require.NoError(t, n.Close())
		}
		cancel()
		for _, n := range f.nodes {
			n.check(t)
		}
	})
	return f
}

// node is a started transport with a handler that remembers.
type node struct {
	replica.Transport
	*handler
	id      replica.NodeID
	address string
}

// start starts a new transport as node id.
func (f *fixture) start(id replica.NodeID) *node {
	f.Helper()
	n := f.unstarted(id)
	require.NoError(f, n.Start(id, n.handler))
	return n
}

func (f *fixture) unstarted(id replica.NodeID) *node {
	transport, address := f.cluster.New(f)
	n := &node{Transport: transport, handler: newHandler(), id: id, address: address}
	f.nodes = append(f.nodes, n)
	return n
}

// pair starts nodes 1 and 2, each of which is the other's peer, and waits until
// they are connected.
func (f *fixture) pair() (a, b *node) {
	f.Helper()
	a, b = f.start(1), f.start(2)
	f.meet(a, b)
	return a, b
}

// meet makes the nodes peers of each other, and waits until they are connected.
func (f *fixture) meet(nodes ...*node) {
	f.Helper()
	peers := map[replica.NodeID]string{}
	for _, n := range nodes {
		peers[n.id] = n.address
	}
	for _, n := range nodes {
		n.SetPeers(peers)
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other {
				f.until(n, fmt.Sprintf("node %v is up for node %v", other.id, n.id), func() bool { return n.up[other.id] })
			}
		}
	}
}

// until waits for a condition on what a node's handler has seen. The handler's lock
// is held while it is evaluated.
func (f *fixture) until(n *node, what string, holds func() bool) {
	f.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		n.mu.Lock()
		ok, changed := holds(), n.changed
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			require.FailNow(f, "it takes too long until "+what)
		}
	}
}

// soon waits until something is done.
func (f *fixture) soon(what string, done <-chan struct{}) {
	f.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		require.FailNow(f, "it takes too long until "+what)
	}
}

// arrival is a frame that a handler got.
type arrival struct {
	from  replica.NodeID
	lane  replica.Lane
	frame *replica.Frame
}

// handler remembers what a transport told it, and what was wrong about it.
type handler struct {
	onStream func(from replica.NodeID, kind replica.StreamKind, s replica.Stream) // set before Start

	mu      sync.Mutex
	changed chan struct{} // closed and replaced after every call
	arrived []arrival
	keep    bool                       // frames are not done until release
	kept    []*replica.Frame           // those
	up      map[replica.NodeID]bool    // as PeerUp and PeerDown say
	downs   map[replica.NodeID][]error // what PeerDown said
	busy    map[string]bool            // what is being called
	closed  bool
	wrong   []string
}

func newHandler() *handler {
	return &handler{
		changed: make(chan struct{}),
		up:      map[replica.NodeID]bool{}, downs: map[replica.NodeID][]error{}, busy: map[string]bool{},
	}
}

// called notes a call that must not happen twice at once, nor after Close.
func (h *handler) called(what string, then func()) {
	h.mu.Lock()
	if h.closed {
		h.wrong = append(h.wrong, what+" after Close returned")
	}
	if h.busy[what] {
		h.wrong = append(h.wrong, what+" twice at once")
	}
	h.busy[what] = true
	h.mu.Unlock()

	h.mu.Lock()
	defer h.mu.Unlock()
	then()
	h.busy[what] = false
	close(h.changed)
	h.changed = make(chan struct{})
}

// HandleFrame is replica.Handler's.
func (h *handler) HandleFrame(from replica.NodeID, lane replica.Lane, f *replica.Frame) {
	var keep bool
	h.called(fmt.Sprintf("HandleFrame of node %v, %v", from, lane), func() {
		keep = h.keep
		h.arrived = append(h.arrived, arrival{from, lane, f})
		if keep {
			h.kept = append(h.kept, f)
		} else {
			f.Header = append([]byte(nil), f.Header...)
			for i := range f.Payload {
				f.Payload[i] = append([]byte(nil), f.Payload[i]...)
			}
		}
	})
	if !keep {
		f.Done()
	}
}

// release calls Done on what was kept, and keeps nothing from then on.
func (h *handler) release() {
	h.mu.Lock()
	kept := h.kept
	h.kept, h.keep = nil, false
	for _, f := range kept {
		f.Header = append([]byte(nil), f.Header...) // what arrived is still known by its number
	}
	h.mu.Unlock()
	for _, f := range kept {
		f.Done()
	}
}

// HandleStream is replica.Handler's.
func (h *handler) HandleStream(from replica.NodeID, kind replica.StreamKind, s replica.Stream) {
	h.mu.Lock()
	if h.closed {
		h.wrong = append(h.wrong, "HandleStream after Close returned")
	}
	h.mu.Unlock()
	if h.onStream != nil {
		h.onStream(from, kind, s)
	}
}

// PeerUp is replica.Handler's.
func (h *handler) PeerUp(peer replica.NodeID) {
	h.called(fmt.Sprintf("PeerUp or PeerDown of node %v", peer), func() {
		if h.up[peer] {
			h.wrong = append(h.wrong, fmt.Sprintf("PeerUp of node %v, which was up", peer))
		}
		h.up[peer] = true
	})
}

// PeerDown is replica.Handler's.
func (h *handler) PeerDown(peer replica.NodeID, cause error) {
	h.called(fmt.Sprintf("PeerUp or PeerDown of node %v", peer), func() {
		if !h.up[peer] {
			h.wrong = append(h.wrong, fmt.Sprintf("PeerDown of node %v, which was not up", peer))
		}
		if cause == nil {
			h.wrong = append(h.wrong, fmt.Sprintf("PeerDown of node %v without a cause", peer))
		}
		h.up[peer] = false
		h.downs[peer] = append(h.downs[peer], cause)
	})
}

// Close closes the transport, after which nothing may be called any more.
func (n *node) Close() error {
	err := n.Transport.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return err
}

// check fails the test for what was wrong about the calls.
func (n *node) check(t testing.TB) {
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Empty(t, n.wrong)
	for peer, up := range n.up {
		require.False(t, up, "node %v never heard that node %v is down", n.id, peer)
	}
}

// parcel is a frame that counts its releases.
type parcel struct {
	replica.Frame
	released int
	mu       sync.Mutex
	gone     chan struct{} // closed by the first release
}

// pack returns a frame whose header is the number.
func pack(number uint64, payload ...[]byte) *parcel {
	p := &parcel{gone: make(chan struct{})}
	p.Header = binary.BigEndian.AppendUint64(nil, number)
	p.Payload = payload
	p.Release = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.released++
		if p.released == 1 {
			close(p.gone)
		}
	}
	return p
}

func (p *parcel) releases() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.released
}

// number is what pack put into the frame's header.
func (a arrival) number() uint64 {
	if len(a.frame.Header) != 8 {
		return 1<<64 - 1
	}
	return binary.BigEndian.Uint64(a.frame.Header)
}

// pattern returns n bytes that repeat nowhere soon.
func pattern(n int, seed uint64) []byte {
	p := make([]byte, n)
	x := seed*2862933555777941757 + 3037000493
	for i := range p {
		x = x*6364136223846793005 + 1442695040888963407
		p[i] = byte(x >> 56)
	}
	return p
}
