package grpc

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// link is the connections to a peer: one for each lane, and one for the streams.
type link struct {
	t     *Transport
	peer  *hub.Peer
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

// Close is hub.Link's.
func (l *link) Close() {
	for _, c := range l.conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

// streams is the connection for streams.
func (l *link) streams() *grpc.ClientConn { return l.conns[replica.Lanes] }

// connect makes the connections, and the calls for the lanes.
func (t *Transport) connect(p *hub.Peer) (hub.Link, error) {
	l := &link{t: t, peer: p, down: make(chan struct{})}
	if err := l.dial(); err != nil {
		err = t.because(p.ID, p.Address, err)
		l.cut(err)
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) dial() (err error) {
	for i := range l.conns {
		if l.conns[i], err = l.t.client(l.peer.Address); err != nil {
			return err
		}
	}
	for i := range l.calls {
		if l.calls[i], err = l.t.call(l.peer.Ctx, l.conns[i], method(i), l.peer.ID, 0); err != nil {
			return err
		}
	}
	return nil
}

// Serve is hub.Link's.
func (l *link) Serve() error {
	t, p := l.t, l.peer
	timeout := t.hub.Timeout
	silent := time.AfterFunc(timeout, func() {
		l.cut(t.because(p.ID, p.Address, fault.Newf(fault.NetworkException, "no answer for %v", timeout)))
	})
	defer silent.Stop()
	ticker := time.NewTicker(t.hub.Interval)
	defer ticker.Stop()
	var wg sync.WaitGroup
	for i, c := range l.calls {
		var pings <-chan time.Time
		heard := func() {}
		if replica.Lane(i) == replica.LaneControl {
			pings, heard = ticker.C, func() { silent.Reset(timeout) }
		}
		wg.Go(func() {
			if err := send(p.Lanes[i], c, pings, l.down); err != nil && err != io.EOF { // EOF: listen knows why
				l.cut(t.because(p.ID, p.Address, err))
			}
		})
		wg.Go(func() { l.cut(t.because(p.ID, p.Address, t.listen(c, heard))) })
	}
	select {
	case <-l.down:
	case <-p.Ctx.Done():
		l.cut(context.Cause(p.Ctx))
	}
	wg.Wait()
	return l.cause
}

// send sends what is put into a lane, with a ping whenever one is due. It
// returns why it ended, and nil when down is closed.
func send(lane *hub.Lane, call grpc.ClientStream, pings <-chan time.Time, down <-chan struct{}) error {
	var frames []*replica.Frame
	for {
		select {
		case <-lane.Wake:
		case <-pings:
			if err := call.SendMsg(outgoing{}); err != nil {
				return err
			}
			continue
		case <-down:
			return nil
		}
		for frames = lane.Take(frames); len(frames) > 0; frames = lane.Take(frames) {
			for i, f := range frames {
				err := call.SendMsg(encode(f))
				lane.Sent(f)
				if err == nil {
					err = ping(call, pings)
				}
				if err != nil {
					lane.Sent(frames[i+1:]...)
					return err
				}
			}
		}
	}
}

// ping sends a ping if one is due.
func ping(call grpc.ClientStream, pings <-chan time.Time) error {
	select {
	case <-pings:
		return call.SendMsg(outgoing{})
	default:
		return nil
	}
}

// listen receives what comes back on a lane, which is answers to pings at most, until the call
// breaks.
func (t *Transport) listen(c *call, heard func()) error {
	for {
		m := incoming{pool: &t.hub.Buffers}
		if err := c.RecvMsg(&m); err != nil {
			return c.failure(err)
		}
		if len(m.buffer.Bytes) > 0 {
			return fault.Newf(fault.InvalidRequest, "a message of %d bytes where only answers to pings are expected", len(m.buffer.Bytes))
		}
		heard()
	}
}
