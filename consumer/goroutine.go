package consumer

import (
	"runtime"
	"time"

	"github.com/runnel-go/runnel/record"
)

// goroutine returns the number of the goroutine that calls it, as the first line
// of its stack has it: "goroutine 18 [running]:". The runtime has no other way to
// tell whether Close is called in the body of a loop or beside it, and the two
// must not be taken for each other: the one has to do what the other waits for.
// It costs a microsecond, once for each loop, callback and Close.
func goroutine() (number uint64) {
	var line [32]byte
	n := runtime.Stack(line[:], false)
	for _, digit := range line[min(n, len("goroutine ")):n] {
		if digit < '0' || digit > '9' {
			break
		}
		number = 10*number + uint64(digit-'0')
	}
	return number
}

// stay is the time in which a goroutine has the consumer while it may be in the
// program's own code: that of a loop over Records, or of a callback.
type stay struct {
	goroutine uint64
	over      chan struct{} // closed when it ends
}

// enterProgram and leaveProgram stand around a stay. A callback's may be within
// that of a loop.
func (c *Consumer) enterProgram() (outer *stay) {
	inner := &stay{goroutine: goroutine(), over: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	outer, c.staying = c.staying, inner
	return outer
}

func (c *Consumer) leaveProgram(outer *stay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.staying.over)
	c.staying = outer
}

// elsewhere returns the stay of another goroutine, or nil.
func (c *Consumer) elsewhere() *stay {
	c.mu.Lock()
	at := c.staying
	c.mu.Unlock()
	if at != nil && at.goroutine != goroutine() {
		return at
	}
	return nil
}

// handOver lets another goroutine that is in the program's code end the session,
// and reports whether it has. A loop comes by when it asks for its next record and
// when it is left; a callback is waited for. Neither is waited for longer than a
// commit would be.
func (c *Consumer) handOver() (handed bool, err error) {
	late := time.NewTimer(closing)
	defer late.Stop()
	for {
		at := c.elsewhere()
		if at == nil {
			return false, nil
		}
		ask := c.askLoop()
		if ask == nil && c.use.Load() != useCallback {
			return false, nil // it is within the session, which wakes it
		}
		if ask == nil && c.elsewhere() != at {
			continue
		}
		select {
		case err := <-ask:
			return true, err
		case <-at.over:
			if ask != nil {
				return true, <-ask
			}
		case <-late.C:
			c.mu.Lock()
			c.asked = nil
			c.mu.Unlock()
			return false, nil
		}
	}
}

// askLoop asks a loop whose body runs to end the session. It returns nil if there
// is none.
func (c *Consumer) askLoop() <-chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = make(chan error, 1)
	c.cuts.Add(1)
	if c.use.Load() != useLoop { // read last: a loop that goes on from here sees asked
		c.asked = nil
		return nil
	}
	return c.asked
}

// obey is what a loop does when it comes by.
func (c *Consumer) obey() {
	c.mu.Lock()
	ask := c.asked
	c.asked = nil
	lost := c.untold
	c.untold = nil
	c.mu.Unlock()
	if ask != nil {
		c.answer(ask)
	}
	c.callback("OnLost", c.cfg.OnLost, lost)
}

// answer ends the session for who asks, and tells so even if a callback of the
// session ends this goroutine.
func (c *Consumer) answer(ask chan<- error) {
	var err error
	defer func() { ask <- err }()
	err = c.session.Close()
}

// withhold keeps partitions that went while another goroutine was in the
// program's code, for that one to be told.
func (c *Consumer) withhold(partitions []record.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.untold = append(c.untold, partitions...)
	c.cuts.Add(1)
}
