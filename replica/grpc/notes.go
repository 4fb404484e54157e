package grpc

import (
	"sync"
	"time"
)

// refusalPause is how often a refused call gets a line in the log, so that
// a stranger does not fill it.
const refusalPause = time.Second

// refusals are the calls of others that were refused.
type refusals struct {
	mu   sync.Mutex
	next time.Time // when the next one gets a line
	more int       // since the last line
}

// noteRefusal logs why a call of another process was refused.
func (t *Transport) noteRefusal(address string, err error) {
	r := &t.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.next) {
		r.more++
		return
	}
	t.journal.Warn("a call from another node was refused", "node", t.self, "from", address, "error", err, "others", r.more)
	r.next, r.more = now.Add(refusalPause), 0
}
