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
	auto    time.Duration // how often to commit; 0: only on request
	use     atomic.Int32  // what the reading goroutine is doing: a use… constant

	// writing holds one token, which a goroutine takes to commit. It makes
	// commits of one consumer reach the session in order.
	writing chan struct{}
	waits   sync.WaitGroup // goroutines that commit
	ended   chan struct{}  // closed when the session has ended

	// cursor holds two counters for batch: records handed out in the lower
	// half, records done in the upper half. done <= handed <=
	// len(batch.Records), except for the moment in which the batch is being
	// dropped.
	cursor atomic.Uint64
	cuts   atomic.Uint64 // how often batch was changed by anything other than a fetch

	mu       sync.Mutex // guards the fields below; held briefly
	batch    Fetched    // the result of the last Fetch
	noted    int        // how many records of batch done already covers
	done     map[record.TopicPartition]mark
	marks    uint64                           // how many marks there have been
	stored   map[record.TopicPartition]uint64 // the number of the last mark that was committed
	awaited  map[record.TopicPartition]bool   // assigned partitions whose position is not known yet
	paused   map[record.TopicPartition]bool
	timer    *time.Timer   // commits what is done; nil until there is something
	armed    bool          // timer is running
	failure  error         // from a callback or the timer's commit, for the next call to return
	asyncs   []*async      // calls of CommitAsync, waiting for their turn
	pending  int           // calls of CommitAsync not committed yet: asyncs and those in progress
	settled  chan struct{} // closed when pending is 0 again; nil unless a goroutine waits for that
	telling  []*async      // the drain's: committed, with fn still to be called
	draining bool          // a goroutine is working on asyncs
	closed   bool
	inBody   bool // the program may be in the body of a loop over Records
	asked    bool // Close found inBody: the loop ends the session when the body returns
	ending   bool // a goroutine ends the session, or has ended it: no body may start

	// Owned by the reading goroutine.
	buf   []record.Record // the buffer that Fetch decodes into
	lease Lease           // of batch
}

// What a consumer is in use for.
const (
	useNone     int32 = iota
	useCall           // within Poll, Seek, Assign, or the part of Records that fetches
	useLoop           // within the body of a loop over Records
	useCallback       // within OnAssigned, OnRevoked or OnLost
)

// New opens a session on backend and returns a Consumer, which must be closed.
// It reads nothing yet and joins its group with the first Poll or Records.
//
// One error reports every invalid option: fault.InvalidGroup,
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

// Fatal reports whether err ends a consumer, so that every further call would
// fail with it. Errors of single partitions, of serdes and of an ended ctx do
// not end one.
func Fatal(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Closed, fault.FencedInstance, fault.InvalidGroup, fault.UnreleasedInstance,
		fault.UnsupportedAssignor, fault.InvalidRequest, fault.InvalidSessionTimeout:
		return true
	}
	return false
}

// enter claims the consumer for a call that only one goroutine at a time may
// make. from lists the uses from which the call is allowed. enter returns the
// previous use, which the caller restores when it leaves.
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

// The session calls assigned, revoked and lost.
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
	c.callback("OnRevoked", c.cfg.OnRevoked, partitions)
	c.awaitCommits() // including those the callback started
	c.forget(partitions)
}

func (c *Consumer) lost(partitions []record.TopicPartition) {
	c.forget(partitions)
	c.callback("OnLost", c.cfg.OnLost, partitions)
}

// callback calls fn, which is the program's. The call in which fn panics
// returns the panic as an error.
func (c *Consumer) callback(name string, fn func([]record.TopicPartition), partitions []record.TopicPartition) {
	if fn == nil || len(partitions) == 0 {
		return
	}
	use := c.use.Swap(useCallback)
	defer c.use.Store(use)
	defer c.caught(name)
	fn(partitions)
}

// caught recovers from a panic of the program's functions. Callers defer it.
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

// forget drops the state of partitions that are no longer owned.
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
			a.revoke(tp)
		}
	}
}

// drop discards the current batch if it is of tp. The caller holds c.mu.
func (c *Consumer) drop(tp record.TopicPartition) {
	if c.batch.TopicPartition == tp {
		c.batch.Records, c.noted = nil, 0
		c.cursor.Store(0)
		c.cuts.Add(1)
	}
}
