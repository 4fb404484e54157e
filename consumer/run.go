package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Run calls handler with the records that c reads, until ctx ends: up to Concurrency of
// them at once, those of one key and partition one after the other in their order.
// Records without a key have no order. A record that fails is tried again after a
// while (Attempts, Backoff), and only records of its key wait for it. If every attempt
// fails, it becomes a dead letter (DeadLetters), or ends Run.
//
// A record is done when the handler has returned nil or its dead letter is stored, and
// a partition is done up to its first record that is not. So much, and no more, is
// committed as everywhere in this package: every few seconds, before partitions are
// given up and at the end, or, with ManualCommit, by Commit, which a handler may call.
// Delivery is at least once: after a crash, the records beyond the first unfinished one
// are handled again, those that were finished too.
//
// Run reads on while handlers run, so a slow handler does not cost the consumer its
// place in its group. With too many records in flight (InFlight, Ahead) it pauses
// partitions. Before a partition is given up, and when c is closed, running handlers
// get DrainTimeout to return; what they finish is committed. After that, and for a
// partition that was lost, their ctx ends and what they do does not count: the next
// owner of the partition handles their records too.
//
// When ctx ends, Run begins no more records, waits for running handlers in the same
// way, commits, and returns nil or the error of the commit. Records that are not done
// are delivered again by the next call that reads. If c is closed, it returns
// fault.Closed. It returns a *HandlerError for a record that was given up without
// DeadLetters, the error of a dead letter that could not be written, and any error
// that Poll would return, unless OnError takes it. When Run returns, no handler is
// running: one that ignores the end of its ctx keeps Run from returning.
//
// Run belongs to the goroutine that reads; callbacks run on it. After a Seek
// in a callback, handlers of that partition that still run do not count. A handler must
// not call Close, which would wait for it.
func Run(ctx context.Context, c *Consumer, handler Handler, opts ...RunOption) error {
	if handler == nil {
		return fault.Newf(fault.InvalidRequest, "no handler")
	}
	cfg, err := gatherRun(&c.cfg, opts)
	if err != nil {
		return err
	}
	use, err := c.enter(useNone)
	if err != nil {
		return err
	}
	defer c.leave(use)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	return newRunner(ctx, stop, c, handler, cfg).run(reading)
}

// run reads until ctx ends, which it does when a record has failed, too.
func (r *runner) run(ctx context.Context) (err error) {
	rest := r.consumer.beginRun(r)
	defer r.consumer.endRun()
	defer func() { err = r.end(err) }() // also if a callback of the program does not return
	r.own(r.consumer.session.Assignment())
	if len(rest.Records) > 0 {
		r.take(&rest)
	}
	for failed := 0; ctx.Err() == nil; {
		err := r.read(ctx)
		switch {
		case err == nil:
			failed = 0
			continue
		case ctx.Err() != nil:
			return nil
		case Fatal(err):
			return err
		}
		if err := r.cfg.onError(err); err != nil {
			return err
		}
		failed++
		pause(ctx, min(r.backoff(failed), r.consumer.cfg.RebalanceTimeout/3)) // and no longer, to keep the place in the group
	}
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// read fetches once.
func (r *runner) read(ctx context.Context) error {
	if err := r.consumer.takeFailure(); err != nil {
		return err
	}
	if err := r.regulate(); err != nil {
		return err
	}
	waiting, cancel := r.waiting(ctx)
	defer cancel()
	f, err := r.consumer.receive(waiting, UntilDone)
	if err != nil {
		if waiting.Err() != nil && errors.Is(err, waiting.Err()) {
			return nil // to look again
		}
		return err
	}
	r.take(&f)
	return nil
}

// waiting returns the ctx of the next Fetch. While something is paused, settle ends it
// to resume that.
func (r *runner) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.changed && !r.held {
		return ctx, func() {}
	}
	waiting, cancel := context.WithCancel(ctx)
	if r.changed {
		cancel() // it has changed since regulate
	}
	r.wake = cancel
	return waiting, cancel
}

