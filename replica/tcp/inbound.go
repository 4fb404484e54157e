package tcp

import (
	"net"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// inbound is a connection on which frames of one lane arrive.
type inbound struct {
	*hub.Inbound
	t    *Transport
	conn *conn
	from replica.NodeID
	lane replica.Lane
}

// serveLane hands the frames of a connection to the handler until the connection ends. It
// takes the place of an earlier connection for the same lane, after that one's last frame.
func (t *Transport) serveLane(c *conn, s *hub.Source, lane replica.Lane, a answer) {
	in := &inbound{Inbound: s.Inbound(lane, func() { _ = c.Close() }), t: t, conn: c, from: s.ID, lane: lane}
	defer in.End()
	if t.hub.Ctx.Err() != nil {
		return // Close came before this connection was in its place
	}
	if c.write(net.Buffers{a.bytes()}) != nil {
		return
	}
	c.established(t.hub.Patience(), t.hub.Timeout)
	d := decoder{r: c.r, limit: t.hub.MaxFrame(lane), buffers: &t.hub.Buffers}
	for {
		if err := in.next(&d); err != nil {
			t.hub.NoteBreach(s.ID, c.RemoteAddr().String(), err)
			return
		}
	}
}

var pong = head{kind: kindPong}.append(nil)

// next receives one frame.
func (in *inbound) next(d *decoder) error {
	h, err := d.head()
	switch {
	case err != nil:
		return err
	case h.kind == kindPong:
		return fault.Newf(fault.InvalidRequest, "a pong without a ping")
	case h.kind == kindPing && in.lane == replica.LaneControl:
		return in.conn.write(net.Buffers{pong})
	case h.kind == kindPing:
		return nil
	}
	bytes := h.body() + hub.FrameCost
	keep, err := in.Reserve(bytes)
	if err != nil {
		return err
	}
	var release func()
	if keep {
		release = func() { in.Release(bytes) }
	}
	f, err := d.frame(h, release)
	switch {
	case err != nil:
		if keep {
			in.Release(bytes)
		}
		return err
	case !keep:
		f.Done()
	default:
		in.t.hub.Handler.HandleFrame(in.from, in.lane, f)
	}
	return nil
}
