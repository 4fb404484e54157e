package cleaner

import (
	"container/heap"
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Cleaner deletes and compacts old records. It cleans a partition when a segment of
// it begins, when its settings change, and when something becomes due. It is one
// goroutine while there is work, otherwise one timer for the chore that is due
// first, or nothing.
type Cleaner struct {
	host    *host.Host
	reserve *layout.Reserve
	failed  func(*host.Topic, error)
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	work    sync.WaitGroup // its goroutine

	mu     sync.Mutex
	role   role.Role      // of cleaning; it is not free whenever a chore is queued
	chores map[any]*chore // by *partition.Partition, or *host.Topic while the topic is not open
	queue  []*chore       // to clean now, in this order
	due    dueHeap        // to clean later
	timer  *time.Timer    // for the first of due
	closed bool

	chosen *chore // the chore that the role's holder runs, and the holder's own
}

// chore is a partition to clean, or a topic that is not open.
type chore struct {
	topic *host.Topic
	part  *partition.Partition // nil for a topic
	when  time.Time            // when it is due; zero: not scheduled
	index int                  // in cleaner.due, or -1
	wait  bool                 // it is in cleaner.queue
	grace grace                // a partition's
}

// New returns a cleaner of a host's partitions. On a full disk, work that frees space
// may use the reserve. failed is called with the outcome of each chore that the
// cleaner runs by itself.
func New(h *host.Host, reserve *layout.Reserve, failed func(*host.Topic, error)) *Cleaner {
	c := &Cleaner{host: h, reserve: reserve, failed: failed, chores: map[any]*chore{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.role.Init(&c.mu, c.nextLocked, c.run, &c.work)
	return c
}

// Close cancels the running chore and waits for it. No chore begins afterwards.
func (c *Cleaner) Close() {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.work.Wait()
}

// Renew enqueues a partition and starts a new grace period for all of its records,
// because its settings have changed.
func (c *Cleaner) Renew(t *host.Topic, p *partition.Partition) {
	c.Forget(t, p)
	c.Enqueue(t, p)
}

// Enqueue queues a partition or, with nil, a topic that is not open, and requests a
// grace period for its newest records. It does not block.
func (c *Cleaner) Enqueue(t *host.Topic, p *partition.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.choreLocked(t, p); j != nil && !j.wait {
		c.scheduleLocked(j, time.Time{})
		j.wait = true
		j.grace.request()
		c.queue = append(c.queue, j)
		c.role.Call()
	}
}

// Schedule queues it at a later time, unless it is queued already.
func (c *Cleaner) Schedule(t *host.Topic, p *partition.Partition, when time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.choreLocked(t, p); j != nil && !j.wait {
		c.scheduleLocked(j, when)
		if c.role.IsFree() {
			c.setTimerLocked()
		}
	}
}

// choreLocked returns the chore of a partition or topic, a new one if need be, or
// nil if the topic was deleted.
func (c *Cleaner) choreLocked(t *host.Topic, p *partition.Partition) *chore {
	if c.closed || t.IsGone() {
		return nil
	}
	var key any = t
	if p != nil {
		key = p
	}
	j := c.chores[key]
	if j == nil {
		j = &chore{topic: t, part: p, index: -1}
		c.chores[key] = j
	}
	return j
}

// Forget drops the chores of a topic that was opened or deleted, and of some of its
// partitions.
func (c *Cleaner) Forget(t *host.Topic, partitions ...*partition.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	drop := func(key any) {
		if j := c.chores[key]; j != nil {
			c.scheduleLocked(j, time.Time{})
			delete(c.chores, key)
		}
	}
	drop(t)
	for _, p := range partitions {
		drop(p)
	}
}

// scheduleLocked sets when a chore is due; zero for not at all.
func (c *Cleaner) scheduleLocked(j *chore, when time.Time) {
	if j.index >= 0 {
		heap.Remove(&c.due, j.index)
	}
	if j.when = when; !when.IsZero() {
		heap.Push(&c.due, j)
	}
}

// setTimerLocked sets the timer for the chore that is due first. Only a cleaner without
// work needs one: otherwise the search that finds no more sets it.
func (c *Cleaner) setTimerLocked() {
	switch {
	case c.closed:
	case len(c.due) == 0:
		if c.timer != nil {
			c.timer.Stop()
		}
	default:
		left := time.Until(c.due[0].when)
		if c.timer == nil {
			c.timer = time.AfterFunc(left, c.fire)
		} else {
			c.timer.Reset(left)
		}
	}
}

// fire calls the goroutine when the timer fires.
func (c *Cleaner) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.role.Call()
	}
}

// run cleans the chosen chore. One goroutine runs them one after the other, so that
// cleaning takes at most one core and one partition's memory.
func (c *Cleaner) run() {
	j := c.chosen
	ripe, more := c.ripen(j)
	// A partition that can't be cleaned stays as it is until a segment begins or its
	// settings change. Cleanup returns the error to a caller who wants it.
	_, err := c.Clean(c.ctx, j.topic, j.part, ripe, more)
	c.failed(j.topic, err)
}

// nextLocked chooses the next chore: a queued one, or else one that is due. If there is
// none, it sets the timer.
func (c *Cleaner) nextLocked() role.Next {
	c.chosen = nil
	switch {
	case c.closed:
	case len(c.queue) > 0:
		c.chosen = c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
	case len(c.due) > 0 && !time.Now().Before(c.due[0].when):
		c.chosen = heap.Pop(&c.due).(*chore)
	}
	if c.chosen == nil {
		c.queue = nil
		c.setTimerLocked()
		return role.None
	}
	c.chosen.wait, c.chosen.when = false, time.Time{}
	return role.Own
}

// ripen updates the grace of a chore's partition; see grace.advance.
func (c *Cleaner) ripen(j *chore) (ripe int64, more time.Time) {
	if j.part == nil {
		return math.MaxInt64, time.Time{}
	}
	now, high := time.Now(), j.part.HighWatermark()
	c.mu.Lock()
	defer c.mu.Unlock()
	return j.grace.advance(now, high)
}

// Clean cleans a partition, or checks a topic that is not open, and schedules it for
// when something will be due. Age removes only records before ripe; at more, the
// partition is cleaned again for the others.
func (c *Cleaner) Clean(ctx context.Context, t *host.Topic, p *partition.Partition, ripe int64, more time.Time) (did partition.CleanStats, err error) {
	if t.IsGone() {
		return did, nil
	}
	if err := c.host.CheckLock(); err != nil {
		return did, err
	}
	if p == nil {
		return did, c.survey(t)
	}
	cfg, now := Policy(t.Config()), time.Now()
	ages := cfg.Delete && cfg.Retention >= 0
	if cfg.Ripe = ripe; ripe == 0 {
		cfg.Retention = topic.Forever
	}
	did, next, err := p.Clean(ctx, now, cfg)
	if errors.Is(err, fault.DiskFull) && cfg.Delete {
		err = c.makeRoom(ctx, p, &did, now, cfg, err)
	}
	if ages && !more.IsZero() && (next.IsZero() || more.Before(next)) {
		next = more
	}
	if !next.IsZero() {
		c.Schedule(t, p, next)
	}
	if t.IsGone() {
		c.Forget(t, p) // the topic was deleted meanwhile
		return did, nil
	}
	return did, err
}

// makeRoom deletes due segments on a full disk, with the space in reserve: deleting
// needs a little space for a checkpoint before it frees any. Compaction needs more
// than the reserve, so if it is due, full, its error, remains.
func (c *Cleaner) makeRoom(ctx context.Context, p *partition.Partition, did *partition.CleanStats, now time.Time, cfg partition.CleanPolicy, full error) error {
	compact := cfg.Compact
	cfg.Compact = false
	err := c.reserve.With(func() error {
		part, _, err := p.Clean(ctx, now, cfg)
		did.Segments, did.Bytes = did.Segments+part.Segments, did.Bytes+part.Bytes
		return err
	})
	c.reserve.Fill()
	if err == nil && compact {
		return full
	}
	return err
}

// survey estimates from the files when a topic that is not open will have something
// to clean, and schedules it. If that is now, it opens the topic, which enqueues its
// partitions. So a start doesn't open thousands of logs to delete nothing.
func (c *Cleaner) survey(t *host.Topic) error {
	if t.IsOpen() {
		c.Forget(t)
		return nil
	}
	cfg := Policy(t.Config())
	now := time.Now()
	var first time.Time
	if cfg.Compact || cfg.Delete && cfg.RetentionBytes >= 0 {
		first = now // whether these are due shows only in the open log
	}
	for n := 0; cfg.Delete && cfg.Retention >= 0 && n < len(t.Placement()); n++ {
		tp := record.TopicPartition{Topic: t.Name, Partition: int32(n)}
		latest, ok, err := log.Peek(c.host.LogConfig(tp, topic.Config{}))
		if err != nil || !ok {
			continue // opening the topic will report it
		}
		due := time.UnixMilli(latest).Add(cfg.Retention + time.Millisecond)
		if latest > now.UnixMilli() {
			due = now // a timestamp ahead of the clock doesn't show the segment's age
		}
		if first.IsZero() || due.Before(first) {
			first = due
		}
	}
	switch {
	case first.IsZero():
		return nil
	case now.Before(first):
		c.Schedule(t, nil, first)
		return nil
	}
	return c.host.Open(t)
}

// Pending counts a cleaner's chores.
type Pending struct {
	Known, Queued, Due int  // partitions, and topics that are not open
	Working            bool // the goroutine runs
}

// Pending returns the cleaner's chores.
func (c *Cleaner) Pending() Pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Pending{Known: len(c.chores), Queued: len(c.queue), Due: len(c.due), Working: !c.role.IsFree()}
}
