package runnel

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// surveyAfter is how long after opening the cleaner looks at topics that nobody
// has used yet: a program that begins has better things for its disk to do.
const surveyAfter = time.Minute

// grace is for how long records stay after a segment has begun, a partition was
// opened, or its settings have changed, however old they are: as long as they may stay on a Kafka broker, which
// looks every five minutes. So whoever sends what happened long ago can read it,
// and then it goes.
const grace = 5 * time.Minute

// cleaner deletes and compacts old records. It looks at a partition when a segment
// of it has begun, when its settings changed, and when time has made something
// due. It is one goroutine while there is something to do, and otherwise one timer
// for what will be due first, or nothing.
type cleaner struct {
	broker *Broker
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	work   sync.WaitGroup // its goroutine

	mu      sync.Mutex
	chores  map[any]*chore // by *partition.Partition, or *localTopic while the topic is not open
	queue   []*chore       // to be looked at, in this order
	due     dueHeap        // to be looked at later
	timer   *time.Timer    // for the first of them
	working bool           // the goroutine runs; true whenever something is queued
	closed  bool
}

// chore is a partition to be cleaned, or a topic that nobody has opened yet.
type chore struct {
	topic *localTopic
	part  *partition.Partition // nil for a topic
	when  time.Time            // when it is due; zero: not in sight
	index int                  // in cleaner.due, or -1
	wait  bool                 // it is in cleaner.queue
	began bool                 // it was looked at because something began that has had no grace yet

	// A partition's graces follow on each other, however fast segments begin: one
	// that began anew with each would never be over.
	until  time.Time // when the one that runs is over; zero: none does
	ripe   int64     // records before this offset have had theirs
	ripens int64     // records before this one have once it is over
}

