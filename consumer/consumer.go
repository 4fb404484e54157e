package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Consumer reads topics; make one with New. The package's documentation says
// which methods belong to one goroutine.
type Consumer struct {
	session Session
	cfg     Config
	auto    time.Duration // how often to commit; 0: only when told
	use     atomic.Int32  // who is reading: a use… constant

	// writing holds one token, taken by whoever commits: commits of one
	// consumer reach the session in order.
	writing chan struct{}
	waits   sync.WaitGroup // goroutines that commit
	ended   chan struct{}  // closed when Close has ended the session

	// cursor counts records of batch: the lower half those handed out, the
	// upper half the done ones. done <= handed <= len(batch.Records), except
	// in the moments in which the batch is being dropped.
	cursor atomic.Uint64
	cuts   atomic.Uint64 // how often batch was changed by anything but fetching

	mu       sync.Mutex // below; held for moments only
	batch    Fetched    // what the last Fetch brought
	noted    int        // how many records of batch are accounted for in done
	done     map[record.TopicPartition]mark
	marks    uint64                           // how many there were
	stored   map[record.TopicPartition]uint64 // the number of the mark that was committed last
	awaited  map[record.TopicPartition]bool   // assigned, with a position that is not known yet
	paused   map[record.TopicPartition]bool
	timer    *time.Timer   // commits what is done; nil until there is something
	armed    bool          // timer is running
	failure  error         // of a callback or of the timer's commit, for the next call
	asyncs   []*async      // of CommitAsync, waiting for their turn
	pending  int           // of CommitAsync, not committed yet: asyncs and those at work
	settled  chan struct{} // closed when pending is 0 again; nil while nobody waits for that
	telling  []*async      // the drain's: committed, and not told yet
	draining bool          // a goroutine is at work on asyncs
	closed   bool
	staying  *stay                   // who may be in the program's code
	asked    chan error              // where a loop is to tell how ending the session went
	untold   []record.TopicPartition // what a loop is to be told as lost

	buf []record.Record // of the reading goroutine: what Fetch decodes into
}

// What a consumer is being used for.
const (
	useNone     int32 = iota
	useCall           // within Poll, Seek, Assign, or the part of Records that fetches
	useLoop           // within the body of a loop over Records
	useCallback       // within OnAssigned, OnRevoked or OnLost
)

// New opens a session on backend and returns a Consumer, which must be closed.
// It reads nothing yet and joins its group with the first Poll or Records.
//
// Every option that is wrong is reported, in one error: fault.InvalidGroup,
// fault.InvalidTopic, fault.InvalidRequest, fault.InvalidConfig,
// fault.InvalidSessionTimeout, fault.UnsupportedAssignor.
func New(backend Backend, opts ...Option) (*Consumer, error) {
	if backend == nil {
		return nil, fault.Newf(fault.InvalidRequest, "no backend")
	}
	o, err := gather(opts)
	if err != nil {
		return nil, err
	}
	c := &Consumer{
		cfg: o.Config, writing: make(chan struct{}, 1), ended: make(chan struct{}),
		done: make(map[record.TopicPartition]mark), stored: make(map[record.TopicPartition]uint64),
		paused: make(map[record.TopicPartition]bool), awaited: make(map[record.TopicPartition]bool),
	}
	if !o.manual && o.Group != "" {
		c.auto = o.commitEvery
	}
	cfg := o.Config
	cfg.OnAssigned, cfg.OnRevoked, cfg.OnLost = c.assigned, c.revoked, c.lost
	ctx := context.Background()
	if c.session, err = backend.OpenConsumer(ctx, cfg); err != nil {
		return nil, err
	}
	if len(o.partitions) > 0 {
		if err := c.Assign(ctx, o.partitions...); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Close commits what is done (unless ManualCommit was chosen), waits for commits
// that are on their way, calls OnRevoked (or OnLost, where the group went on without
// this consumer), leaves the group and gives everything back. What was brought last
// and not marked done comes again to whoever reads next. A Poll that is waiting
// returns fault.Closed.
//
// Close is idempotent and does not hang, and may be called at any moment but from
// CommitAsync's function, for which it waits. Callbacks run on the goroutine that
// has the consumer: where another one is within Poll, or within a loop over
// Records, that one runs them, when it asks for its next record at the latest, and
// Close waits for it. If that takes longer than five seconds, Close goes on without
// it, and it is told OnLost when it comes by.
func (c *Consumer) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	var errs []error
	if c.auto > 0 {
		errs = append(errs, c.commitSoon())
	}
	c.awaitCommits()
	handed, err := c.handOver()
	if !handed {
		err = c.session.Close()
	}
	c.mu.Lock()
	close(c.ended)
	c.mu.Unlock()
	c.waits.Wait()
	return errors.Join(append(errs, err, c.takeFailure())...)
}

// closing is how long a commit that the consumer makes by itself, before it
// gives partitions up, may take.
const closing = 5 * time.Second

// Fatal reports whether err ends a consumer: the same call would fail again
// however often it is made. Errors of single partitions, of serdes and of a
// ctx's end do not.
func Fatal(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Closed, fault.FencedInstance, fault.InvalidGroup, fault.UnreleasedInstance,
		fault.UnsupportedAssignor, fault.InvalidRequest, fault.InvalidSessionTimeout:
		return true
	}
	return false
}

