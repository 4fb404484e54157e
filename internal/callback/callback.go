// Package callback runs functions that belong to the program, such as a
// producer's callbacks, on goroutines of this module.
//
// Such a function may do two things that would leave its caller's work undone.
// It may end its goroutine with runtime.Goexit, as a failed require in a test
// does: then the next function runs on another goroutine. And it may panic:
// then its caller recovers, and keeps a [Panic] for the next call that can
// return an error. Either way all other functions are called, and no goroutine
// waits without end.
package callback

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// Panic is the value of a panic in the program's function. Its text includes
// the stack, because the panic did not end the program.
type Panic struct {
	Value any
	Stack []byte
}

// Panicked returns a Panic with a recovered value. It must be called by the
// deferred function that recovered it.
func Panicked(value any) *Panic { return &Panic{value, debug.Stack()} }

// Error implements error.
func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap returns the value, if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Go calls step on a goroutine until it returns false. If step ends the
// goroutine, Go calls it again on another one. So step must record its progress
// before it calls a function that may not return.
func Go(step func() (more bool)) {
	go func() {
		ended := false
		defer func() {
			if !ended {
				Go(step)
			}
		}()
		for step() {
		}
		ended = true
	}()
}

// Item is a piece of work in a Queue.
type Item interface {
	// Step does the next part of the work and reports whether there is more. It
	// runs at most one function of the program, and is called again if that
	// does not return.
	Step() (more bool)
}

// Queue runs items one at a time, in the order in which they were added. It has
// a goroutine only while there are items. The zero value is an empty queue.
type Queue struct {
	mu    sync.Mutex
	items []Item // the first one is running
	busy  bool
}

// Add queues item after those added before.
func (q *Queue) Add(item Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
	if !q.busy {
		q.busy = true
		Go(q.step)
	}
}

// Idle reports whether all added items have run.
func (q *Queue) Idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.busy
}

// Drained returns a channel that is closed when all items added before have
// run.
func (q *Queue) Drained() <-chan struct{} {
	m := make(marker)
	q.mu.Lock()
	busy := q.busy
	if busy {
		q.items = append(q.items, m)
	}
	q.mu.Unlock()
	if !busy {
		close(m)
	}
	return m
}

// marker is an item that does nothing but close a channel.
type marker chan struct{}

func (m marker) Step() bool {
	close(m)
	return false
}

// step does one step of the first item, on the queue's goroutine.
func (q *Queue) step() (more bool) {
	q.mu.Lock()
	first := q.items[0]
	q.mu.Unlock()
	if first.Step() {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items[0] = nil
	q.items = q.items[1:]
	q.busy = len(q.items) > 0
	return q.busy
}
