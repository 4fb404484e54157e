// Package role passes work to one goroutine at a time without keeping one for it.
//
// A Role is free or taken. A caller that has queued work takes the role if it is
// free, and then does the work of everybody until none is left:
//
//	        Take                     turn: nothing is left
//	free ----------> a caller leads -----------------------> free
//	                   |                                      ^
//	                   | after so many turns, or a turn       | turn: nothing is left
//	                   v that ended the caller's goroutine    |
//	                 a goroutine leads -----------------------+
//
// The role's state belongs under the lock of the queue that the work stands in: then
// finding the queue empty and giving the role up are one step, and no work is left
// behind between them. A role is given back whatever a turn does: one that panics or
// ends its goroutine loses that turn only, and the next one is on a goroutine of its
// own.
package role

import "sync"

// Role is the right and the duty to do queued work. Init makes it usable.
type Role struct {
	turn  func() (more bool)
	work  *sync.WaitGroup // counts goroutines; nil where the owner counts otherwise
	taken bool            // guarded by the owner's lock
}

// Init says what a turn is. turn does some of the work and reports true, or, where
// none is left, calls Leave under the owner's lock and reports false. work, unless
// nil, counts the goroutines that lead.
func (r *Role) Init(turn func() (more bool), work *sync.WaitGroup) { r.turn, r.work = turn, work }

// Take takes the role and reports true, unless it is taken. The owner's lock is held.
// Lead must follow once it isn't.
func (r *Role) Take() bool {
	if r.taken {
		return false
	}
	r.taken = true
	if r.work != nil {
		r.work.Add(1) // here, under the lock, so that closing can wait for it
	}
	return true
}

// Leave gives the role up. The owner's lock is held.
func (r *Role) Leave() {
	r.taken = false
	if r.work != nil {
		r.work.Done()
	}
}

// IsTaken reports whether somebody has the role. The owner's lock is held.
func (r *Role) IsTaken() bool { return r.taken }

// Lead does up to so many turns on the caller's goroutine, and leaves what then is
// still to be done to a goroutine; with 0 turns, all of it. The caller has taken the
// role.
func (r *Role) Lead(turns int) {
	left := false
	defer func() {
		if !left {
			go r.lead()
		}
	}()
	for range turns {
		if !r.turn() {
			left = true
			return
		}
	}
}

// lead does turns on a goroutine until nothing is left.
func (r *Role) lead() {
	left := false
	defer func() {
		if !left { // the turn ended this goroutine, by a panic for one, which goes on its way
			go r.lead()
		}
	}()
	for r.turn() {
	}
	left = true
}
