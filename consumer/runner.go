package consumer

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/record"
)

// runner is a running Run: the goroutine that fetches gives it records (take), workers
// handle them, and what is finished becomes the consumer's progress. There are at most
// as many workers as Concurrency says, and none without work.
type runner struct {
	consumer *Consumer
	handler  Handler
	cfg      runConfig
	ctx      context.Context    // of Run: no record is begun after its end
	values   context.Context    // of the handlers, without an end
	stop     context.CancelFunc // ends the wait for records, for good
	pending  sync.WaitGroup     // workers, and timers of lanes

	// mu is held briefly, and never while the session or the program is called.
	// Consumer.mu may be taken within it.
	mu       sync.Mutex
	parts    map[record.TopicPartition]*part
	ready    []*lane            // in the order in which they get a worker; idle ones in between are skipped
	working  int                // workers
	load     load               // in flight
	full     bool               // the load has reached its limit, and not come down to a half yet
	changed  bool               // what is to be paused may differ from what is
	held     bool               // something is paused
	wake     context.CancelFunc // ends the current wait for records, while something is paused
	quiet    chan struct{}      // closed when a partition has no running handler any more; nil unless awaited
	stopping bool               // no record is begun any more
	failure  error              // of a record, which ends Run
}

func newRunner(ctx context.Context, stop context.CancelFunc, c *Consumer, handler Handler, cfg runConfig) *runner {
	return &runner{
		consumer: c, handler: handler, cfg: cfg, ctx: ctx, values: context.WithoutCancel(ctx), stop: stop,
		parts: map[record.TopicPartition]*part{},
	}
}

// own begins to handle the records of partitions.
func (r *runner) own(partitions []record.TopicPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tp := range partitions {
		p := r.parts[tp]
		if p == nil {
			p = &part{tp: tp, lanes: map[laneKey]*lane{}}
			r.parts[tp] = p
		}
		if !p.owned {
			p.owned, p.paused, p.far = true, false, false
			p.ctx, p.cancel = context.WithCancel(r.values)
		}
	}
	r.changed = true
}

// restart makes what runs of a partition count no more, because the program reads it
// from elsewhere.
func (r *runner) restart(tp record.TopicPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.parts[tp]; p != nil && p.owned {
		r.forget(p)
		p.owned = true
		p.ctx, p.cancel = context.WithCancel(r.values)
	}
}

// take takes over what was fetched of one partition. The records' slice stays the
// caller's.
func (r *runner) take(f *Fetched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.parts[f.TopicPartition]
	if p == nil || !p.owned {
		return // and read again by its next owner
	}
	if len(f.Records) == 0 {
		r.finish(p, p.frontier.add(gap(Offset{Offset: f.Next, LeaderEpoch: f.LeaderEpoch})))
	}
	tasks, slotOf := make([]task, len(f.Records)), slotsOf(f)
	for i := range f.Records {
		t := &tasks[i]
		if t.number = p.frontier.add(slotOf(i)); r.stopping {
			continue // it stays unfinished, and is read again
		}
		t.record = f.Records[i].Clone() // or one slow record would keep all that was fetched with it in memory
		t.lane = p.lane(&t.record, t.number)
		t.lane.tasks = append(t.lane.tasks, t)
		r.load.add(&t.record)
		if t.lane.state == laneIdle {
			r.queue(t.lane)
		}
	}
	r.weigh(p)
}

// skip notes that a partition continues at an offset, because what was before it will
// not be read.
func (r *runner) skip(tp record.TopicPartition, to Offset) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.parts[tp]; p != nil && p.owned {
		r.finish(p, p.frontier.add(gap(to)))
	}
}

// finish notes that a slot of a partition is done, which may make more of the partition
// the consumer's progress. The caller holds r.mu.
func (r *runner) finish(p *part, number uint64) {
	if upTo, moved := p.frontier.finish(number); moved {
		r.consumer.advance(p.tp, upTo)
	}
}

// queue puts a lane into the line for workers. The caller holds r.mu.
func (r *runner) queue(l *lane) {
	l.state = laneQueued
	r.ready = append(r.ready, l)
	if r.working < r.cfg.concurrency {
		r.working++
		r.pending.Add(1)
		w := &worker{runner: r}
		callback.Go(w.step)
	}
}

// worker handles records until the line is empty. Its handler may end the goroutine:
// then the next step is on another one.
type worker struct {
	runner *runner
	task   *task // the one whose handler runs
}

func (w *worker) step() (more bool) {
	t, err := w.task, error(errExited)
	if t == nil {
		if t = w.runner.begin(); t == nil {
			return false
		}
		w.task = t
		err = w.runner.attempt(t)
	}
	w.task = nil
	w.runner.settle(t, err)
	return true
}

// begin returns the next task for a worker. If there is none, the worker ends.
func (r *runner) begin() *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.ready) > 0 && !r.stopping && r.ctx.Err() == nil { // halt may come later
		l := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		if l.state != laneQueued {
			continue
		}
		l.state = laneRunning
		l.part.running++
		l.tasks[0].ctx = l.part.ctx
		return l.tasks[0]
	}
	r.working--
	r.pending.Done()
	return nil
}

