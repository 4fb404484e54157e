package hub

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

const (
	// ShortestPause and LongestPause are between two attempts to connect.
	ShortestPause = 10 * time.Millisecond
	LongestPause  = time.Second
)

// Connect connects to a peer. Its context is the peer's.
type Connect func(*Peer) (Link, error)

// Link is the connections to a peer.
type Link interface {
	// Serve sends what is put into the peer's lanes until a connection breaks or the peer's context
	// ends, and returns why. Nothing is sent any more then.
	Serve() error

	// Close closes what is left. It is called after Serve, and after streams were told why they broke.
	Close()
}

// Peer is a node to which frames are sent: a goroutine that keeps a link to it.
type Peer struct {
	ID      replica.NodeID
	Address string
	Lanes   [replica.Lanes]*Lane
	Ctx     context.Context // ends when it is a peer no more

	hub   *Hub
	stop  context.CancelCauseFunc
	tried chan struct{} // closed after the first attempt to connect
	ended chan struct{} // closed when run has returned
	nudge chan struct{} // one token: the peer is alive, connect now

	standing atomic.Pointer[standing] // never nil
}

// standing is a peer's link, or why there is none.
type standing struct {
	link    Link
	problem error
}

func newPeer(h *Hub, id replica.NodeID, address string) *Peer {
	p := &Peer{hub: h, ID: id, Address: address, tried: make(chan struct{}), ended: make(chan struct{}), nudge: make(chan struct{}, 1)}
	p.Ctx, p.stop = context.WithCancelCause(h.Ctx)
	for l := range p.Lanes {
		p.Lanes[l] = &Lane{Wake: make(chan struct{}, 1), budget: h.laneBudget(replica.Lane(l))}
	}
	p.fail(fault.Newf(fault.NetworkException, "node %v is connecting to node %v at %s", h.Self, id, address))
	return p
}

func (p *Peer) fail(err error) { p.standing.Store(&standing{problem: err}) }

func (p *Peer) problem() error { return p.standing.Load().problem }

// Link returns the link to the peer, or why there is none. It waits for the first attempt to connect, and no
// longer; when ctx ends, the error is its cause.
func (p *Peer) Link(ctx context.Context) (Link, error) {
	select {
	case <-p.tried:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := p.standing.Load()
	return now.link, now.problem
}

// run keeps the peer connected until it is stopped. before is the peer that had the same ID,
// if there was one: its PeerDown comes before our PeerUp.
func (p *Peer) run(before *Peer) {
	defer close(p.ended)
	defer p.stop(nil)
	if before != nil {
		<-before.ended
	}
	tried := sync.OnceFunc(func() { close(p.tried) })
	defer tried()
	pause := ShortestPause
	for p.Ctx.Err() == nil {
		began := time.Now()
		l, err := p.hub.connect(p)
		if err != nil {
			p.noteFailure(err)
			p.fail(err)
			tried()
		} else {
			p.standing.Store(&standing{link: l})
			tried()
			p.serve(l)
			if time.Since(began) > LongestPause {
				pause = ShortestPause
			}
		}
		p.wait(pause/2 + rand.N(pause/2+1))
		pause = min(2*pause, LongestPause)
	}
}

// wait waits for some time, or until the peer shows that it is alive.
func (p *Peer) wait(pause time.Duration) {
	timer := time.NewTimer(min(pause, ShortestPause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.Ctx.Done():
		return
	}
	timer.Reset(max(pause-ShortestPause, 0))
	select {
	case <-timer.C:
	case <-p.nudge:
	case <-p.Ctx.Done():
	}
}

// alive ends a pause between two attempts.
func (p *Peer) alive() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

// serve has a link send until it breaks or the peer is stopped.
func (p *Peer) serve(l Link) {
	for _, lane := range p.Lanes {
		lane.open()
	}
	p.hub.Journal.Info("a peer is up", "node", p.hub.Self, "peer", p.ID, "address", p.Address)
	p.hub.Handler.PeerUp(p.ID)
	cause := l.Serve()
	if p.Ctx.Err() == nil {
		p.hub.Journal.Warn("a peer is down", "node", p.hub.Self, "peer", p.ID, "address", p.Address, "error", cause)
	}
	p.fail(cause)
	for _, lane := range p.Lanes {
		lane.shut()
	}
	p.hub.breakStreams(p.ID, cause)
	l.Close()
	p.hub.Handler.PeerDown(p.ID, cause)
}

// noteFailure logs that a peer cannot be reached, unless the last attempt failed for
// the same reason.
func (p *Peer) noteFailure(err error) {
	if before := p.problem(); p.Ctx.Err() == nil && (before == nil || before.Error() != err.Error()) {
		p.hub.Journal.Warn("a peer cannot be reached", "node", p.hub.Self, "peer", p.ID, "address", p.Address, "error", err)
	}
}