// enter takes the consumer for a call that one goroutine at a time may make,
// from the given uses, and returns the use to leave it with.
func (c *Consumer) enter(from ...int32) (int32, error) {
	use := c.use.Load()
	if slices.Contains(from, use) && c.use.CompareAndSwap(use, useCall) {
		return use, nil
	}
	detail := "the consumer is in use by another goroutine"
	switch use {
	case useLoop:
		detail = "the call is not possible while a loop over Records runs"
	case useCallback:
		detail = "the call is not possible in a callback"
	}
	return use, fault.Newf(fault.InvalidRequest, "%s", detail)
}

func (c *Consumer) leave(use int32) { c.use.Store(use) }

// assigned, revoked and lost are what the session calls.
func (c *Consumer) assigned(partitions []record.TopicPartition) {
	c.take(partitions)
	c.callback("OnAssigned", c.cfg.OnAssigned, partitions)
}

func (c *Consumer) revoked(partitions []record.TopicPartition) {
	if c.auto > 0 {
		if err := c.commitSoon(); err != nil {
			c.fail(err)
		}
	}
	if c.elsewhere() != nil { // it did not come in time
		c.withhold(partitions)
	} else {
		c.callback("OnRevoked", c.cfg.OnRevoked, partitions)
	}
	c.awaitCommits() // those of the callback, too
	c.forget(partitions)
}

func (c *Consumer) lost(partitions []record.TopicPartition) {
	c.forget(partitions)
	if c.elsewhere() != nil {
		c.withhold(partitions)
		return
	}
	c.callback("OnLost", c.cfg.OnLost, partitions)
}

// callback calls fn, which is the program's. A panic in it becomes an error of
// the call in which it happened.
func (c *Consumer) callback(name string, fn func([]record.TopicPartition), partitions []record.TopicPartition) {
	if fn == nil || len(partitions) == 0 {
		return
	}
	defer c.leaveProgram(c.enterProgram())
	use := c.use.Swap(useCallback)
	defer c.use.Store(use)
	defer c.caught(name)
	fn(partitions)
}

// caught is deferred around the program's functions.
func (c *Consumer) caught(name string) {
	if p := recover(); p != nil {
		c.fail(fault.Newf(fault.Unknown, "%s panicked: %s", name, fmt.Sprint(p)))
	}
}

// fail keeps err for the next call that can return it.
func (c *Consumer) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = errors.Join(c.failure, err)
}

func (c *Consumer) takeFailure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.failure
	c.failure = nil
	return err
}

// forget drops what belongs to partitions that are no longer owned.
func (c *Consumer) forget(partitions []record.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tp := range partitions {
		delete(c.done, tp)
		delete(c.stored, tp)
		delete(c.awaited, tp)
		delete(c.paused, tp)
		c.drop(tp)
		for _, a := range c.asyncs {
			a.forget(tp)
		}
	}
}

// drop lets go of the batch at hand if it is of tp. c.mu is held.
func (c *Consumer) drop(tp record.TopicPartition) {
	if c.batch.TopicPartition == tp {
		c.batch.Records, c.noted = nil, 0
		c.cursor.Store(0)
		c.cuts.Add(1)
	}
}
