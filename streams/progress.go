package streams

import (
	"context"
	"errors"
	"sync"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// progress is what an application's threads tell about themselves.
type progress struct {
	mu        sync.Mutex
	state     State // Running is Rebalancing with started and busy == 0
	ended     int   // how often Run has returned
	err       error // of the Run that returned last
	busy      int   // threads that are restoring stores
	started   bool  // a thread has been assigned something
	committed map[record.TopicPartition]int64
	changed   chan struct{} // closed at the next change
}

func newProgress() progress {
	return progress{committed: make(map[record.TopicPartition]int64), changed: make(chan struct{})}
}

// update changes p under its lock and wakes who waits for it.
func (p *progress) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// begin enters Rebalancing, and reports false when the application is running.
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

// restoring and restored stand around the time in which a thread makes new
// tasks ready.
func (p *progress) restoring() { p.update(func() { p.busy++ }) }

func (p *progress) restored() {
	p.update(func() { p.busy--; p.started = true })
}

// note adds what was committed.
func (p *progress) note(offsets map[record.TopicPartition]consumer.Offset) {
	p.update(func() {
		for tp, o := range offsets {
			p.committed[tp] = o.Offset
		}
	})
}

// forget is for offsets that were reset.
func (p *progress) forget() { p.update(func() { clear(p.committed) }) }

func (p *progress) current() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Rebalancing && p.started && p.busy == 0 {
		return Running
	}
	return p.state
}

// runs returns how often Run has returned, and the error of a Run that has failed
// and has not been called again.
func (p *progress) runs() (ended int, failed error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Failed {
		failed = p.err
	}
	return p.ended, failed
}

// await waits until every partition is committed up to the offset given for it,
// while Run has returned no more than that often.
func (p *progress) await(ctx context.Context, ended int, until map[record.TopicPartition]int64) error {
	for {
		p.mu.Lock()
		missing := false
		for tp, offset := range until {
			missing = missing || p.committed[tp] < offset
		}
		over, err, changed := p.ended > ended, p.err, p.changed
		p.mu.Unlock()
		switch {
		case !missing:
			return nil
		case over && err != nil:
			return err
		case over:
			return fault.Newf(fault.Closed, "the application has stopped")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// CaughtUp waits until everything that the topology's topics held when it was
// called has been processed and committed, with all that followed from it in
// repartition topics. It may be called before Run, which it waits for. When Run
// returns first, or has failed and was not called again, its error is returned;
// fault.Closed where it had none.
//
// It knows what this App commits: an application that several processes share
// is caught up when each of them is.
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
	own, err := a.partitionsOf(ctx, a.plan.topics(sourceNode, false))
	if err != nil {
		return err
	}
	until, err := a.unread(ctx, s, own)
	if err != nil {
		return err
	}
	// What one sub-topology has processed stands in the next one's repartition
	// topic, so each round reaches one further.
	for range a.plan.subs {
		if err := a.progress.await(ctx, ended, until); err != nil {
			return err
		}
		internal, err := a.partitionsOf(ctx, a.plan.topics(sourceNode, true))
		if errors.Is(err, fault.UnknownTopic) {
			return nil // nothing has ever been processed
		}
		if err != nil {
			return err
		}
		if until, err = a.unread(ctx, s, internal); err != nil {
			return err
		}
	}
	return nil
}

// unread returns the end offsets of the partitions that hold records which the
// application has not committed.
func (a *App) unread(ctx context.Context, s consumer.Session, tps []record.TopicPartition) (map[record.TopicPartition]int64, error) {
	if len(tps) == 0 {
		return nil, nil
	}
	ends, err := s.Offsets(ctx, topic.Latest(), tps...)
	if err != nil {
		return nil, err
	}
	starts, err := s.Offsets(ctx, topic.Earliest(), tps...)
	if err != nil {
		return nil, err
	}
	committed, err := s.Committed(ctx, tps...)
	if err != nil {
		return nil, err
	}
	until := make(map[record.TopicPartition]int64)
	for _, tp := range tps {
		if max(committed[tp].Offset, starts[tp]) < ends[tp] {
			until[tp] = ends[tp]
		}
	}
	return until, nil
}

// openOffsets opens a session for the group's offsets, which is no member.
func (a *App) openOffsets(ctx context.Context) (consumer.Session, error) {
	return a.backend.OpenConsumer(ctx, a.consumerConfig("offsets"))
}
