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
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Cleaner deletes and compacts old records. It looks at a partition when a segment
// of it has begun, when its settings changed, and when time has made something
// due. It is one goroutine while there is something to do, and otherwise one timer
// for what will be due first, or nothing.
type Cleaner struct {
	host    *host.Host
	reserve *layout.Reserve
	failed  func(*host.Topic, error)
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	work    sync.WaitGroup // its goroutine

	mu      sync.Mutex
	chores  map[any]*chore // by *partition.Partition, or *host.Topic while the topic is not open
	queue   []*chore       // to be looked at, in this order
	due     dueHeap        // to be looked at later
	timer   *time.Timer    // for the first of them
	working bool           // the goroutine runs; true whenever something is queued
	closed  bool
}

// chore is a partition to be cleaned, or a topic that nobody has opened yet.
type chore struct {
	topic *host.Topic
	part  *partition.Partition // nil for a topic
	when  time.Time            // when it is due; zero: not in sight
	index int                  // in cleaner.due, or -1
	wait  bool                 // it is in cleaner.queue
	grace grace                // a partition's
}

// New returns a cleaner of a host's partitions. What frees bytes has the reserve.
// failed hears of a partition of the topic that could not be cleaned.
func New(h *host.Host, reserve *layout.Reserve, failed func(*host.Topic, error)) *Cleaner {
	c := &Cleaner{host: h, reserve: reserve, failed: failed, chores: map[any]*chore{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends what is at work and lets nothing begin any more.
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

// Renew has a partition looked at as one of which all records begin their
// grace.
func (c *Cleaner) Renew(t *host.Topic, p *partition.Partition) {
	c.Forget(t, p)
	c.Look(t, p)
}

// Look has a partition looked at, or with nil a topic that is not open, and again
// when its grace is over. It does not block.
func (c *Cleaner) Look(t *host.Topic, p *partition.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.chore(t, p); j != nil && !j.wait {
		c.postpone(j, time.Time{})
		j.wait = true
		j.grace.request()
		c.queue = append(c.queue, j)
		c.begin()
	}
}

// LookAt has it looked at later.
func (c *Cleaner) LookAt(t *host.Topic, p *partition.Partition, when time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.chore(t, p); j != nil && !j.wait {
		c.postpone(j, when)
		c.wind()
	}
}

// chore returns the chore of a partition or topic, or nil when it is gone. c.mu is
// held.
func (c *Cleaner) chore(t *host.Topic, p *partition.Partition) *chore {
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

// Forget lets go of a topic that was opened or deleted, and of these partitions of
// it.
func (c *Cleaner) Forget(t *host.Topic, partitions ...*partition.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	drop := func(key any) {
		if j := c.chores[key]; j != nil {
			c.postpone(j, time.Time{})
			delete(c.chores, key)
		}
	}
	drop(t)
	for _, p := range partitions {
		drop(p)
	}
}

// postpone sets when a chore is due. c.mu is held.
func (c *Cleaner) postpone(j *chore, when time.Time) {
	if j.index >= 0 {
		heap.Remove(&c.due, j.index)
	}
	if j.when = when; !when.IsZero() {
		heap.Push(&c.due, j)
	}
}

// begin starts the goroutine unless it runs. c.mu is held.
func (c *Cleaner) begin() {
	if !c.working {
		c.working = true
		c.work.Add(1)
		go c.run()
	}
}

// wind sets the timer for what is due first. While the goroutine runs it is left
// to its end. c.mu is held.
func (c *Cleaner) wind() {
	switch {
	case c.working || c.closed:
	case len(c.due) == 0:
		if c.timer != nil {
			c.timer.Stop()
		}
	default:
		left := time.Until(c.due[0].when)
		if c.timer == nil {
			c.timer = time.AfterFunc(left, c.ring)
		} else {
			c.timer.Reset(left)
		}
	}
}

// ring is what the timer does.
func (c *Cleaner) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.begin()
	}
}

// run does what is queued and what is due, one after the other.
func (c *Cleaner) run() {
	defer c.work.Done()
	for {
		j := c.next()
		if j == nil {
			return
		}
		ripe, more := c.ripen(j)
		// Errors are for Cleanup to tell: what can't be cleaned stays as it is,
		// until something is written to it or its settings change.
		_, err := c.Clean(c.ctx, j.topic, j.part, ripe, more)
		c.failed(j.topic, err)
	}
}

// next takes the next chore. When there is none it sets the timer, ends the
// goroutine's role, and returns nil.
func (c *Cleaner) next() *chore {
	c.mu.Lock()
	defer c.mu.Unlock()
	var j *chore
	switch {
	case c.closed:
	case len(c.queue) > 0:
		j = c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
	case len(c.due) > 0 && !time.Now().Before(c.due[0].when):
		j = heap.Pop(&c.due).(*chore)
	}
	if j == nil {
		c.queue = nil
		c.working = false
		c.wind()
		return nil
	}
	j.wait, j.when = false, time.Time{}
	return j
}

// ripen returns the offset before which a partition's records have had their
// grace, math.MaxInt64 when all have, and when more will have.
func (c *Cleaner) ripen(j *chore) (ripe int64, more time.Time) {
	if j.part == nil {
		return math.MaxInt64, time.Time{}
	}
	now, high := time.Now(), j.part.HighWatermark()
	c.mu.Lock()
	defer c.mu.Unlock()
	return j.grace.look(now, high)
}

// Clean cleans a partition, or looks at a topic that is not open, and notes when that
// comes again. Records go by their age up to ripe, and at more it comes again.
func (c *Cleaner) Clean(ctx context.Context, t *host.Topic, p *partition.Partition, ripe int64, more time.Time) (did partition.CleanStats, err error) {
	if t.IsGone() {
		return did, nil
	}
	if err := c.host.Keeps(); err != nil {
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
		c.LookAt(t, p, next)
	}
	if t.IsGone() {
		c.Forget(t, p) // it was deleted meanwhile
		return did, nil
	}
	return did, err
}

// makeRoom deletes what is due of a partition on a disk that is full, with what
// there is in reserve. Compacting needs more than that: it stays with full, its
// error.
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

// survey finds out when a topic that is not open must be looked at, and opens it
// when that is now.
func (c *Cleaner) survey(t *host.Topic) error {
	if t.IsOpen() {
		c.Forget(t)
		return nil
	}
	cfg := Policy(t.Config())
	now := time.Now()
	var first time.Time
	if cfg.Compact || cfg.Delete && cfg.RetentionBytes >= 0 {
		first = now // what these ask for can't be seen from outside
	}
	for n := 0; cfg.Delete && cfg.Retention >= 0 && n < len(t.Placement()); n++ {
		tp := record.TopicPartition{Topic: t.Name, Partition: int32(n)}
		latest, ok, err := log.Peek(c.host.LogConfig(tp, topic.Config{}))
		if err != nil || !ok {
			continue // opening it will tell
		}
		due := time.UnixMilli(latest).Add(cfg.Retention + time.Millisecond)
		if latest > now.UnixMilli() {
			due = now // what is ahead of the clock does not say how old it is
		}
		if first.IsZero() || due.Before(first) {
			first = due
		}
	}
	switch {
	case first.IsZero():
		return nil
	case now.Before(first):
		c.LookAt(t, nil, first)
		return nil
	}
	return c.host.Open(t) // which has its partitions looked at
}

// Pending says what a cleaner has before it.
type Pending struct {
	Known, Queued, Due int  // partitions and topics that are not open
	Working            bool // there is a goroutine
}

// Pending returns what there is to do.
func (c *Cleaner) Pending() Pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Pending{Known: len(c.chores), Queued: len(c.queue), Due: len(c.due), Working: c.working}
}
