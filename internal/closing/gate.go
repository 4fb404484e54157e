// Package closing decides on which goroutine a consumer's session ends.
//
// A session's callbacks run on the goroutine that fetches, because what they
// touch belongs to it. Closing may come from any goroutine. A [Gate] stands
// between the two: every call of the goroutine that fetches goes through it, and
// whoever closes learns from it whether that goroutine will end the session when
// it leaves its call, or whether nobody is within and the closer has to.
//
//	open ──Close, nobody within──> Mine: the closer ends it ────────────┐
//	  │                                                                 ├─End─> over
//	  └───Close, somebody within─> Theirs: Leave hands it the ending ───┘
package closing

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Patience is how long Close waits for the goroutine that fetches, which may be
// within a callback of the program.
const Patience = 15 * time.Second

// Late returns a context that ends when Patience does.
func Late() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Patience)
}

// Verdict is what Close says about who ends the session.
type Verdict int8

// The verdicts.
const (
	Mine   Verdict = iota // the caller, who then calls End; nobody gets in meanwhile
	Theirs                // the goroutine that fetches, as soon as it leaves its call
	Within                // the same, but a callback runs: it may be the one that closes, so do not wait
	Over                  // nobody: it has ended
)

// Gate is one session's. Make it with New.
type Gate struct {
	asked atomic.Bool   // Close was called
	over  chan struct{} // closed by End

	mu      sync.Mutex
	calls   int // within the gate; calls made in callbacks are nested
	telling int // callbacks that run
	ending  bool
	ended   bool
}

// New returns a gate that is open.
func New() *Gate { return &Gate{over: make(chan struct{})} }

// Enter begins a call of the goroutine that fetches, which ends with Leave. It
// reports false once Close was called.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked.Load() {
		return false
	}
	g.calls++
	return true
}

// Leave ends a call, and reports whether the caller has to end the session now
// and to call End.
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

// Tell calls fn, which calls back the program.
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

// Close asks for the end. The goroutine that fetches has to be woken by the
// caller where it is waiting.
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

// End notes that the session has ended.
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
