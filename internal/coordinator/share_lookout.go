package coordinator

import (
	"context"
	"math"
	"time"

	"github.com/runnel-go/runnel/internal/coordinator/share"
)

// shareLookout is this node's members who wait for what one shard coordinates elsewhere. A
// goroutine asks the node that coordinates it for news, while members wait. Shares.mu guards it.
type shareLookout struct {
	waiting map[share.Key]map[*Waiter]awaited
	running bool
	asked   map[share.Key]bool // the request that is on its way, with shareWait.full
	cancel  context.CancelFunc // ends that request; nil if there is none
}

// awaited is what a member knows that waits.
type awaited struct {
	full  bool
	seen  int64 // the latest event
	epoch int32 // of the leader that said so
}

// await has w woken when there may be more to acquire.
func (s *Shares) await(shard *shareShard, k share.Key, w *Waiter, a awaited) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	l := s.lookouts[shard.number]
	if l == nil {
		l = &shareLookout{waiting: map[share.Key]map[*Waiter]awaited{}}
		s.lookouts[shard.number] = l
	}
	if l.waiting[k] == nil {
		l.waiting[k] = map[*Waiter]awaited{}
	}
	l.waiting[k][w] = a
	if !l.running {
		l.running = true
		s.work.Go(func() { s.watch(shard, l) })
		return
	}
	if full, asked := l.asked[k]; l.cancel != nil && (!asked || a.full && !full) {
		l.cancel()
	}
}

// forget ends the waiting of w.
func (s *Shares) forget(number int32, k share.Key, w *Waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lookouts[number]; l != nil {
		delete(l.waiting[k], w)
		if len(l.waiting[k]) == 0 {
			delete(l.waiting, k)
		}
	}
}

// watch is the goroutine.
func (s *Shares) watch(shard *shareShard, l *shareLookout) {
	pause := time.Duration(0)
	for {
		ctx, q := s.prepare(shard, l)
		if q == nil {
			return
		}
		a, err := s.once(ctx, shard, q)
		again := s.asked(l, ctx)
		switch {
		case err == nil:
			s.wake(l, func(share.Key, awaited) bool { return a.everyone })
			for _, freed := range a.freed {
				s.wake(l, func(k share.Key, _ awaited) bool { return k == freed })
			}
			pause = 0
			continue
		case again:
			continue
		}
		s.wake(l, func(share.Key, awaited) bool { return true }) // they look for the coordinator
		pause = min(max(2*pause, insistFirst), insistEvery)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

// prepare returns the next request, and nil when the goroutine may end. Those who wait for a
// leader that is one no more are woken.
func (s *Shares) prepare(shard *shareShard, l *shareLookout) (context.Context, *shareRequest) {
	led, _ := shard.topic.Partitions()[shard.number].Group()
	s.wake(l, func(_ share.Key, a awaited) bool {
		return led.Leader < 0 || led.Leader == s.cfg.Node || a.epoch != led.Epoch
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(l.waiting) == 0 || s.closed {
		l.running = false
		return nil, nil
	}
	q := &shareRequest{op: shareWatch, wait: heartbeatEvery}
	l.asked = map[share.Key]bool{}
	for k, all := range l.waiting {
		w := shareWait{Key: k, seen: math.MaxInt64}
		for _, a := range all {
			w.seen, w.full = min(w.seen, a.seen), w.full || a.full
		}
		q.waits, l.asked[k] = append(q.waits, w), w.full
	}
	ctx, cancel := context.WithCancel(s.ctx)
	l.cancel = cancel
	return ctx, q
}

// asked ends a request, and reports whether it was given up for a wider one.
func (s *Shares) asked(l *shareLookout, ctx context.Context) (givenUp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	givenUp = ctx.Err() != nil
	l.cancel()
	l.cancel, l.asked = nil, nil
	return givenUp
}

// wake wakes some who wait.
func (s *Shares) wake(l *shareLookout, those func(share.Key, awaited) bool) {
	var woken []*Waiter
	s.mu.Lock()
	for k, all := range l.waiting {
		for w, a := range all {
			if those(k, a) {
				woken = append(woken, w)
				delete(all, w)
			}
		}
		if len(all) == 0 {
			delete(l.waiting, k)
		}
	}
	s.mu.Unlock()
	for _, w := range woken {
		w.Wake()
	}
}
