// Package role passes work to one goroutine at a time without keeping one for it.
//
// A Role is free or taken. Work stands in a queue of the owner's. A caller that has
// queued some takes the role if it is free, and then does the work of all callers until
// none is left. One that cannot wait that long calls a goroutine instead:
//
//	       Take: there is work                          nothing is left
//	free ----------------------> a caller leads ----------------------> free
//	 | ^                            |        |                           ^
//	 | |    after so many turns     |        | work that wants a         |
//	 | +----------------------------+        | goroutine of its own, or  |
//	 |    and a goroutine is called          | a turn that ended the     |
//	 |                                       v caller's goroutine        |
//	 +-----------------------------> a goroutine leads ------------------+
//	    Call: the goroutine runs                        nothing is left
//
// The role's state belongs under the lock of the queue that the work stands in: then
// finding the queue empty and giving the role up are one step, and no work is left
// behind between them. For the same reason a piece of work is claimed in the step that
// takes the role or ends the piece before: this also saves a lock for each piece.
//
// A goroutine that was called does not have the role until it runs. Until then a caller
// may take it. Otherwise, on a busy processor, all would wait for a goroutine that the
// scheduler has not got to, while they themselves keep it from running.
//
// A role outlives its holder: a turn that panics or ends its goroutine is lost, and the
// next one is on a goroutine of its own.
package role

import "sync"

// Next is what a search for work has found, and who may do it.
type Next int8

const (
	None Next = iota // nothing: the role is given up
	Any              // work for any goroutine
	Own              // work for a goroutine of the role's own: it may block, or end its goroutine
)

// Role is the right and the duty to do queued work. Init makes it usable.
type Role struct {
	mu   *sync.Mutex // the owner's
	next func() Next
	do   func()
	work *sync.WaitGroup // counts who has the role or is called; nil where no one waits for them

	// Gather, unless nil, is called by the role's own goroutine before each search,
	// without the lock, to let others queue work that is cheaper done together.
	Gather func()

	taken  bool // someone leads, or is about to: guarded by mu
	called bool // a goroutine will take the role, unless it is taken then: guarded by mu
}

// Init says where work is and how it is done. next ends the piece of work that was done
// last and claims the next one; it is called with mu held. do does what was claimed, with
// mu not held. When do ends its goroutine, next follows all the same.
//
// work, unless nil, counts holders of the role, the goroutine that was called among them.
// It grows under mu and only by Take, Hold and Call, so an owner that calls none of them any more may
// wait for it.
func (r *Role) Init(mu *sync.Mutex, next func() Next, do func(), work *sync.WaitGroup) {
	r.mu, r.next, r.do, r.work = mu, next, do, work
}

// Take takes the role for the caller, if it is free and there is work that any goroutine
// may do, and reports whether it has: then Lead must follow once mu is released. Work that
// wants a goroutine of its own gets one. mu is held.
func (r *Role) Take() bool {
	if r.taken {
		return false
	}
	found := r.next()
	if found == None {
		return false
	}
	r.Hold()
	if found == Own {
		go r.lead(true)
		return false
	}
	return true
}

// Hold takes the role, which is free, for work that the caller has claimed by itself and
// does by itself. GoOn must follow once it is done. mu is held.
func (r *Role) Hold() {
	r.taken = true
	r.add()
}

// GoOn follows the work for which the caller holds the role: it does what was queued
// meanwhile, as Lead does.
func (r *Role) GoOn(turns int) {
	if r.search() == Any {
		r.Lead(turns)
	}
}

// Call has a goroutine take the role and look for work, unless the role is taken. mu is
// held.
func (r *Role) Call() {
	if r.taken || r.called {
		return
	}
	r.add()
	r.call()
}

// IsTaken reports whether the role has a holder. mu is held.
func (r *Role) IsTaken() bool { return r.taken }

// IsFree reports whether the role has no holder and will have none until more work is
// queued. mu is held.
func (r *Role) IsFree() bool { return !r.taken && !r.called }

// Lead does the work of the caller, which has taken the role, and what was queued
// meanwhile, up to so many turns. Then it gives the role up, and a goroutine is called.
// With a negative number it goes on until no work is left.
func (r *Role) Lead(turns int) {
	returned := false
	defer func() {
		if !returned { // do has ended the caller's goroutine
			go r.lead(false)
		}
	}()
	for {
		r.do()
		if turns--; turns == 0 {
			break
		}
		if r.search() != Any {
			returned = true
			return
		}
	}
	returned = true
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = false
	if r.called {
		r.done()
		return
	}
	r.call() // it counts for the caller from here on
}

// search looks for work for a caller that has done a piece. With none the role is free;
// what wants a goroutine of its own gets one.
func (r *Role) search() Next {
	r.mu.Lock()
	found := r.next()
	if found == None {
		r.leave()
	}
	r.mu.Unlock()
	if found == Own {
		go r.lead(true)
	}
	return found
}

// call starts a goroutine that has been counted. mu is held.
func (r *Role) call() {
	r.called = true
	go r.answer()
}

// answer takes the role on the goroutine that was called.
func (r *Role) answer() {
	r.gather()
	r.mu.Lock()
	r.called = false
	if r.taken || r.next() == None {
		r.done()
		r.mu.Unlock()
		return
	}
	r.taken = true
	r.mu.Unlock()
	r.lead(true)
}

// lead does what is left on a goroutine of the role's own. claimed says that it begins
// with a piece of work, and not with a search.
func (r *Role) lead(claimed bool) {
	returned := false
	defer func() {
		if !returned { // do has ended this goroutine, by a panic for one, which goes on its way
			go r.lead(false)
		}
	}()
	for {
		if claimed {
			r.do()
		}
		claimed = true
		r.gather()
		r.mu.Lock()
		if r.next() == None {
			r.leave()
			r.mu.Unlock()
			returned = true
			return
		}
		r.mu.Unlock()
	}
}

func (r *Role) gather() {
	if r.Gather != nil {
		r.Gather()
	}
}

// leave gives the role up. mu is held.
func (r *Role) leave() {
	r.taken = false
	r.done()
}

func (r *Role) add() {
	if r.work != nil {
		r.work.Add(1)
	}
}

func (r *Role) done() {
	if r.work != nil {
		r.work.Done()
	}
}
