package runnel

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/fault"
)

// buffer is the memory of one batch. It goes from the session to the partition,
// and comes back when no reader uses it any more.
type buffer struct {
	bytes []byte
	pool  *sync.Pool // of buffers of this size, or nil
}

// Recycle implements log.Recycler.
func (b *buffer) Recycle([]byte) {
	if b.pool != nil {
		b.pool.Put(b)
	}
}

// allowance is how many bytes a session may hold for records that are not
// acknowledged yet. Those who wait for some get it in the order of their coming.
type allowance struct {
	total int

	mu      sync.Mutex
	held    int // <= total
	waiting []*claim
}

// claim is one who waits for bytes.
type claim struct {
	bytes   int
	granted chan struct{}
}

// try takes bytes if nobody waits and they are there.
func (a *allowance) try(bytes int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) > 0 || a.held+bytes > a.total {
		return false
	}
	a.held += bytes
	return true
}

// take takes bytes, and waits for them until ctx ends or closed is closed. It
// calls wait once when it has to.
func (a *allowance) take(ctx context.Context, closed <-chan struct{}, bytes int, wait func()) error {
	a.mu.Lock()
	if len(a.waiting) == 0 && a.held+bytes <= a.total {
		a.held += bytes
		a.mu.Unlock()
		return nil
	}
	c := &claim{bytes: bytes, granted: make(chan struct{})}
	a.waiting = append(a.waiting, c)
	a.mu.Unlock()
	wait()
	var err error
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-closed:
		err = fault.Closed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, other := range a.waiting {
		if other == c {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			a.grant() // whoever stood behind may need less
			return err
		}
	}
	return nil // granted at the same moment
}

// give gives bytes back.
func (a *allowance) give(bytes int) {
	a.mu.Lock()
	a.held -= bytes
	a.grant()
	a.mu.Unlock()
}

// grant serves those who wait; mu is held.
func (a *allowance) grant() {
	for len(a.waiting) > 0 && a.held+a.waiting[0].bytes <= a.total {
		c := a.waiting[0]
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
		a.held += c.bytes
		close(c.granted)
	}
}

// isAwaited reports whether somebody waits for bytes.
func (a *allowance) isAwaited() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting) > 0
}