// weigh notes whether partitions are to be paused or resumed, after what is in flight
// of p has changed. The caller holds r.mu.
func (r *runner) weigh(p *part) {
	full := r.load.reaches(r.cfg.limit) || r.full && r.load.reaches(r.cfg.limit.half())
	far := p.frontier.pending() >= r.cfg.ahead || p.far && p.frontier.pending() > r.cfg.ahead/2
	if full == r.full && far == p.far {
		return
	}
	r.full, p.far, r.changed = full, far, true
	if r.wake != nil {
		r.wake()
		r.wake = nil
	}
}

// regulate pauses and resumes partitions.
func (r *runner) regulate() error {
	pause, resume := r.differences()
	if len(pause) > 0 {
		if err := lostPlace(r.consumer.session.Pause(pause...)); err != nil {
			return err
		}
	}
	if resume = r.consumer.notPaused(resume); len(resume) > 0 {
		return lostPlace(r.consumer.session.Resume(resume...)) // Fetch reports what has gone
	}
	return nil
}

// differences returns what regulate must do.
func (r *runner) differences() (pause, resume []record.TopicPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.changed {
		return nil, nil
	}
	r.changed, r.held = false, false
	for tp, p := range r.parts {
		want := p.owned && (r.full || p.far)
		r.held = r.held || want
		switch {
		case want && !p.paused:
			pause = append(pause, tp)
		case p.owned && p.paused && !want:
			resume = append(resume, tp)
		}
		p.paused = want
	}
	return pause, resume
}

// end waits for what runs, commits what is finished, and makes the consumer continue
// with what is not.
func (r *runner) end(err error) error {
	left := r.leave(r.halt())
	r.pending.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.failure, err, left)
}

// halt begins no more records and waits for those that run. It returns the partitions
// that are still owned.
func (r *runner) halt() []record.TopicPartition {
	r.mu.Lock()
	r.stopping = true
	var parts []*part
	var owned []record.TopicPartition
	for tp, p := range r.parts {
		r.drop(p)
		if p.owned {
			parts, owned = append(parts, p), append(owned, tp)
		}
	}
	r.mu.Unlock()
	r.await(parts)
	return owned
}

// leave commits, and takes the consumer back to the first unfinished record of each
// partition.
func (r *runner) leave(owned []record.TopicPartition) error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	var resume []record.TopicPartition
	back := map[record.TopicPartition]int64{}
	r.mu.Lock()
	for _, p := range r.known(owned) {
		if !p.owned { // it has gone meanwhile
			continue
		}
		if offset, ok := p.frontier.restart(); ok {
			back[p.tp] = offset
		}
		if p.paused {
			resume = append(resume, p.tp)
		}
		r.forget(p)
	}
	r.mu.Unlock()
	var errs []error
	if r.consumer.auto.every > 0 {
		errs = append(errs, r.consumer.commitSoon())
	}
	for tp, offset := range back {
		errs = append(errs, r.consumer.session.Seek(ctx, tp, topic.AtOffset(offset)))
	}
	if resume = r.consumer.notPaused(resume); len(resume) > 0 {
		errs = append(errs, r.consumer.session.Resume(resume...))
	}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		return lostPlace(err) == nil || errors.Is(err, fault.Closed) // the partitions have gone meanwhile
	})...)
}

// beginRun makes r handle what c reads, and returns the rest of a batch of which Poll or
// a loop has handed out a part.
func (c *Consumer) beginRun(r *runner) Fetched {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked()
	rest := c.batch.Fetched
	rest.Records = rest.Records[c.batch.handed():]
	c.batch.drop()
	c.running = r
	return rest
}

func (c *Consumer) endRun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = nil
}

// run returns the running Run, or nil.
func (c *Consumer) run() *runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// advance records how far a partition is done.
func (c *Consumer) advance(tp record.TopicPartition, to Offset) {
	if c.cfg.Group == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark(tp, to)
}

// notPaused returns those partitions that the program has not paused.
func (c *Consumer) notPaused(partitions []record.TopicPartition) []record.TopicPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rest []record.TopicPartition
	for _, tp := range partitions {
		if !c.paused[tp] {
			rest = append(rest, tp)
		}
	}
	return rest
}

// unheld returns those partitions that Run has not paused.
func (r *runner) unheld(partitions []record.TopicPartition) []record.TopicPartition {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rest []record.TopicPartition
	for _, tp := range partitions {
		if p := r.parts[tp]; p == nil || !p.paused {
			rest = append(rest, tp)
		}
	}
	return rest
}
