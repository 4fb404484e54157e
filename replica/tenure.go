package replica

import (
	"slices"
	"sync"
)

// tenure is in which leader epoch a replica's partition leads. The core's leadership begins
// and ends on the stepper's goroutine, and the partition follows as the writer gets there:
// it leads only in an epoch that has not ended meanwhile.
type tenure struct {
	// mu is held while the partition begins to lead, so that it does not when allowed is
	// no longer the epoch.
	mu      sync.Mutex
	allowed uint32 // the epoch in which the partition may lead; 0: in none

	// The stepper's own.
	epoch    uint32          // in which the partition leads or is about to; 0: it follows
	refused  bool            // the core refused what the partition had stamped
	resigned []chan struct{} // are closed when it leads no more
}

// allow says in which epoch the partition may lead.
func (t *tenure) allow(epoch uint32) {
	t.mu.Lock()
	t.allowed = epoch
	t.mu.Unlock()
}

// begin calls lead if the partition may lead in an epoch.
func (t *tenure) begin(epoch uint32, lead func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.allowed == epoch {
		lead()
	}
}

// ended tells those who wait for it that the replica leads no more.
func (t *tenure) ended() {
	for _, c := range t.resigned {
		close(c)
	}
	t.resigned = nil
}

// resign hands the leadership to the voter that has the most of the log, and returns a
// channel that is closed once this replica leads no more, or if there is no such voter.
func (r *Replica) resign() <-chan struct{} {
	resigned := make(chan struct{})
	r.stepper.post(event{r, func(c *Core) {
		r.wakes()
		to, s := successor(c.Status())
		if !s || c.Transfer(to) != nil {
			close(resigned)
			return
		}
		r.tenure.resigned = append(r.tenure.resigned, resigned)
	}, 0})
	return resigned
}

// successor returns the voter that can lead soonest: it is alive, and has the most of
// the log.
func successor(s Status) (to ID, ok bool) {
	var most uint64
	for _, p := range s.Peers {
		if p.Active && slices.Contains(s.Members.Voters, p.ID) && p.Match >= most {
			to, most, ok = p.ID, p.Match, true
		}
	}
	return to, ok && s.Leading
}

// stepDown ends the partition's leadership if the core's has ended. The partition takes a
// batch for committed when the high watermark has passed its offset: from here on, the next
// leader's batches have these offsets. So it comes first of all that a core puts out.
func (r *Replica) stepDown() {
	s := r.core.Status()
	if r.tenure.epoch == 0 || s.Leading && uint32(s.Epoch) == r.tenure.epoch {
		return
	}
	r.tenure.epoch = 0
	r.tenure.allow(0)
	r.part.Load().Follow(s.Epoch)
}

// lead makes the partition lead, behind the writes that came before, unless the core leads
// no more by then: its log has everything then that its own batches follow.
func (r *Replica) lead(then func()) {
	epoch := r.tenure.epoch
	r.tenure.allow(epoch)
	r.disk.then(func() {
		r.tenure.begin(epoch, func() { r.part.Load().Lead(int32(epoch), r) })
		then()
	})
}

// recount is called once in a tick. A leader that refused a batch, because it is handing
// its leadership over, has the partition count offsets again from where they are.
func (r *Replica) recount() {
	if !r.tenure.refused || r.tenure.epoch == 0 {
		return
	}
	r.tenure.refused = false
	r.lead(func() {})
}
