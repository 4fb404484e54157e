package main

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// spread runs do for n records in all, in that many goroutines, each with a
// range of its own.
func spread(n, goroutines int, do func(from, to int) error) error {
	if goroutines == 1 {
		return do(0, n)
	}
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		wg.Go(func() { errs[g] = do(n*g/goroutines, n*(g+1)/goroutines) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stopwatch measures how long every 64th record takes from one goroutine to
// another. Records keep their order.
type stopwatch struct {
	began time.Time
	sent  []atomic.Int64 // nanoseconds since began
	took  []time.Duration
}

const stopwatchEvery = 64

func newStopwatch(n int) *stopwatch {
	samples := (n + stopwatchEvery - 1) / stopwatchEvery
	return &stopwatch{began: time.Now(), sent: make([]atomic.Int64, samples), took: make([]time.Duration, 0, samples)}
}

// left is called as record i is sent.
func (s *stopwatch) left(i int) {
	if i%stopwatchEvery == 0 {
		s.sent[i/stopwatchEvery].Store(int64(time.Since(s.began)))
	}
}

// arrived is called as record i is received.
func (s *stopwatch) arrived(i int) {
	if i%stopwatchEvery == 0 {
		s.took = append(s.took, time.Since(s.began)-time.Duration(s.sent[i/stopwatchEvery].Load()))
	}
}

// waits measures the duration of each call that returns records.
type waits struct {
	took []time.Duration
	last time.Time
}

func (c *waits) asked()   { c.last = time.Now() }
func (c *waits) brought() { c.took = append(c.took, time.Since(c.last)) }

func (c *waits) latency() Latency { return latencyOf(c.took) }

// marks, where set, are called with what a producer does.
type marks struct {
	sent         func(i int)
	acknowledged func(i int) // in order, by one goroutine at a time
}

// acknowledgements returns the marks that measure how long a record
// waits for its acknowledgement; a stopwatch needs the order of one sender.
func (s *stopwatch) acknowledgements(goroutines int) marks {
	if goroutines > 1 {
		return marks{}
	}
	return marks{s.left, s.arrived}
}

func (s *stopwatch) latency() Latency { return latencyOf(s.took) }

// timed runs op n times, one after the other, and measures each.
func timed(w *Work, n int, op func(i int) error) (Sample, error) { return timedBy(w, n, 1, op) }

// timedBy runs op n times in that many goroutines, and measures each.
func timedBy(w *Work, n, goroutines int, op func(i int) error) (Sample, error) {
	latencies := make([]time.Duration, n)
	m := w.start()
	err := spread(n, goroutines, func(from, to int) error {
		last := time.Now()
		for i := from; i < to; i++ {
			if err := op(i); err != nil {
				return err
			}
			now := time.Now()
			latencies[i] = now.Sub(last)
			last = now
		}
		return nil
	})
	sample := m.done(int64(n), payloadBytes(n))
	sample.Latency = latencyOf(latencies)
	return sample, err
}
