package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
)

// gate keeps commands out while it is closed.
type gate struct {
	mu     sync.Mutex
	inside int
	opens  chan struct{} // closed when the gate opens; nil while it is open
	empty  chan struct{} // closed when no one is inside; nil unless close waits for that
}

// enter waits until the gate is open. Who has entered must leave.
func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		opens := g.opens
		if opens == nil {
			g.inside++
		}
		g.mu.Unlock()
		if opens == nil {
			return nil
		}
		select {
		case <-opens:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// close closes the gate, once no other caller keeps it closed, and waits until no command is
// inside. If ctx ends before, the gate is open.
func (g *gate) close(ctx context.Context) error {
	for {
		g.mu.Lock()
		opens := g.opens
		if opens == nil {
			break
		}
		g.mu.Unlock()
		select {
		case <-opens:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.opens = make(chan struct{})
	if g.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	g.empty = empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		g.open()
		return ctx.Err()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opens)
	g.opens, g.empty = nil, nil
}

// Pause waits until no transaction is being ended, and keeps transactions from being begun,
// grown and ended until resume. What Pause has seen ended has its markers in all partitions,
// and what is open is in the log: the logs, up to the ends that they have then, agree
// about every transaction, however late each of them is read. On replica groups Pause does
// nothing: other nodes end transactions, too.
func (t *Transactions) Pause(ctx context.Context) (resume func(), err error) {
	if t.cfg.Host.IsReplicated() {
		return func() {}, nil
	}
	if err := t.commands.close(ctx); err != nil {
		return nil, err
	}
	resume = sync.OnceFunc(t.commands.open)
	defer func() {
		if err != nil {
			resume()
		}
	}()
	shards, err := t.all(ctx, false)
	if err != nil {
		return nil, err
	}
	late, stop := context.WithTimeout(ctx, pausePatience)
	defer stop()
	for _, s := range shards {
		// A command whose caller has gone may still be before this one.
		if err := s.do(ctx, func(*txn.Coordinator) ([]unit, error) { return nil, nil }); err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err := s.awaitEnds(ctx, late); err != nil {
			return nil, err
		}
	}
	return resume, t.Settle(ctx)
}

// pausePatience is how long Pause waits for markers. One whose partition's storage has failed
// is never written.
const pausePatience = 5 * time.Second

// awaitEnds waits until no transaction is being ended, whether that succeeds or not, or until
// it is late. What is not ended then is decided in the log, and its records are there.
func (s *txnShard) awaitEnds(ctx context.Context, late context.Context) error {
	for {
		var running *ending
		s.mu.Lock()
		for _, e := range s.endings {
			running = e
		}
		s.mu.Unlock()
		if running == nil {
			return nil
		}
		select {
		case <-running.done:
		case <-late.Done():
			return ctx.Err() // nil: it is only late
		case <-s.host.Closing():
			return fault.Closed
		}
	}
}
