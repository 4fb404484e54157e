package replica

import (
	"slices"
	"sync"

	"github.com/runnel-go/runnel/fault"
)

// tenure is a time in which a replica's partition leads. The core's leadership begins and
// ends on the stepper's goroutine, and the partition follows as the writer gets there: it
// leads only in a tenure that has not ended meanwhile.
//
// The partition takes a batch for committed when the high watermark has passed its offset.
// So within a tenure the core writes nothing at an offset but what the partition stamped
// with it, or the tenure ends before anything is committed there: when the core leads no
// more, when it writes a batch of its own, such as a change of members, and when it has
// refused a batch. What was stamped in an earlier tenure the core does not get.
type tenure struct {
	// mu is held while the partition begins to lead, so that it does not when allowed is
	// no longer the tenure's number.
	mu      sync.Mutex
	allowed uint64 // the tenure in which the partition may lead; 0: in none

	// The stepper's own.
	number   uint64          // of the last tenure
	epoch    uint32          // in which the partition leads or is about to; 0: it follows
	own      uint64          // the core's last own batch, behind which the tenure lies
	refused  bool            // the core refused a batch of this tenure
	recounts bool            // a tick has passed since
	resigned []chan struct{} // are closed when it leads no more
	changing bool            // a change of members was proposed, and has no outcome
	reign    uint32          // the epoch of since
	since    int             // the node's tick from which on it leads, or since it last offered the leadership to the preferred leader
}

// allow says in which tenure the partition may lead.
func (t *tenure) allow(number uint64) {
	t.mu.Lock()
	t.allowed = number
	t.mu.Unlock()
}

// begin calls lead if the partition may lead in a tenure.
func (t *tenure) begin(number uint64, lead func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.allowed == number {
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
	r.stepper.errand(func() {
		if r.core == nil {
			close(resigned)
			return
		}
		r.wakes()
		r.stepper.touch(r)
		to, s := successor(r.core.Status())
		if !s || r.core.Transfer(to) != nil {
			close(resigned)
			return
		}
		r.tenure.resigned = append(r.tenure.resigned, resigned)
	})
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

// stepDown ends the tenure if the core's leadership has ended, or if the core has written a
// batch of its own: from here on, other batches than the partition's have the next offsets.
// So it comes first of all that a core puts out.
func (r *Replica) stepDown() {
	s := r.core.Status()
	if r.tenure.epoch == 0 || s.Leading && uint32(s.Epoch) == r.tenure.epoch && r.core.own == r.tenure.own {
		return
	}
	r.tenure.epoch = 0
	r.tenure.allow(0)
	r.part.Load().Follow(s.Epoch)
}

// lead begins a tenure, behind the writes that came before, unless it has ended by then: the
// log has everything then that the tenure's batches follow.
func (r *Replica) lead(then func()) {
	t := &r.tenure
	t.number++
	t.own, t.refused, t.recounts = r.core.own, false, false
	number, epoch := t.number, t.epoch
	t.allow(number)
	r.disk.then(func() {
		t.begin(number, func() { r.part.Load().Lead(int32(epoch), proposer{r, number}) })
		then()
	})
}

// recount begins another tenure once in a tick where the core has refused a batch, because
// it is handing its leadership over: the partition counts offsets again from where they are.
func (r *Replica) recount() {
	if r.tenure.recounts && r.tenure.epoch != 0 {
		r.lead(func() {})
	}
}

// proposer is the partition.Proposer of one tenure.
type proposer struct {
	replica *Replica
	number  uint64
}

// Propose implements partition.Proposer. A batch whose tenure has ended is dropped: the
// partition has told its outcome, or does so before it leads again.
func (p proposer) Propose(batch []byte) error {
	r, n := p.replica, int64(len(batch))
	if err := r.tooFew(); err != nil {
		return err
	}
	if sum := r.proposed.Add(n); sum > int64(r.cfg.UncommittedBytes) && sum > n {
		r.proposed.Add(-n)
		return fault.At(fault.BufferFull, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1).
			Detailf("%d bytes wait to be committed", sum-n)
	}
	r.stepper.post(event{r, func(c *Core) {
		r.wakes()
		if p.number != r.tenure.number {
			r.proposed.Add(-n)
			return
		}
		c.ProposeStamped(batch, func(result Result) {
			r.proposed.Add(-n)
			if result.Err != nil && p.number == r.tenure.number {
				r.tenure.refused = true
			}
		})
	}, 0})
	return nil
}