// attempt calls the handler, or writes the dead letter of a record that was given up.
func (r *runner) attempt(t *task) error {
	if t.dead == nil {
		return r.handler.call(t.ctx, &t.record)
	}
	_, err := r.cfg.sender.Send(t.ctx, t.dead.DeadLetter(r.cfg.deadLetters, r.consumer.cfg.Group))
	return err
}

// settle decides what becomes of a task after an attempt.
func (r *runner) settle(t *task, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, p := t.lane, t.lane.part
	counts := !p.frontier.isOver(t.number) // else the partition has gone meanwhile
	if counts {
		if p.running--; p.running == 0 && r.quiet != nil {
			close(r.quiet)
			r.quiet = nil
		}
	}
	switch {
	case err == nil:
		r.finish(p, t.number)
	case !counts || !p.owned || r.stopping || t.ctx.Err() != nil: // it stays unfinished
	case r.retry(t, err):
		return
	}
	r.load.remove(&t.record)
	t.record = record.Record{} // the tasks of one Fetch stay in memory together
	if l.next() {
		r.queue(l)
	}
	r.weigh(p)
}

// retry prepares the next attempt of a task that failed with err, and returns false if
// there is none, because the failure ends Run. The caller holds r.mu.
func (r *runner) retry(t *task, err error) bool {
	if t.dead == nil {
		permanent, ends := isPermanent(err)
		if t.attempts++; t.attempts < r.cfg.attempts && !permanent {
			r.later(t.lane, t.attempts)
			return true
		}
		dead := &HandlerError{Raw: t.record, Attempts: t.attempts, Err: err}
		if r.cfg.sender == nil || ends {
			r.fail(dead)
			return false
		}
		t.dead = dead
		r.queue(t.lane)
		return true
	}
	if t.sends++; t.sends < r.cfg.attempts && fault.Retriable(err) {
		r.later(t.lane, t.sends)
		return true
	}
	r.fail(errors.Join(t.dead, fault.At(fault.CodeOf(err), r.cfg.deadLetters, -1, -1).Detailf("the dead letter could not be written").Because(err)))
	return false
}

// later puts a lane back into the line after a pause. The caller holds r.mu.
func (r *runner) later(l *lane, failed int) {
	l.state = laneWaiting
	r.pending.Add(1)
	l.timer = time.AfterFunc(r.backoff(failed), func() {
		defer r.pending.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		if l.state == laneWaiting {
			r.queue(l)
		}
	})
}

// backoff is the pause after a number of failures in a row.
func (r *runner) backoff(failed int) time.Duration {
	d := r.cfg.first
	for ; failed > 1 && d <= r.cfg.longest/2; failed-- {
		d *= 2
	}
	if failed > 1 {
		d = r.cfg.longest
	}
	return d - rand.N(d/2+1)
}

// fail ends Run with err. The caller holds r.mu.
func (r *runner) fail(err error) {
	if r.failure == nil {
		r.failure = err
	}
	r.stopping = true
	r.stop()
}

// drop forgets the records of a partition that no worker has. The caller holds r.mu.
func (r *runner) drop(p *part) {
	for key, l := range p.lanes {
		keep := 0
		switch l.state {
		case laneRunning:
			keep = 1
		case laneWaiting:
			if l.timer.Stop() {
				r.pending.Done()
			}
		}
		for i, t := range l.tasks[keep:] {
			r.load.remove(&t.record)
			l.tasks[keep+i] = nil
		}
		l.tasks = l.tasks[:keep]
		if keep == 0 {
			l.state = laneIdle
			delete(p.lanes, key)
		}
	}
	r.weigh(p)
}

// forget makes the results of a partition's handlers count no more. The caller holds
// r.mu.
func (r *runner) forget(p *part) {
	r.drop(p)
	p.frontier.reset()
	p.owned, p.running = false, 0
	if p.cancel != nil {
		p.cancel()
	}
}

// lose forgets partitions at once: another member may have them.
func (r *runner) lose(partitions []record.TopicPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.known(partitions) {
		r.forget(p)
	}
}

// giveUp forgets partitions when their running handlers have returned, or the
// DrainTimeout is over. No record of them is begun any more.
func (r *runner) giveUp(partitions []record.TopicPartition) {
	r.mu.Lock()
	parts := r.known(partitions)
	for _, p := range parts {
		p.owned = false
		r.drop(p)
	}
	r.mu.Unlock()
	r.await(parts)
	r.lose(partitions)
}

// known returns what the runner knows of partitions. The caller holds r.mu.
func (r *runner) known(partitions []record.TopicPartition) []*part {
	var all []*part
	for _, tp := range partitions {
		if p := r.parts[tp]; p != nil {
			all = append(all, p)
		}
	}
	return all
}

// await waits until no handler of the partitions runs, no longer than the
// DrainTimeout.
func (r *runner) await(parts []*part) {
	late := time.NewTimer(r.cfg.drain)
	defer late.Stop()
	for {
		quiet := r.whenQuiet(parts)
		if quiet == nil {
			return
		}
		select {
		case <-quiet:
		case <-late.C:
			return
		}
	}
}

// whenQuiet returns a channel that is closed when a partition has no running handler
// any more; nil if none of the parts has one.
func (r *runner) whenQuiet(parts []*part) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range parts {
		if p.running > 0 {
			if r.quiet == nil {
				r.quiet = make(chan struct{})
			}
			return r.quiet
		}
	}
	return nil
}
