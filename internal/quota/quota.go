// Package quota hands out bytes of a fixed total, first come, first served.
//
// A large claim is not passed by smaller ones that come after it, so it waits no
// longer than it takes those before it to give back. All of it is safe for concurrent
// use.
package quota

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/fault"
)

// Quota is a number of bytes that may be held at once.
type Quota struct {
	Total int // does not change once bytes have been taken

	mu      sync.Mutex
	held    int // <= Total
	waiting []*claim
}

// claim is one that waits for bytes.
type claim struct {
	bytes   int
	granted chan struct{}
}

// Try takes bytes and reports true if they are there and no one waits for some.
func (q *Quota) Try(bytes int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.try(bytes)
}

// try is Try; mu is held.
func (q *Quota) try(bytes int) bool {
	if len(q.waiting) > 0 || q.held+bytes > q.Total {
		return false
	}
	q.held += bytes
	return true
}

// Take takes bytes, at most the total, and waits for them until ctx ends, whose error
// it returns then, or closed is closed (fault.Closed); after an error nothing was
// taken. It calls wait once when it has to wait.
func (q *Quota) Take(ctx context.Context, closed <-chan struct{}, bytes int, wait func()) error {
	q.mu.Lock()
	if q.try(bytes) {
		q.mu.Unlock()
		return nil
	}
	c := &claim{bytes: bytes, granted: make(chan struct{})}
	q.waiting = append(q.waiting, c)
	q.mu.Unlock()
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
	return q.withdraw(c, err)
}

// withdraw takes a claim back and returns err, or nil if the claim was granted at the
// same moment.
func (q *Quota) withdraw(c *claim, err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.waiting {
		if other == c {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.grant() // the next one may need less
			return err
		}
	}
	return nil
}

// Give gives bytes back.
func (q *Quota) Give(bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held -= bytes
	q.grant()
}

// grant serves those that wait; mu is held.
func (q *Quota) grant() {
	for len(q.waiting) > 0 && q.held+q.waiting[0].bytes <= q.Total {
		c := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.held += c.bytes
		close(c.granted)
	}
}

// IsAwaited reports whether somebody waits for bytes.
func (q *Quota) IsAwaited() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0
}

// Held returns how many bytes are taken, and how many claims wait.
func (q *Quota) Held() (bytes, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held, len(q.waiting)
}
