package tcp

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
	shortestPause = 10 * time.Millisecond
	longestPause  = time.Second

	// stalls is how many timeouts a bulk lane may make no progress while the control
	// lane is alive: the peer's handler may be slow, the network in between may not.
	stalls = 30
)

// peer is a node to which frames are sent: a goroutine that keeps two connections to it.
type peer struct {
	t       *Transport
	id      replica.NodeID
	address string
	lanes   [replica.Lanes]*lane

	ctx   context.Context // ends with stop, or with the transport
	stop  context.CancelCauseFunc
	ended chan struct{} // closed when run has returned
	nudge chan struct{} // one token: the peer is alive, dial now

	latest atomic.Pointer[error] // why there is no connection; nil if there is
}

func newPeer(t *Transport, id replica.NodeID, address string) *peer {
	p := &peer{t: t, id: id, address: address, ended: make(chan struct{}), nudge: make(chan struct{}, 1)}
	p.ctx, p.stop = context.WithCancelCause(t.ctx)
	for l := range p.lanes {
		p.lanes[l] = &lane{budget: t.laneBudget(replica.Lane(l)), wake: make(chan struct{}, 1)}
	}
	p.fail(fault.Newf(fault.NetworkException, "node %v is connecting to node %v at %s", t.self, id, address))
	return p
}

func (p *peer) fail(err error) { p.latest.Store(&err) }

func (p *peer) problem() error {
	if err := p.latest.Load(); err != nil {
		return *err
	}
	return nil
}

// run keeps the peer connected until it is stopped. before is the peer that had the same ID,
// if there was one: its PeerDown comes before our PeerUp.
func (p *peer) run(before *peer) {
	defer close(p.ended)
	defer p.stop(nil)
	if before != nil {
		<-before.ended
	}
	pause := shortestPause
	for p.ctx.Err() == nil {
		began := time.Now()
		if l, err := p.connect(); err != nil {
			p.noteFailure(err)
			p.fail(err)
		} else {
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

// links are the two connections to a peer.
type links struct {
	conns [replica.Lanes]*conn
	once  sync.Once
	cause error
	down  chan struct{} // closed when cause is set, and both connections are closed
}

// cut closes both connections. The first cause counts.
func (l *links) cut(cause error) {
	l.once.Do(func() {
		l.cause = cause
		for _, c := range l.conns {
			_ = c.Close()
		}
		close(l.down)
	})
}

// connect dials both lanes.
func (p *peer) connect() (*links, error) {
	l := &links{down: make(chan struct{})}
	for lane := range l.conns {
		c, err := p.t.dial(p.ctx, p, purpose(lane), 0)
		if err != nil {
			if lane > 0 {
				_ = l.conns[0].Close()
			}
			return nil, err
		}
		l.conns[lane] = c
	}
	return l, nil
}

// serve sends what is put into the lanes until a connection breaks or the peer is stopped.
func (p *peer) serve(l *links) {
	p.latest.Store(nil)
	for _, lane := range p.lanes {
		lane.open()
	}
	p.noteUp()
	p.t.handler.PeerUp(p.id)

	var wg sync.WaitGroup
	for i, c := range l.conns {
		lane := replica.Lane(i)
		// The bulk lane has no answers, and pings only so that the peer sees it in use.
		patience, interval := time.Duration(0), p.t.timeout
		if lane == replica.LaneControl {
			patience, interval = p.t.timeout, p.t.interval
		}
		c.established(patience, stalls*p.t.timeout)
		wg.Go(func() {
			l.cut(p.t.because(p.id, p.address, p.lanes[lane].send(c, interval, lane == replica.LaneControl, l.down)))
		})
		wg.Go(func() { l.cut(p.t.because(p.id, p.address, listen(c))) })
	}
	select {
	case <-l.down:
	case <-p.ctx.Done():
		l.cut(context.Cause(p.ctx))
	}
	wg.Wait()

	p.noteDown(l.cause)
	p.fail(l.cause)
	for _, lane := range p.lanes {
		lane.shut()
	}
	p.t.breakStreams(p.id, l.cause)
	p.t.handler.PeerDown(p.id, l.cause)
}

// listen reads what comes back on a lane, which are pongs at most, until the
// connection breaks.
func listen(c *conn) error {
	d := decoder{r: c.r}
	for {
		h, err := d.head()
		if err != nil {
			return err
		}
		if h.kind != kindPong {
			return fault.Newf(fault.InvalidRequest, "a frame of kind %d where only pongs are expected", h.kind)
		}
	}
}
