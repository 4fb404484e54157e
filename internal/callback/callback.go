// Package callback runs functions that belong to the program, such as a
// producer's callbacks, on goroutines of this module.
//
// Such a function may do two things that would leave its caller's work undone. It
// may end its goroutine, by runtime.Goexit, as a failed require in a test does:
// then the next function runs on another goroutine. And it may panic: then its
// caller recovers, and keeps a [Panic] for the next call that can return an error.
// Either way the others are called, and nobody waits for ever.
package callback

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// Panic is what a function of the program has panicked with. It prints the stack,
// too: the goroutine went on.
type Panic struct {
	Value any
	Stack []byte
}

// Panicked returns a Panic with a value that was recovered. The deferred function
// that recovered it calls it.
func Panicked(value any) *Panic { return &Panic{value, debug.Stack()} }

// Error implements error.
func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap returns the value, if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Go calls step on a goroutine until it returns false. When step ends the
// goroutine, it is called again on another one: so step notes what it is about to
// do before it calls what may not return.
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

// Item is something to be run in a Queue's turn.
type Item interface {
	// Step does the next part of it and reports whether there is more to do. It
	// runs at most one function of the program, and is called again if that does
	// not return.
	Step() (more bool)
}

// Queue runs items one at a time, in the order in which they were added. It has
// a goroutine only while there are some. The zero value is an empty queue.
type Queue struct {
	mu    sync.Mutex
	items []Item // the first one is at work
	busy  bool
}

// Add runs item after those that were added before.
func (q *Queue) Add(item Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
	if !q.busy {
		q.busy = true
		Go(q.step)
	}
}

// Idle reports whether all that was added has run.
func (q *Queue) Idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.busy
}

// Drained returns a channel that is closed when all that was added before has
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

// marker is an item that only says that its turn has come.
type marker chan struct{}

func (m marker) Step() bool {
	close(m)
	return false
}

// step does one step of the first item, as the queue's goroutine.
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
