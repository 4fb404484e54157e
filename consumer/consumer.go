package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Consumer reads topics; make one with New. The package's documentation says
// which methods belong to one goroutine.
type Consumer struct {
	session Session
	cfg     Config
	use     atomic.Int32 // what the reading goroutine is doing: a use… constant

	// The reading goroutine's.
	buf   []record.Record // the buffer that Fetch decodes into
	lease Lease           // of batch

	// writing holds one token, which a goroutine takes to commit. It makes
	// commits of one consumer reach the session in order.
	writing chan struct{}
	waits   sync.WaitGroup // goroutines that commit

	// The types say which of their fields mu guards. It is held briefly, and never
	// while the session or the program is called.
	mu       sync.Mutex
	batch    delivery
	progress progress
	asyncs   asyncQueue
	auto     autoCommit
	ending   ending
	paused   map[record.TopicPartition]bool
	running  *runner // what handles the records, while Run runs
	failure  error   // from a callback or the timer's commit, for the next call to return
}

// What a consumer is in use for.
const (
	useNone     int32 = iota
	useCall           // within Poll, Seek, Assign, Run, or the part of Records that fetches
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
		cfg: o.Config, writing: make(chan struct{}, 1), ending: ending{over: make(chan struct{})},
		progress: newProgress(), paused: make(map[record.TopicPartition]bool),
	}
	if !o.manual && o.Group != "" {
		c.auto.every = o.commitEvery
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
	if r := c.run(); r != nil {
		r.own(partitions)
	}
	c.callback("OnAssigned", c.cfg.OnAssigned, partitions)
}

func (c *Consumer) revoked(partitions []record.TopicPartition) {
	if r := c.run(); r != nil {
		r.giveUp(partitions)
	}
	if c.auto.every > 0 {
		if err := c.commitSoon(); err != nil {
			c.fail(err)
		}
	}
	c.callback("OnRevoked", c.cfg.OnRevoked, partitions)
	c.awaitCommits() // including those the callback started
	c.forget(partitions)
}

func (c *Consumer) lost(partitions []record.TopicPartition) {
	if r := c.run(); r != nil {
		r.lose(partitions)
	}
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
		c.progress.forget(tp)
		delete(c.paused, tp)
		c.drop(tp)
		for _, a := range c.asyncs.waiting {
			a.revoke(tp)
		}
	}
}

// drop discards the current batch if it is of tp. The caller holds c.mu.
func (c *Consumer) drop(tp record.TopicPartition) {
	if c.batch.TopicPartition == tp {
		c.batch.drop()
		c.batch.cuts.Add(1)
	}
}
