package attach

import (
	"context"
	"sync"
)

// room is how many bytes a session may have sent and not acknowledged. Those who
// wait for some get it in the order of their coming.
type room struct {
	mu      sync.Mutex
	free    int
	waiting []*claim
}

// claim is one who waits for bytes.
type claim struct {
	bytes   int
	granted chan struct{}
}

// take takes bytes, at most as many as the room has, and waits for them until
// ctx ends. It calls wait once when it has to.
func (r *room) take(ctx context.Context, bytes int, wait func()) error {
	r.mu.Lock()
	if len(r.waiting) == 0 && bytes <= r.free {
		r.free -= bytes
		r.mu.Unlock()
		return nil
	}
	c := &claim{bytes: bytes, granted: make(chan struct{})}
	r.waiting = append(r.waiting, c)
	r.mu.Unlock()
	wait()
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.waiting {
		if other == c {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			r.grant() // whoever stood behind may need less
			return ctx.Err()
		}
	}
	return nil // granted at the same moment
}

// give gives bytes back.
func (r *room) give(bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += bytes
	r.grant()
}

// grant serves those who wait; mu is held.
func (r *room) grant() {
	for len(r.waiting) > 0 && r.waiting[0].bytes <= r.free {
		c := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.free -= c.bytes
		close(c.granted)
	}
}

// isAwaited reports whether somebody waits for bytes.
func (r *room) isAwaited() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting) > 0
}
