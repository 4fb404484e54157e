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
	if c.closed {
		c.mu.Unlock()
		return c.untoldFailure()
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
	if !c.askBody() {
		errs = append(errs, c.end())
	}
	return errors.Join(append(errs, c.takeFailure())...)
}

// closing limits the commit that the consumer makes by itself before it gives
// partitions up.
const closing = 5 * time.Second

// The fields inBody, asked and ending decide between a loop over Records and
// Close. Callbacks must not run beside the body. Go does not reveal whether the
// body itself calls Close, and then waiting would block it for ever, or another
// goroutine. So Close never waits for a body.
//
//	             ┌─enterBody─> inBody ──Close──> inBody, asked
//	fetching ────┤<─leaveBody──┘                     │ leaveBody
//	             └──Close──> ending: Close ends      └──> ending: the loop ends
//
// enterBody begins the period in which the body may run. It returns false if the
// session is being ended, once that is over.
func (c *Consumer) enterBody() bool {
	c.mu.Lock()
	ending := c.ending
	c.inBody = !ending
	c.mu.Unlock()
	if ending {
		c.awaitEnding()
	}
	return !ending
}

// leaveBody ends that period, and ends the session if Close has asked for it.
func (c *Consumer) leaveBody() {
	c.mu.Lock()
	asked := c.asked
	c.inBody, c.asked = false, false
	c.ending = c.ending || asked
	c.mu.Unlock()
	if asked {
		c.fail(c.end())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(c.batch.TopicPartition)
	}
}

// askBody asks a loop that may be in its body to end the session, and reports
// whether there is one. Otherwise the caller must end the session.
func (c *Consumer) askBody() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.ending = c.inBody, !c.inBody
	if c.asked {
		c.cuts.Add(1) // the loop leaves its body before the next record of its batch
	}
	return c.asked
}

// end ends the session. A callback may end the goroutine meanwhile.
func (c *Consumer) end() error {
	defer func() {
		c.mu.Lock()
		close(c.ended)
		c.mu.Unlock()
		c.waits.Wait()
	}()
	return c.session.Close()
}

// untoldFailure returns what failed while a loop ended the session, unless the
// loop has yielded it.
func (c *Consumer) untoldFailure() error {
	if !c.isEnded() {
		return nil
	}
	return c.takeFailure()
}

// awaitEnding blocks the reading goroutine while another one ends the session and
// may be in callbacks, for a limited time.
func (c *Consumer) awaitEnding() {
	c.mu.Lock()
	ending := c.ending
	c.mu.Unlock()
	if !ending {
		return
	}
	late := time.NewTimer(closing)
	defer late.Stop()
	select {
	case <-c.ended:
	case <-late.C:
	}
}

// awaitEnd does the same for a call that found the session closed.
func (c *Consumer) awaitEnd(err error) {
	if errors.Is(err, fault.Closed) {
		c.awaitEnding()
	}
}
