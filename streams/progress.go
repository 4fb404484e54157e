package streams

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// progress is the state that an application's threads report, and on which
// CaughtUp waits.
type progress struct {
	mu      sync.Mutex
	state   State         // Running is Rebalancing with started and busy == 0
	ended   int           // how often Run has returned
	err     error         // of the Run that returned last
	busy    int           // threads that are restoring stores
	started bool          // a thread has had partitions assigned
	changed chan struct{} // closed at the next change

	waiting int             // calls that wait for commits
	calm    context.Context // canceled while at least one CaughtUp waits
	stir    context.CancelFunc
}

func newProgress() progress {
	calm, stir := context.WithCancel(context.Background())
	return progress{changed: make(chan struct{}), calm: calm, stir: stir}
}

// update changes p under its lock and wakes everything that waits for a change.
func (p *progress) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// begin enters Rebalancing. It returns false if the application is already
// running.
func (p *progress) begin() (ok bool) {
	p.update(func() {
		if ok = p.state == Created || p.state >= NotRunning; ok {
			p.state, p.busy, p.started = Rebalancing, 0, false
		}
	})
	return ok
}

func (p *progress) stopping() {
	p.update(func() {
		if p.state < PendingShutdown {
			p.state = PendingShutdown
		}
	})
}

func (p *progress) end(err error) {
	p.update(func() {
		p.state, p.err = NotRunning, err
		p.ended++
		if err != nil {
			p.state = Failed
		}
	})
}

// restoring and restored mark the period in which a thread prepares new tasks.
func (p *progress) restoring() { p.update(func() { p.busy++ }) }

func (p *progress) restored() {
	p.update(func() { p.busy--; p.started = true })
}

// committed wakes calls that wait for commits.
func (p *progress) committed() { p.update(func() {}) }

func (p *progress) current() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Rebalancing && p.started && p.busy == 0 {
		return Running
	}
	return p.state
}

// runs returns how often Run has returned, and the error of the last Run if it
// failed and Run was not called again.
func (p *progress) runs() (ended int, failed error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Failed {
		failed = p.err
	}
	return p.ended, failed
}

// watch returns a channel that is closed at the next change, and the result of
// Run if Run has returned more often than ended.
func (p *progress) watch(ended int) (changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended > ended && p.err != nil:
		err = p.err
	case p.ended > ended:
		err = fault.Newf(fault.Closed, "the application has stopped")
	}
	return p.changed, err
}

// addWaiter makes threads commit as soon as they have nothing to process, until
// removeWaiter has been called as often.
func (p *progress) addWaiter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting++; p.waiting == 1 {
		p.stir()
	}
}

func (p *progress) removeWaiter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting--; p.waiting == 0 {
		p.calm, p.stir = context.WithCancel(context.Background())
	}
}

// untilWaiter returns a context that is canceled while a CaughtUp waits for
// commits.
func (p *progress) untilWaiter() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calm
}

// CaughtUp waits until everything that the topology's topics held when it was
// called has been processed and committed, together with the records that
// resulted from it in repartition topics, by any instance of the application.
// It may be called before Run, and then waits for it. If Run returns first, or
// has failed and was not called again, CaughtUp returns its error, or
// fault.Closed if it had none.
func (a *App) CaughtUp(ctx context.Context) error {
	ended, err := a.progress.runs()
	if err != nil {
		return err
	}
	s, err := a.openOffsets(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	a.progress.addWaiter()
	defer a.progress.removeWaiter()
	// The results of committed records are in the repartition topics, so each
	// of these is asked for its end only after the topics that it is made from
	// are caught up.
	for depth, names := range a.plan.depths() {
		tps, err := a.partitionsOf(ctx, names)
		if depth > 0 && errors.Is(err, fault.UnknownTopic) {
			return nil // nothing has ever been processed
		}
		if err != nil {
			return err
		}
		if err := a.await(ctx, s, ended, tps); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the group has committed what partitions hold now. A commit
// of this App wakes it. Other instances cannot, so it also polls at intervals.
func (a *App) await(ctx context.Context, s consumer.Session, ended int, tps []record.TopicPartition) error {
	if len(tps) == 0 {
		return nil
	}
	ends, err := s.Offsets(ctx, topic.Latest(), tps...)
	if err != nil {
		return err
	}
	every := time.NewTicker(min(max(a.config.commitInterval, 10*time.Millisecond), time.Second))
	defer every.Stop()
	for {
		changed, over := a.progress.watch(ended)
		left, err := unread(ctx, s, tps, ends)
		if err != nil || !left {
			return err
		}
		if over != nil {
			return over
		}
		select {
		case <-changed:
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unread reports whether partitions hold records below their ends which the
// group has not committed.
func unread(ctx context.Context, s consumer.Session, tps []record.TopicPartition, ends map[record.TopicPartition]int64) (bool, error) {
	starts, err := s.Offsets(ctx, topic.Earliest(), tps...)
	if err != nil {
		return false, err
	}
	committed, err := s.Committed(ctx, tps...)
	if err != nil {
		return false, err
	}
	for _, tp := range tps {
		if max(committed[tp].Offset, starts[tp]) < ends[tp] {
			return true, nil
		}
	}
	return false, nil
}

// openOffsets opens a session that can read the group's offsets without being a
// member.
func (a *App) openOffsets(ctx context.Context) (consumer.Session, error) {
	return a.backend.OpenConsumer(ctx, a.consumerConfig("offsets"))
}
