package share

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// Consumer is a member of a share group. It must be closed. All methods are safe for
// concurrent use: many goroutines may Receive from one Consumer.
type Consumer struct {
	session  Session
	opts     options
	fetching chan struct{} // holds a token while a goroutine acquires
	closing  chan struct{} // closed when Close begins

	mu      sync.Mutex
	waiting int         // goroutines within Receive
	ahead   []*Delivery // acquired, and not yet received
	stale   *time.Timer // for giveBack; nil until something was acquired ahead
	giving  sync.WaitGroup
	closed  bool
}

// New opens a consumer of a share group.
func New(b Backend, opts ...Option) (*Consumer, error) {
	o, err := gather(opts)
	if err != nil {
		return nil, err
	}
	session, err := b.OpenShare(context.Background(), o.Config)
	if err != nil {
		return nil, err
	}
	return &Consumer{session: session, opts: o, fetching: make(chan struct{}, 1), closing: make(chan struct{})}, nil
}

// Receive waits for a record. It must be settled before its lock ends: see Delivery.
// Errors are ctx's own, fault.Closed after Close, and those of reading a partition, such as
// a *fault.Corruption, after which Receive may be called again.
func (c *Consumer) Receive(ctx context.Context) (*Delivery, error) {
	c.wait(1)
	defer c.wait(-1)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		select {
		case c.fetching <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.closing:
			return nil, fault.Closed
		}
		d, err := c.next(ctx)
		<-c.fetching
		if d != nil || err != nil {
			return d, err
		}
	}
}

func (c *Consumer) wait(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += n
}

// next returns a delivery. It is nil where next has to be called again: it may have acquired
// some, or buried one. The caller has the token.
func (c *Consumer) next(ctx context.Context) (*Delivery, error) {
	d, most, err := c.take()
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		acquired, err := c.session.Acquire(ctx, most)
		return c.keep(acquired), err
	case d.Spent:
		return nil, d.giveUp(ctx, errSpent)
	}
	return d, nil
}

// keep returns the first of acquired records, unless it is spent, and keeps the others for
// later calls of Receive.
func (c *Consumer) keep(acquired []Acquired) (first *Delivery) {
	if len(acquired) > 0 && !acquired[0].Spent {
		first, acquired = &Delivery{Acquired: acquired[0], consumer: c}, acquired[1:]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range acquired {
		c.ahead = append(c.ahead, &Delivery{Acquired: a, consumer: c})
	}
	if len(c.ahead) == 0 || c.closed {
		return first
	}
	half := c.opts.LockTime / 2
	if c.stale == nil {
		c.stale = time.AfterFunc(half, c.giveBack)
	} else {
		c.stale.Reset(half)
	}
	return first
}

// giveBack gives back what was acquired ahead and not received for long. It is a timer's.
func (c *Consumer) giveBack() {
	c.mu.Lock()
	ahead := c.ahead
	c.ahead = nil
	if c.closed || len(ahead) == 0 {
		c.mu.Unlock()
		return
	}
	c.giving.Add(1)
	c.mu.Unlock()
	defer c.giving.Done()
	_ = c.returnAll(ahead) // else they come back when their locks end
}

// returnAll gives back records that were not received.
func (c *Consumer) returnAll(ahead []*Delivery) error {
	if len(ahead) == 0 {
		return nil
	}
	all := make([]Settlement, len(ahead))
	for i, d := range ahead {
		all[i] = Settlement{Position: d.Record.Position(), Acquisition: d.Acquisition, Kind: Return}
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeFor)
	defer cancel()
	_, err := c.session.Settle(ctx, all)
	return err
}

// take takes a delivery of those that were acquired ahead; if there is none, it returns how
// many to acquire.
func (c *Consumer) take() (d *Delivery, most int, err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, 0, fault.Closed
	}
	for len(c.ahead) > 0 {
		d, c.ahead[0] = c.ahead[0], nil
		c.ahead = c.ahead[1:]
		if now.Before(d.Until) { // else it is any member's again
			return d, 0, nil
		}
	}
	return nil, max(c.opts.prefetch, c.waiting), nil
}

// Deliveries returns an iterator over Receive. It ends after an error, and yields none when
// ctx ends.
func (c *Consumer) Deliveries(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		for {
			d, err := c.Receive(ctx)
			if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// closeFor is how long Close takes, at most.
const closeFor = 5 * time.Second

// Close leaves the group. Records that were delivered and not settled become available for
// another attempt, those that were only acquired ahead without the delivery being counted.
// Receive returns fault.Closed. Close is idempotent.
func (c *Consumer) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	ahead := c.ahead
	c.ahead = nil
	if c.stale != nil {
		c.stale.Stop()
	}
	c.mu.Unlock()
	close(c.closing)
	err := c.returnAll(ahead)
	c.giving.Wait()
	if errors.Is(err, fault.Closed) { // the broker was closed before
		err = nil
	}
	return errors.Join(err, c.session.Close())
}
