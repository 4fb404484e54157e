package hub

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

// NoteRefusal logs why a connection from another process was refused.
func (h *Hub) NoteRefusal(from string, err error) {
	if h.Ctx.Err() != nil {
		return
	}
	r := &h.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.next) {
		r.more++
		return
	}
	h.Journal.Warn("a connection from another node was refused", "node", h.Self, "from", from, "error", err, "others", r.more)
	r.next, r.more = now.Add(refusalPause), 0
}

// NoteBreach logs that a node's connection brought what is not of the protocol.
// What else ends a connection is the dialing side's to report.
func (h *Hub) NoteBreach(peer replica.NodeID, from string, err error) {
	if fault.CodeOf(err) == fault.InvalidRequest {
		h.Journal.Error("a node broke the protocol", "node", h.Self, "peer", peer, "from", from, "error", err)
	}
}
