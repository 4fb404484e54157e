package share

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
)

// Defaults of the options of Run.
const (
	DefaultFirstBackoff   = 100 * time.Millisecond
	DefaultLongestBackoff = 10 * time.Second
	DefaultDrainTimeout   = 10 * time.Second
)

// RunOption is one choice of Run.
type RunOption interface{ applyRun(*runConfig) }

type runOption func(*runConfig)

func (o runOption) applyRun(cfg *runConfig) { o(cfg) }

type runConfig struct {
	workers        int
	first, longest time.Duration // of backoff
	drain          time.Duration
	givenUp        func(*consumer.HandlerError)
}

// Workers is how many records are handled at once, at most; 1. With more, the handler is
// called by several goroutines at the same time.
func Workers(n int) RunOption { return runOption(func(c *runConfig) { c.workers = n }) }

// Backoff is how long a failed record waits for its next attempt: first after the first one,
// then twice as long each time, up to longest, and up to a half less by chance. The defaults
// are DefaultFirstBackoff and DefaultLongestBackoff.
func Backoff(first, longest time.Duration) RunOption {
	return runOption(func(c *runConfig) { c.first, c.longest = first, longest })
}

// DrainTimeout is how long Run waits for running handlers when it ends, before it ends their
// ctx; DefaultDrainTimeout.
func DrainTimeout(d time.Duration) RunOption { return runOption(func(c *runConfig) { c.drain = d }) }

// OnGivenUp is called with each record that Run gives up, after it has become a dead letter if
// there is a topic for them. It may be called by several goroutines at the same time. Without
// it and without DeadLetters, a record that is given up ends Run.
func OnGivenUp(fn func(*consumer.HandlerError)) RunOption {
	return runOption(func(c *runConfig) { c.givenUp = fn })
}

// Run calls handler with the records that c receives, until ctx ends: up to Workers of them
// at once, in no order. While a handler runs, Run renews the record's lock. It acknowledges
// the record when the handler returns nil. After an error, a panic among them, it releases
// the record for a later attempt (Backoff), and gives it up when its Attempts are used up, or
// at once after a consumer.Permanent error. consumer.Handle makes a typed handler.
//
// The handler's ctx has the values of ctx. It ends when the result no longer counts, because
// another member has the record, and when DrainTimeout is over.
//
// When ctx ends, Run begins no more records, waits for running handlers, and returns nil. If
// c is closed, it returns fault.Closed. It returns a *consumer.HandlerError for a record that
// was given up with neither DeadLetters nor OnGivenUp, the error of a dead letter that could
// not be written, and any other error that Receive or settling a record returns. Records that
// are not done are delivered again.
func Run(ctx context.Context, c *Consumer, handler consumer.Handler, opts ...RunOption) error {
	cfg := runConfig{workers: 1, first: DefaultFirstBackoff, longest: DefaultLongestBackoff, drain: DefaultDrainTimeout}
	for _, opt := range opts {
		opt.applyRun(&cfg)
	}
	if handler == nil || cfg.workers < 1 || cfg.first <= 0 || cfg.longest < cfg.first || cfg.drain < 0 {
		return fault.Newf(fault.InvalidConfig, "Run needs a handler, a worker or more, and positive times")
	}
	receiving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	handling, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r := &runner{consumer: c, handler: handler, cfg: cfg, stop: stop, handling: handling}
	for range cfg.workers {
		r.work(receiving)
	}
	<-receiving.Done()
	late := time.AfterFunc(cfg.drain, end)
	defer late.Stop()
	r.working.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(receiving)
}

// runner is what one Run has.
type runner struct {
	consumer *Consumer
	handler  consumer.Handler
	cfg      runConfig
	stop     context.CancelCauseFunc // ends receiving
	handling context.Context         // of handlers
	working  sync.WaitGroup
}

// work starts a worker. One whose goroutine the handler has ended is replaced.
func (r *runner) work(ctx context.Context) {
	r.working.Go(func() {
		ended := false
		defer func() {
			if !ended {
				r.work(ctx)
			}
		}()
		for ctx.Err() == nil {
			d, err := r.consumer.Receive(ctx)
			switch {
			case err == nil:
				r.handle(d)
			case ctx.Err() == nil:
				r.stop(err)
			}
		}
		ended = true
	})
}

// errExited stands for a handler that ended its goroutine.
var errExited = errors.New("the handler ended its goroutine")

// handle handles a delivery and settles it, whatever the handler does to its goroutine.
func (r *runner) handle(d *Delivery) {
	ctx, cancel := context.WithCancel(r.handling)
	release := r.keep(ctx, d, cancel)
	err := errExited
	defer func() {
		if p := recover(); p != nil {
			err = callback.Panicked(p)
		}
		release()
		cancel()
		if err := r.settle(d, err); err != nil {
			r.stop(err)
		}
	}()
	err = r.handler(ctx, d.Record)
}

// keep renews a delivery's lock until the function that it returns is called. If another
// member has the record, it calls lost.
func (r *runner) keep(ctx context.Context, d *Delivery, lost func()) (release func()) {
	every := r.consumer.opts.LockTime / 2
	done := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Add(1)
	first := time.AfterFunc(min(every, max(time.Until(d.Until)/2, 0)), func() {
		defer renewing.Done()
		for {
			if errors.Is(d.Renew(ctx), fault.InvalidRecordState) {
				lost()
				return
			}
			again := time.NewTimer(every)
			select {
			case <-again.C:
			case <-done:
				again.Stop()
				return
			}
		}
	})
	return func() {
		close(done)
		if first.Stop() {
			renewing.Done()
		}
		renewing.Wait()
	}
}

// settle settles a delivery after its handler has returned.
func (r *runner) settle(d *Delivery, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.handling), r.consumer.opts.LockTime)
	defer cancel()
	givenUp := false
	var failed error
	switch {
	case err == nil:
		failed = d.Ack(ctx)
	case consumer.IsPermanent(err) || d.Attempt >= r.consumer.opts.Attempts:
		givenUp = true
		failed = d.Reject(ctx, err)
	default:
		failed = d.ReleaseAfter(ctx, r.backoff(d.Attempt))
	}
	switch {
	case errors.Is(failed, fault.InvalidRecordState):
		return nil // another member has the record
	case failed != nil || !givenUp:
		return failed
	}
	e := &consumer.HandlerError{Raw: d.Record, Attempts: d.Attempt, Err: err}
	switch {
	case r.cfg.givenUp != nil:
		r.cfg.givenUp(e)
	case !r.consumer.opts.dead:
		return e
	}
	return nil
}

// backoff is the pause after a number of attempts.
func (r *runner) backoff(attempts int) time.Duration {
	d := r.cfg.first
	for ; attempts > 1 && d < r.cfg.longest; attempts-- {
		d = min(2*d, r.cfg.longest)
	}
	return d - rand.N(d/2+1)
}
