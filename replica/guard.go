package replica

import (
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/fault"
)

func ignore(error) error { return nil }

// guard calls the library. What panics in it becomes an error.
func (c *Core) guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.refuse(fault.Storage).Because(fmt.Errorf("the consensus library gave up: %v", p)).ForGood().
				Try("the replica takes no part any more; the others go on")
		}
	}()
	return call()
}

// do is guard for a call after which the replica fails if there is an error.
func (c *Core) do(call func() error) {
	if c.failed != nil {
		return
	}
	if err := c.guard(call); err != nil {
		_ = c.fail(err)
	}
}

// fail ends the replica: it says and writes nothing any more. What was proposed has
// an unknown outcome.
func (c *Core) fail(err error) error {
	if c.failed == nil {
		c.failed = err
		c.standing.fail()
		c.out.StateChanged = true
		c.out.Messages, c.out.Writes = nil, nil
		c.abandon()
	}
	return c.failed
}

// abandon ends what waits for this leader, which leads no more.
func (c *Core) abandon() {
	for _, w := range c.proposals.abandon() {
		c.out.Replies = append(c.out.Replies, Reply{w.done, Result{-1, c.refuse(fault.UnknownOutcome).
			Detailf("replica %v was to write it at offset %d, and leads no more", c.cfg.ID, w.offset)}})
	}
	for _, p := range c.sequences.abandon() {
		c.reply(p.done, c.notLeader())
	}
	for _, r := range c.reads.abandon() {
		c.reply(r.done, c.notLeader())
	}
}

// ErrLost says that a replica may have lost what it had acknowledged. It must not
// start again under its ID; under a new one it joins its group as a learner, and
// receives what the others have.
var ErrLost = errors.New("the replica may have lost what it had acknowledged")

func (c *Core) lost(format string, args ...any) error {
	return c.refuse(fault.Storage).Detailf(format, args...).Because(ErrLost).ForGood().
		Try("replace the replica by one of a new incarnation, which learns from the others")
}

func (c *Core) refuse(code fault.Code) *fault.Error {
	return fault.At(code, c.cfg.Topic, c.cfg.Partition, -1)
}