func newCleaner(b *Broker) *cleaner {
	c := &cleaner{broker: b, chores: map[any]*chore{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// close ends what is at work and lets nothing begin any more.
func (c *cleaner) close() {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.work.Wait()
}

// lookAnew has a partition looked at as one of which all records begin their
// grace.
func (c *cleaner) lookAnew(t *localTopic, p *partition.Partition) {
	c.forget(t, p)
	c.look(t, p)
}

// look has a partition looked at, or with nil a topic that is not open, and again
// when its grace is over. It does not block.
func (c *cleaner) look(t *localTopic, p *partition.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.chore(t, p); j != nil && !j.wait {
		c.postpone(j, time.Time{})
		j.wait, j.began = true, true
		c.queue = append(c.queue, j)
		c.begin()
	}
}

// lookAt has it looked at later.
func (c *cleaner) lookAt(t *localTopic, p *partition.Partition, when time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.chore(t, p); j != nil && !j.wait {
		c.postpone(j, when)
		c.wind()
	}
}

// chore returns the chore of a partition or topic, or nil when it is gone. c.mu is
// held.
func (c *cleaner) chore(t *localTopic, p *partition.Partition) *chore {
	if c.closed || t.isGone() {
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

// forget lets go of a topic that was opened or deleted, and of these partitions of
// it.
func (c *cleaner) forget(t *localTopic, partitions ...*partition.Partition) {
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
func (c *cleaner) postpone(j *chore, when time.Time) {
	if j.index >= 0 {
		heap.Remove(&c.due, j.index)
	}
	if j.when = when; !when.IsZero() {
		heap.Push(&c.due, j)
	}
}

// begin starts the goroutine unless it runs. c.mu is held.
func (c *cleaner) begin() {
	if !c.working {
		c.working = true
		c.work.Add(1)
		go c.run()
	}
}

// wind sets the timer for what is due first. While the goroutine runs it is left
// to its end. c.mu is held.
func (c *cleaner) wind() {
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
func (c *cleaner) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.begin()
	}
}

// run does what is queued and what is due, one after the other.
func (c *cleaner) run() {
	defer c.work.Done()
	for {
		j := c.next()
		if j == nil {
			return
		}
		ripe, more := c.ripen(j)
		// Errors are for Cleanup to tell: what can't be cleaned stays as it is,
		// until something is written to it or its settings change.
		_, err := c.do(c.ctx, j.topic, j.part, ripe, more)
		c.broker.noteCleaning(j, err)
	}
}

// next takes the next chore. When there is none it sets the timer, ends the
// goroutine's role, and returns nil.
func (c *cleaner) next() *chore {
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
func (c *cleaner) ripen(j *chore) (ripe int64, more time.Time) {
	if j.part == nil {
		return math.MaxInt64, time.Time{}
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !j.until.IsZero() && !now.Before(j.until) {
		j.ripe, j.until = j.ripens, time.Time{}
	}
	if j.until.IsZero() {
		if !j.began {
			return math.MaxInt64, time.Time{}
		}
		j.began, j.until, j.ripens = false, now.Add(grace), j.part.HighWatermark()
	}
	return j.ripe, j.until
}

// do cleans a partition, or looks at a topic that is not open, and notes when that
// comes again. Records go by their age up to ripe, and at more it comes again.
func (c *cleaner) do(ctx context.Context, t *localTopic, p *partition.Partition, ripe int64, more time.Time) (did partition.Cleaned, err error) {
	if t.isGone() {
		return did, nil
	}
	if err := c.broker.lock.Keeps(); err != nil {
		return did, err
	}
	if p == nil {
		return did, c.survey(t)
	}
	cfg, now := cleaning(*t.config.Load()), time.Now()
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
		c.lookAt(t, p, next)
	}
	if t.isGone() {
		c.forget(t, p) // it was deleted meanwhile
		return did, nil
	}
	return did, err
}

// makeRoom deletes what is due of a partition on a disk that is full, with what
// there is in reserve. Compacting needs more than that: it stays with full, its
// error.
func (c *cleaner) makeRoom(ctx context.Context, p *partition.Partition, did *partition.Cleaned, now time.Time, cfg partition.Cleaning, full error) error {
	compact := cfg.Compact
	cfg.Compact = false
	err := c.broker.reserve.With(func() error {
		part, _, err := p.Clean(ctx, now, cfg)
		did.Segments, did.Bytes = did.Segments+part.Segments, did.Bytes+part.Bytes
		return err
	})
	c.broker.reserve.Fill()
	if err == nil && compact {
		return full
	}
	return err
}

// survey finds out when a topic that is not open must be looked at, and opens it
// when that is now.
func (c *cleaner) survey(t *localTopic) error {
	if t.partitions.Load() != nil {
		c.forget(t)
		return nil
	}
	cfg := cleaning(*t.config.Load())
	now := time.Now()
	var first time.Time
	if cfg.Compact || cfg.Delete && cfg.RetentionBytes >= 0 {
		first = now // what these ask for can't be seen from outside
	}
	for n := 0; cfg.Delete && cfg.Retention >= 0 && n < len(*t.placement.Load()); n++ {
		tp := record.TopicPartition{Topic: t.name, Partition: int32(n)}
		latest, ok, err := log.Peek(c.broker.logConfig(tp, topic.Config{}))
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
		c.lookAt(t, nil, first)
		return nil
	}
	return c.broker.openTopic(t) // which has its partitions looked at
}

// dueHeap is chores in the order in which they are due.
type dueHeap []*chore

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].when.Before(h[j].when) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(x any) {
	j := x.(*chore)
	j.index = len(*h)
	*h = append(*h, j)
}

func (h *dueHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	j.index = -1
	return j
}

// cleaning returns what a topic's configuration says about old records.
func cleaning(cfg topic.Config) partition.Cleaning {
	cfg = cfg.WithDefaults()
	return partition.Cleaning{
		Delete: cfg.Cleanup != topic.Compact, Retention: cfg.Retention, RetentionBytes: cfg.RetentionBytes,
		Compact: cfg.Cleanup != topic.Delete, MinLag: cfg.MinCompactionLag, MaxLag: cfg.MaxCompactionLag,
		DeleteRetention: cfg.DeleteRetention, DirtyRatio: cfg.MinCleanableRatio, SegmentBytes: cfg.SegmentBytes,
	}
}

// Cleaned is what Cleanup did with a partition.
type Cleaned struct {
	record.TopicPartition
	partition.Cleaned
}

// String returns what was done in one line.
func (c Cleaned) String() string {
	return fmt.Sprintf("%s: %d segments and %d bytes given back, %d records compacted away", c.TopicPartition, c.Segments, c.Bytes, c.Records)
}

// Cleanup deletes and compacts everything that is due now, in all topics, and
// returns what it did, for each partition in which there was something to do,
// sorted. The broker does so by itself; Cleanup is for tests, and for programs that
// want to know, or to have it done before they go on.
//
// What is due is what topics' configurations say, and the clock: see
// docs/guarantees.md. A partition that can't be cleaned, because the disk is full or
// a segment is damaged, is an error and does not keep others from being cleaned.
// ctx ends it early.
func (b *Broker) Cleanup(ctx context.Context) ([]Cleaned, error) {
	if b.isClosed() {
		return nil, fault.Closed
	}
	var names []string
	b.topics.Range(func(name, _ any) bool {
		names = append(names, name.(string))
		return true
	})
	slices.Sort(names)
	var all []Cleaned
	var errs []error
	for _, name := range names {
		t, err := b.whole(name)
		if errors.Is(err, fault.UnknownTopic) {
			continue // deleted meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for n, p := range t.open() {
			if err := ctx.Err(); err != nil {
				return all, errors.Join(append(errs, err)...)
			}
			did, err := b.cleaner.do(ctx, t, p, math.MaxInt64, time.Time{})
			if err != nil {
				errs = append(errs, err)
			}
			if did != (partition.Cleaned{}) {
				all = append(all, Cleaned{record.TopicPartition{Topic: name, Partition: int32(n)}, did})
			}
		}
	}
	return all, errors.Join(errs...)
}
