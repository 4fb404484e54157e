// Package closing decides on which goroutine a consumer's session ends.
//
// A session's callbacks run on the goroutine that fetches, because they may use
// its data. Closing may come from any goroutine. A [Gate] coordinates the two:
// every call of the goroutine that fetches goes through it. The goroutine that
// closes learns from it whether the fetching goroutine will end the session
// when it leaves its call, or whether that goroutine is not within a call and
// the closer must.
//
//	open ──Close, no call within──> Mine: the closer ends it ──────────┐
//	  │                                                                ├─End─> over
//	  └───Close, a call within───> Theirs: Leave passes on the ending ─┘
package closing

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Patience is how long Close waits for the goroutine that fetches, which may be
// within a callback of the program.
const Patience = 30 * time.Second

// Late returns a context that ends when Patience does.
func Late() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Patience)
}

// Verdict is Close's answer: which goroutine ends the session.
type Verdict int8

// The verdicts.
const (
	Mine   Verdict = iota // the caller, which then calls End; no call can enter before
	Theirs                // the goroutine that fetches, as soon as it leaves its call
	Within                // the same, but a callback is running: it may be the one that closes, so do not wait
	Over                  // none: the session has ended
)

// Gate belongs to one session. Make it with New.
type Gate struct {
	asked atomic.Bool   // Close was called
	over  chan struct{} // closed by End

	mu      sync.Mutex
	calls   int // calls within the gate; those made in callbacks are nested
	telling int // running callbacks
	ending  bool
	ended   bool
}

// New returns a gate that is open.
func New() *Gate { return &Gate{over: make(chan struct{})} }

// Enter begins a call of the goroutine that fetches, which ends with Leave.
// After Close it returns false.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked.Load() {
		return false
	}
	g.calls++
	return true
}

// Leave ends a call, and reports whether the caller must end the session now
// and call End.
func (g *Gate) Leave() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.calls > 0 || !g.asked.Load() || g.ending {
		return false
	}
	g.ending = true
	return true
}

// Tell runs fn, which calls a callback of the program.
func (g *Gate) Tell(fn func()) {
	g.mu.Lock()
	g.telling++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.telling--
		g.mu.Unlock()
	}()
	fn()
}

// Close asks for the session's end. If the goroutine that fetches is waiting,
// the caller must wake it.
func (g *Gate) Close() Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked.Store(true)
	switch {
	case g.ended:
		return Over
	case g.calls == 0 && !g.ending:
		g.ending = true
		return Mine
	case g.telling > 0:
		return Within
	}
	return Theirs
}

// Closed reports whether Close was called.
func (g *Gate) Closed() bool { return g.asked.Load() }

// End records that the session has ended.
func (g *Gate) End() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.ended = true
		close(g.over)
	}
}

// Wait waits for End until late is closed, and reports whether it came.
func (g *Gate) Wait(late <-chan struct{}) bool {
	select {
	case <-g.over:
		return true
	default:
	}
	select {
	case <-g.over:
		return true
	case <-late:
		return false
	}
}
