package consumer

import (
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// Close ends the consumer, in this order: it commits what is done (unless
// ManualCommit was chosen), waits for pending commits, calls OnRevoked (or
// OnLost, if the group has already removed this consumer), leaves the group and
// releases all resources. Records that were returned but are not done are
// delivered again to the next reader. A waiting Poll returns fault.Closed.
//
// Close is idempotent and does not hang. It may be called at any moment except
// from CommitAsync's function, for which it waits.
//
// Callbacks run on the goroutine that uses the consumer. If another goroutine
// waits for records, Close wakes it, and waits until it has run them.
//
// Close does not wait for the program's own code. While the body of a loop over
// Records runs, Close asks the loop to end and returns, whether the body or
// another goroutine calls it. Once the body asks for its next record, or leaves
// the loop, the loop commits what is done, runs the callbacks and releases
// everything. A loop that continues then yields fault.Closed, after the error of
// closing if there was one. If the body left the loop, the next Close returns that
// error. A Close during a callback takes effect when the callback has returned. To
// know that the consumer has ended, wait for the goroutine of the loop.
func (c *Consumer) Close() error {
	c.mu.Lock()
	if c.ending.closed {
		c.mu.Unlock()
		return c.untoldFailure()
	}
	c.ending.closed = true
	c.auto.stop()
	c.mu.Unlock()
	var errs []error
	if c.auto.every > 0 {
		errs = append(errs, c.commitSoon())
	}
	c.awaitCommits()
	if !c.askBody() {
		errs = append(errs, c.end())
	}
	return errors.Join(append(errs, c.takeFailure())...)
}

// closing limits the commit that the consumer makes by itself before it gives
// partitions up. It is Kafka's timeout of Consumer.close.
const closing = 30 * time.Second

// ending decides between a loop over Records and Close, which of them ends the
// session. Callbacks must not run beside the loop's body. Go does not reveal whether
// the body itself calls Close, and then waiting would block it for ever, or another
// goroutine. So Close never waits for a body.
//
//	             ┌─enterBody─> inBody ──askBody──> inBody, asked
//	fetching ────┤<─leaveBody──┘                       │ leaveBody
//	             └──askBody──> begun: Close ends       └──> begun: the loop ends
type ending struct {
	// Guarded by Consumer.mu.
	closed bool // Close was called
	inBody bool // the program may be in the body of a loop over Records
	asked  bool // Close found inBody: the loop ends the session when the body returns
	begun  bool // a goroutine ends the session, or has ended it: no body may start

	over chan struct{} // closed when the session has ended
}

// enterBody begins the period in which a body may run, and returns false if none may.
func (e *ending) enterBody() bool {
	e.inBody = !e.begun
	return e.inBody
}

// leaveBody ends that period, and reports whether the loop must end the session.
func (e *ending) leaveBody() (asked bool) {
	asked = e.asked
	e.inBody, e.asked = false, false
	e.begun = e.begun || asked
	return asked
}

// askBody asks a loop that may be in its body to end the session, and reports whether
// there is one. Otherwise the caller must end the session.
func (e *ending) askBody() bool {
	e.asked, e.begun = e.inBody, !e.inBody
	return e.asked
}

// isOver reports whether the session has ended.
func (e *ending) isOver() bool {
	select {
	case <-e.over:
		return true
	default:
		return false
	}
}

// enterBody is ending.enterBody. It returns false once the session has ended.
func (c *Consumer) enterBody() bool {
	c.mu.Lock()
	entered := c.ending.enterBody()
	c.mu.Unlock()
	if !entered {
		c.awaitEnding()
	}
	return entered
}

// leaveBody is ending.leaveBody, and ends the session if Close has asked for it.
func (c *Consumer) leaveBody() {
	c.mu.Lock()
	asked := c.ending.leaveBody()
	c.mu.Unlock()
	if asked {
		c.fail(c.end())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(c.batch.TopicPartition)
	}
}

// askBody is ending.askBody.
func (c *Consumer) askBody() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.ending.askBody()
	if asked {
		c.batch.cuts.Add(1) // the loop leaves its body before the next record of its batch
	}
	return asked
}

// end ends the session. A callback may end the goroutine meanwhile.
func (c *Consumer) end() error {
	defer func() {
		c.mu.Lock()
		close(c.ending.over)
		c.mu.Unlock()
		c.waits.Wait()
	}()
	return c.session.Close()
}

// untoldFailure returns what failed while a loop ended the session, unless the
// loop has yielded it.
func (c *Consumer) untoldFailure() error {
	if !c.ending.isOver() {
		return nil
	}
	return c.takeFailure()
}

// awaitEnding blocks the reading goroutine while another one ends the session and
// may be in callbacks, for a limited time.
func (c *Consumer) awaitEnding() {
	c.mu.Lock()
	begun := c.ending.begun
	c.mu.Unlock()
	if !begun {
		return
	}
	late := time.NewTimer(closing)
	defer late.Stop()
	select {
	case <-c.ending.over:
	case <-late.C:
	}
}

// awaitEnd does the same for a call that found the session closed.
func (c *Consumer) awaitEnd(err error) {
	if errors.Is(err, fault.Closed) {
		c.awaitEnding()
	}
}
