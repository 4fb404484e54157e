package tcp

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// stalls is how many timeouts a bulk lane may make no progress while the control
// lane is alive: the peer's handler may be slow, the network in between may not.
const stalls = 30

// link is the two connections to a peer.
type link struct {
	t     *Transport
	peer  *hub.Peer
	conns [replica.Lanes]*conn
	once  sync.Once
	cause error
	down  chan struct{} // closed when cause is set, and both connections are closed
}

// cut closes both connections. The first cause counts.
func (l *link) cut(cause error) {
	l.once.Do(func() {
		l.cause = cause
		for _, c := range l.conns {
			_ = c.Close()
		}
		close(l.down)
	})
}

// connect dials both lanes.
func (t *Transport) connect(p *hub.Peer) (hub.Link, error) {
	l := &link{t: t, peer: p, down: make(chan struct{})}
	for lane := range l.conns {
		c, err := t.dial(p.Ctx, p, purpose(lane), 0)
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

// Serve is hub.Link's.
func (l *link) Serve() error {
	t, p := l.t, l.peer
	var wg sync.WaitGroup
	for i, c := range l.conns {
		s := sender{lane: p.Lanes[i], conn: c, interval: t.hub.Timeout}
		// The bulk lane has no answers, and pings only so that the peer sees it in use.
		if replica.Lane(i) == replica.LaneControl {
			s.control, s.interval = true, t.hub.Interval
			c.established(t.hub.Timeout, stalls*t.hub.Timeout)
		} else {
			c.established(0, stalls*t.hub.Timeout)
		}
		wg.Go(func() { l.cut(t.because(p.ID, p.Address, s.run(l.down))) })
		wg.Go(func() { l.cut(t.because(p.ID, p.Address, listen(c))) })
	}
	select {
	case <-l.down:
	case <-p.Ctx.Done():
		l.cut(context.Cause(p.Ctx))
	}
	wg.Wait()
	return l.cause
}

// Close is hub.Link's: nothing is left.
func (l *link) Close() {}

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
