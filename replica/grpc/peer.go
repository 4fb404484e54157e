package grpc

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

const (
	shortestPause = 10 * time.Millisecond
	longestPause  = time.Second
)

// peer is a node to which frames are sent: a goroutine that keeps a link to it.
type peer struct {
	t       *Transport
	id      replica.NodeID
	address string
	lanes   [replica.Lanes]*lane

	ctx   context.Context // ends with stop, or with the transport
	stop  context.CancelCauseFunc
	tried chan struct{} // closed after the first attempt to connect
	ended chan struct{} // closed when run has returned
	nudge chan struct{} // one token: the peer is alive, connect now

	standing atomic.Pointer[standing] // never nil
}

// standing is a peer's link, or why there is none.
type standing struct {
	link    *link
	problem error
}

func newPeer(t *Transport, id replica.NodeID, address string) *peer {
	p := &peer{t: t, id: id, address: address, tried: make(chan struct{}), ended: make(chan struct{}), nudge: make(chan struct{}, 1)}
	p.ctx, p.stop = context.WithCancelCause(t.ctx)
	for l := range p.lanes {
		p.lanes[l] = &lane{budget: t.laneBudget(replica.Lane(l)), wake: make(chan struct{}, 1)}
	}
	p.fail(fault.Newf(fault.NetworkException, "node %v is connecting to node %v at %s", t.self, id, address))
	return p
}

func (p *peer) fail(err error) { p.standing.Store(&standing{problem: err}) }

func (p *peer) problem() error { return p.standing.Load().problem }

// run keeps the peer connected until it is stopped. before is the peer that had the same ID,
// if there was one: its PeerDown comes before our PeerUp.
func (p *peer) run(before *peer) {
	defer close(p.ended)
	defer p.stop(nil)
	if before != nil {
		<-before.ended
	}
	tried := sync.OnceFunc(func() { close(p.tried) })
	defer tried()
	pause := shortestPause
	for p.ctx.Err() == nil {
		began := time.Now()
		l, err := p.connect()
		if err != nil {
			p.noteFailure(err)
			p.fail(err)
			tried()
		} else {
			p.standing.Store(&standing{link: l})
			tried()
			p.serve(l)
			if time.Since(began) > longestPause {
				pause = shortestPause
			}
		}
		p.wait(pause/2 + rand.N(pause/2+1))
		pause = min(2*pause, longestPause)
	}
}

// wait waits for some time, or until the peer shows that it is alive.
func (p *peer) wait(pause time.Duration) {
	timer := time.NewTimer(min(pause, shortestPause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
		return
	}
	timer.Reset(max(pause-shortestPause, 0))
	select {
	case <-timer.C:
	case <-p.nudge:
	case <-p.ctx.Done():
	}
}

// alive ends a pause between two attempts.
func (p *peer) alive() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

// link is the connections to a peer: one for each lane, and one for the streams.
type link struct {
	conns [replica.Lanes + 1]*grpc.ClientConn
	calls [replica.Lanes]*call
	once  sync.Once
	cause error
	down  chan struct{} // closed when cause is set, and the calls are broken
}

// cut breaks the calls. The first cause counts.
func (l *link) cut(cause error) {
	l.once.Do(func() {
		l.cause = cause
		for _, c := range l.calls {
			if c != nil {
				c.cancel(cause)
			}
		}
		close(l.down)
	})
}

func (l *link) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

// streams is the connection for streams.
func (l *link) streams() *grpc.ClientConn { return l.conns[replica.Lanes] }

// connect makes the connections, and the calls for the lanes.
func (p *peer) connect() (l *link, err error) {
	l = &link{down: make(chan struct{})}
	defer func() {
		if err != nil {
			err = p.t.because(p.id, p.address, err)
			l.cut(err)
			l.close()
			l = nil
		}
	}()
	for i := range l.conns {
		if l.conns[i], err = p.t.client(p.address); err != nil {
			return l, err
		}
	}
	for i := range l.calls {
		if l.calls[i], err = p.t.call(p.ctx, l.conns[i], method(i), p.id, 0); err != nil {
			return l, err
		}
	}
	return l, nil
}

// serve sends what is put into the lanes until a call breaks or the peer is stopped.
func (p *peer) serve(l *link) {
	for _, lane := range p.lanes {
		lane.open()
	}
	p.t.journal.Info("a peer is up", "node", p.t.self, "peer", p.id, "address", p.address)
	p.t.handler.PeerUp(p.id)

	silent := time.AfterFunc(p.t.timeout, func() {
		l.cut(p.t.because(p.id, p.address, fault.Newf(fault.NetworkException, "no answer for %v", p.t.timeout)))
	})
	ticker := time.NewTicker(p.t.interval)
	var wg sync.WaitGroup
	for i, c := range l.calls {
		var pings <-chan time.Time
		heard := func() {}
		if replica.Lane(i) == replica.LaneControl {
			pings, heard = ticker.C, func() { silent.Reset(p.t.timeout) }
		}
		wg.Go(func() {
			if err := p.lanes[i].send(c, pings, l.down); err != nil && err != io.EOF { // EOF: listen knows why
				l.cut(p.t.because(p.id, p.address, err))
			}
		})
		wg.Go(func() { l.cut(p.t.because(p.id, p.address, p.t.listen(c, heard))) })
	}
	select {
	case <-l.down:
	case <-p.ctx.Done():
		l.cut(context.Cause(p.ctx))
	}
	wg.Wait()
	silent.Stop()
	ticker.Stop()
	p.down(l)
}

// down says that a link is lost.
func (p *peer) down(l *link) {
	if p.ctx.Err() == nil {
		p.t.journal.Warn("a peer is down", "node", p.t.self, "peer", p.id, "address", p.address, "error", l.cause)
	}
	p.fail(l.cause)
	for _, lane := range p.lanes {
		lane.shut()
	}
	p.t.breakStreams(p.id, l.cause)
	l.close()
	p.t.handler.PeerDown(p.id, l.cause)
}

// noteFailure logs that a peer cannot be reached, unless the last attempt failed for
// the same reason.
func (p *peer) noteFailure(err error) {
	if before := p.problem(); p.ctx.Err() == nil && (before == nil || before.Error() != err.Error()) {
		p.t.journal.Warn("a peer cannot be reached", "node", p.t.self, "peer", p.id, "address", p.address, "error", err)
	}
}

// listen receives what comes back on a lane, which is answers to pings at most, until the call
// breaks.
func (t *Transport) listen(c *call, heard func()) error {
	for {
		m := incoming{pool: &t.buffers}
		if err := c.RecvMsg(&m); err != nil {
			return c.failure(err)
		}
		if len(m.buffer.Bytes) > 0 {
			return fault.Newf(fault.InvalidRequest, "a message of %d bytes where only answers to pings are expected", len(m.buffer.Bytes))
		}
		heard()
	}
}
