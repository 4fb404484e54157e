package tcp

import (
	"crypto/tls"
	"net"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

const maxWaiting = 128 // connections in their handshake

// accept takes connections until the transport is closed.
func (t *Transport) accept() {
	pause := time.Duration(0)
	for {
		raw, err := t.hub.Listener.Accept()
		if err != nil {
			// Out of file descriptors, most likely: what is open goes on.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
				continue
			case <-t.hub.Ctx.Done():
				timer.Stop()
				return
			}
		}
		pause = 0
		c := newConn(raw)
		t.mu.Lock()
		if t.hub.Ctx.Err() != nil {
			_ = raw.Close()
		} else {
			if len(t.waiting) == maxWaiting {
				_ = t.waiting[0].Close()
				t.waiting = slices.Delete(t.waiting, 0, 1)
			}
			t.waiting = append(t.waiting, c)
			t.hub.Work.Go(func() { t.receive(c) })
		}
		t.mu.Unlock()
	}
}

// introduced ends a connection's handshake, and reports whether it was still among
// those that may finish it.
func (t *Transport) introduced(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, c)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	return i >= 0 && t.hub.Ctx.Err() == nil
}

// receive serves a connection that another node dialed, and closes it. Errors concern
// the other side alone, which notices for itself.
func (t *Transport) receive(c *conn) {
	defer c.Close()
	from := c.RemoteAddr().String()
	h, err := t.meet(c)
	if err != nil {
		if t.introduced(c) {
			t.hub.NoteRefusal(from, err)
		}
		return
	}
	a := t.judge(h)
	var s *hub.Source
	if a.code == 0 {
		if s, err = t.hub.Source(h.from, h.process, h.purpose == purposeStream, from); err != nil {
			a.code, a.detail = fault.CodeOf(err), err.Error()
		}
	}
	if a.code != 0 {
		t.hub.NoteRefusal(from, refusal(h, a))
		t.refuse(c, a)
		t.introduced(c)
		return
	}
	defer s.Leave(h.purpose == purposeStream)
	if !t.introduced(c) {
		return
	}
	if h.purpose == purposeStream {
		t.serveStream(c, s, h, a)
	} else {
		t.serveLane(c, s, replica.Lane(h.purpose), a)
	}
}

// meet does the accepting side's part of the handshake, up to its answer.
func (t *Transport) meet(c *conn) (hello, error) {
	_ = c.SetDeadline(time.Now().Add(t.hub.HandshakeTimeout))
	if t.hub.TLS != nil {
		secured := tls.Server(c.socket, t.hub.TLS)
		if err := secured.Handshake(); err != nil {
			c.finish(time.Now().Add(t.hub.Timeout)) // so that the alert arrives
			return hello{}, err
		}
		c.secure(secured)
	}
	h, err := readHello(c.r)
	if err == nil && t.hub.TLS != nil && h.version == protocolVersion {
		if err = t.hub.VerifyNode(h.from, c.tls.ConnectionState()); err != nil {
			t.refuse(c, answer{version: protocolVersion, node: t.hub.Self, cluster: t.hub.Cluster, code: fault.ClusterAuthorization, detail: err.Error()})
		}
	}
	return h, err
}

// refuse sends an answer, and waits until it has arrived or a timeout is over.
func (t *Transport) refuse(c *conn, a answer) {
	if c.write(net.Buffers{a.bytes()}) == nil {
		c.finish(time.Now().Add(t.hub.Timeout))
	}
}

// finish sends the end of the stream, and reads what comes until the other side closes
// too, or until the deadline: closing with unread bytes would reset the
// connection, and lose what was just written.
func (c *conn) finish(deadline time.Time) {
	_ = c.SetDeadline(deadline)
	if c.tls != nil {
		_ = c.tls.CloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	waste := make([]byte, 4<<10)
	for read := 0; read < maxWaste; {
		n, err := c.Conn.Read(waste)
		read += n
		if err != nil {
			return
		}
	}
}

// maxWaste is how much is read only to be thrown away.
const maxWaste = 1 << 20
