package streams

import (
	"fmt"

	"github.com/runnel-go/runnel/streams/state"
)

// storesIn opens what a task's part of a store is kept in.
type storesIn func(store string, task TaskID) (state.Bytes, error)

// StoresIn keeps stores in what open returns, for example in directories, with
// package streams/state/pebble: then state may be larger than memory. By default
// it is in memory.
//
// A task calls open for each of its stores when it starts, on its own goroutine,
// and closes what it gets when it ends. What that holds is removed, and the
// store is restored from its changelog. Two tasks, and two applications, must not
// get the same.
func StoresIn(open func(store string, task TaskID) (state.Bytes, error)) Option {
	return option(func(c *config) { c.storesIn = open })
}

// keep returns the options for a store that is opened in the task.
func (w *wiring) keep(decl *storeDecl) []state.Option {
	if w.task.plan.storesIn == nil {
		return nil
	}
	b, err := w.task.plan.storesIn.empty(decl.name, w.task.id)
	if b != nil {
		w.task.bytes = append(w.task.bytes, b)
	}
	if err != nil {
		w.note(decl.owner(), fmt.Errorf("the store %s of task %s: %w", decl.name, w.task.id, err))
		return nil
	}
	return []state.Option{state.Over(b)}
}

// empty opens what a store is kept in, and removes what that holds.
func (open storesIn) empty(store string, task TaskID) (b state.Bytes, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if b, err = open(store, task); err != nil {
		return b, err
	}
	var all state.Batch
	all.DeleteRange(nil, nil)
	return b, b.Apply(&all)
}
