package consumer

import (
	"runtime"
	"time"

	"github.com/runnel-go/runnel/record"
)

// goroutine returns the number of the calling goroutine, as the first line of
// its stack shows it: "goroutine 18 [running]:". The runtime has no other way
// to tell a Close in the body of a loop from one on another goroutine. The two
// differ: the loop's goroutine must end the session itself, the other must wait
// for it. The call costs a microsecond, once per loop, callback and Close.
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

// stay is the period during which a goroutine uses the consumer and may be in
// the program's own code: in a loop over Records, or in a callback.
type stay struct {
	goroutine uint64
	over      chan struct{} // closed when it ends
}

// enterProgram and leaveProgram begin and end a stay. A callback's stay may
// nest in that of a loop.
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

// handOver lets another goroutine that is in the program's code end the
// session, and reports whether it did. A loop notices when it asks for its next
// record or ends; for a callback handOver waits. It waits no longer than a
// commit would.
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

// askLoop asks a loop whose body is running to end the session. It returns nil
// if there is none.
func (c *Consumer) askLoop() <-chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = make(chan error, 1)
	c.cuts.Add(1)
	if c.use.Load() != useLoop { // read last: a loop that continues after this point sees asked
		c.asked = nil
		return nil
	}
	return c.asked
}

// obey ends the session if askLoop has asked for it. A loop calls it between
// records.
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

// answer ends the session for the goroutine that asked, and reports the result
// even if a callback of the session ends this goroutine.
func (c *Consumer) answer(ask chan<- error) {
	var err error
	defer func() { ask <- err }()
	err = c.session.Close()
}

// withhold keeps partitions that were lost while another goroutine was in the
// program's code. That goroutine calls OnLost for them.
func (c *Consumer) withhold(partitions []record.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.untold = append(c.untold, partitions...)
	c.cuts.Add(1)
}
