package replicatest

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/replica"
)

// Pause stops a node as SIGSTOP does: it sends nothing, takes nothing, and touches no file
// until resume is called. What is sent to it waits, and what does not fit is lost. To the
// others it is silent. Its goroutines stand still as soon as they would do one of these,
// which takes two of the node's ticks at the most; calls of its broker wait, too. Meanwhile
// it is not among those that are Running.
func (c *Brokers) Pause(id int) (resume func()) {
	c.t.Helper()
	c.Broker(id)
	d := c.of(id)
	d.gate.close()
	return d.gate.open
}

// gate holds up those who come while it is closed.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when the gate is opened; nil while it is open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

// pass waits until the gate is open.
func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// holdFiles lets a node's files wait at the gate, too.
func (g *gate) holdFiles(f *vfs.Faulty) { f.Add(vfs.Rule{On: vfs.OpAny, Do: g.pass}) }

// gated is a transport with a gate for both directions.
type gated struct {
	replica.Transport
	gate *gate
}

func (t gated) Start(self replica.NodeID, h replica.Handler) error {
	return t.Transport.Start(self, gatedHandler{h, t.gate})
}

func (t gated) Send(to replica.NodeID, lane replica.Lane, f *replica.Frame) bool {
	t.gate.pass()
	return t.Transport.Send(to, lane, f)
}

func (t gated) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	t.gate.pass()
	s, err := t.Transport.Open(ctx, to, kind)
	if err != nil {
		return nil, err
	}
	return gatedStream{s, t.gate}, nil
}

type gatedHandler struct {
	replica.Handler
	gate *gate
}

func (h gatedHandler) HandleFrame(from replica.NodeID, lane replica.Lane, f *replica.Frame) {
	h.gate.pass()
	h.Handler.HandleFrame(from, lane, f)
}

func (h gatedHandler) HandleStream(from replica.NodeID, kind replica.StreamKind, s replica.Stream) {
	h.gate.pass()
	h.Handler.HandleStream(from, kind, gatedStream{s, h.gate})
}

func (h gatedHandler) PeerUp(peer replica.NodeID) {
	h.gate.pass()
	h.Handler.PeerUp(peer)
}

func (h gatedHandler) PeerDown(peer replica.NodeID, cause error) {
	h.gate.pass()
	h.Handler.PeerDown(peer, cause)
}

type gatedStream struct {
	replica.Stream
	gate *gate
}

func (s gatedStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.gate.pass()
	return n, err
}

func (s gatedStream) Write(b []byte) (int, error) {
	s.gate.pass()
	return s.Stream.Write(b)
}
