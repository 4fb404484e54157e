package tcp

import (
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// refusalPause is how often a refused connection gets a line in the log, so that
// a stranger does not fill it.
const refusalPause = time.Second

// refusals are the connections from others that were refused.
type refusals struct {
	mu   sync.Mutex
	next time.Time // when the next one gets a line
	more int       // since the last line
}

// noteRefusal logs why a connection that another process dialed was closed.
func (t *Transport) noteRefusal(c *conn, err error) {
	if t.ctx.Err() != nil {
		return
	}
	r := &t.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.next) {
		r.more++
		return
	}
	t.journal.Warn("a connection from another node was refused", "node", t.self, "from", c.RemoteAddr().String(), "error", err, "others", r.more)
	r.next, r.more = now.Add(refusalPause), 0
}

// noteBreach logs that a connection of a node brought what is not of the protocol.
// What else ends a connection is the dialing side's to report.
func (t *Transport) noteBreach(c *conn, from replica.NodeID, err error) {
	if fault.CodeOf(err) == fault.InvalidRequest {
		t.journal.Error("a node broke the protocol", "node", t.self, "peer", from, "from", c.RemoteAddr().String(), "error", err)
	}
}

func (p *peer) noteUp() {
	p.t.journal.Info("a peer is up", "node", p.t.self, "peer", p.id, "address", p.address)
}

func (p *peer) noteDown(cause error) {
	if p.ctx.Err() == nil {
		p.t.journal.Warn("a peer is down", "node", p.t.self, "peer", p.id, "address", p.address, "error", cause)
	}
}

// noteFailure logs that a peer cannot be reached, unless the last attempt failed for
// the same reason.
func (p *peer) noteFailure(err error) {
	if before := p.problem(); p.ctx.Err() == nil && (before == nil || before.Error() != err.Error()) {
		p.t.journal.Warn("a peer cannot be reached", "node", p.t.self, "peer", p.id, "address", p.address, "error", err)
	}
}
