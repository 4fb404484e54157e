package partition

import (
	"cmp"
	"math"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// replica is what a partition has whose log is one replica's copy. The group decides
// what the log holds, by Store and Truncate, and how far it is committed, by Commit;
// it decides who leads, by Lead and Follow.
type replica struct {
	p          *Partition
	led        func()                                      // Config.LeadershipChanged
	startBatch func(start, base int64, epoch int32) []byte // Config.StartBatch

	committed atomic.Int64 // what the group has committed; the log may end before it
	enough    atomic.Int64 // as Acknowledge
	floor     atomic.Int64 // as SetFloor

	// Guarded by p.mu.
	leading  *leadership // nil while the replica does not lead
	queue    []pending   // appends that wait to be judged
	judging  bool        // a goroutine judges; see judge
	outcomes []outcomeAt // of appends, in their order
	settling bool        // a goroutine settles; see settle
	leads    *leadership // leading, once it has all from before; LeadershipChanged was called for it
	cuts     []int64     // where the Truncates that are queued cut

	// Of the goroutine that judges, and of the one that settles.
	round   []pending
	settled []outcomeAt
}

// outcomeAt is the outcome of an append, which is due when the high watermark reaches
// an offset: its batch is committed, and all that was accepted before it.
type outcomeAt struct {
	high    int64
	base    int64
	err     error // due at once
	done    Completion
	refused pending // unless zero, gives its batch back

	conflict error // the error that it has when it is due
}

func newReplica(p *Partition, cfg *Config) *replica {
	r := &replica{p: p, led: cfg.LeadershipChanged, startBatch: cfg.StartBatch}
	if r.led == nil {
		r.led = func() {}
	}
	r.committed.Store(p.log.StartOffset())
	r.floor.Store(math.MaxInt64)
	return r
}

// Store appends batches that the replica's group has decided on and stamped, and
// calls done with the first one's offset once they are in the log, on disk if the
// topic asks for it. It does not move the high watermark: Commit does. The bytes pass
// to the partition as in Append.
//
// The batches must continue the log, and their leader epochs must not fall:
// fault.InvalidRecord. Store verifies nothing else. Store and Truncate take effect in
// the order of their calls. Only a replica has it.
func (p *Partition) Store(batches []byte, recycle log.Recycler, done Completion) {
	p.enqueue(pending{batch: batches, recycle: recycle, done: done, stored: true})
}

// storeRun writes the stored batches in front of the queue, several with one write
// where they are small. It returns how many of them it handled, and whether it wrote
// any.
func (p *Partition) storeRun(queued []pending) (n int, written bool) {
	bytes := 0
	for n < len(queued) && queued[n].stored && (n == 0 || bytes+len(queued[n].batch) <= joinBytes) {
		bytes += len(queued[n].batch)
		n++
	}
	for i := range queued[:n] {
		h, _ := record.ParseHeader(queued[i].batch) // which Append refuses otherwise
		queued[i].base = h.BaseOffset
	}
	err := p.failed
	if err == nil && n > 1 {
		if err = p.log.Append(join(queued[:n], bytes), nil); err != nil {
			n = 1 // to find out whose error it is
		}
	}
	if n == 1 && p.failed == nil {
		err = p.log.Append(queued[0].batch, queued[0].recycle)
	}
	if err != nil {
		err = p.storage(err)
	}
	for i := range queued[:n] {
		switch a := &queued[i]; {
		case err != nil:
			a.refuse(err)
		case n > 1:
			a.giveBack() // it was copied
		}
	}
	if err == nil && p.log.Producers() > p.crowded {
		p.forgetProducers()
	}
	return n, err == nil
}

// Write calls a function that changes the log, as its writer, in the order of Store and
// Truncate: how a group does whose writes belong together with others of its own. It
// returns the function's error. The function may wait for the disk, but a cut below
// the high watermark is the group's to rule out. Only a replica has it.
func (p *Partition) Write(change func() error) error {
	err := p.awaitTask(pending{own: true}, change)
	p.replica.settle()
	return err
}

// Truncate cuts off what the replica's log has from an offset on, because its group
// has decided on other records. The batch that holds the offset goes as a whole. It
// is durable when Truncate returns. Truncate refuses to cut what is committed:
// fault.OffsetOutOfRange. From the call on, the high watermark stays below the offset
// until the records are gone: Commit may mean their successors.
func (p *Partition) Truncate(to int64) error {
	r := p.replica
	p.mu.Lock()
	r.cuts = append(r.cuts, to)
	p.mu.Unlock()
	err := p.asWriter(func() error {
		if high := p.high.Load(); to < high {
			return p.fault(fault.OffsetOutOfRange, to).Detailf("records before %d are committed, and are never cut off", high)
		}
		return p.log.Truncate(to)
	})
	p.mu.Lock()
	for i, cut := range r.cuts {
		if cut == to {
			r.cuts = append(r.cuts[:i], r.cuts[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	r.settle()
	return err
}

// Commit says that the replica's group has committed everything before an offset. The
// high watermark moves there, as far as the log reaches, and never back; what is
// stored later moves it on. It is the end of a batch, and the log must agree with the group up to there, or the
// Truncate that makes it agree must have been called.
func (p *Partition) Commit(high int64) {
	r := p.replica
	for {
		old := r.committed.Load()
		if high <= old {
			return
		}
		if r.committed.CompareAndSwap(old, high) {
			break
		}
	}
	r.settle()
}

// Acknowledge says that as many replicas as Settings.MinReplicas demands have everything
// before an offset, and that it is committed. With more than one in MinReplicas, appends end
// only then. The high watermark does not wait for it: what is committed is for good.
func (p *Partition) Acknowledge(before int64) {
	r := p.replica
	for old := r.enough.Load(); before > old && !r.enough.CompareAndSwap(old, before); old = r.enough.Load() {
	}
	r.settle()
}

// acknowledged returns the offset before which appends have ended, given the high
// watermark.
func (r *replica) acknowledged(high int64) int64 {
	if r.p.settings.Load().MinReplicas <= 1 {
		return high
	}
	return min(high, r.enough.Load())
}

// SetFloor keeps retention and compaction from touching records at or above an
// offset: the group may still need them, to bring other replicas up to date. They are
// not kept unless it is called.
func (p *Partition) SetFloor(offset int64) { p.replica.floor.Store(offset) }

// cleanable returns the offset before which retention and compaction may work.
func (p *Partition) cleanable() int64 {
	high := p.high.Load()
	if p.replica != nil {
		high = min(high, p.replica.floor.Load())
	}
	return high
}

// ReadLog is Read without regard to what is committed, up to the log's end: it is how
// a leader brings its followers up to date. Only a replica has it.
func (p *Partition) ReadLog(offset int64, max int, buf []byte) (log.Slice, error) {
	if end := p.log.EndOffset(); offset < end {
		return p.log.Read(offset, end, max, buf)
	}
	return log.Slice{}, p.whyClosed()
}

// Truncations is log.Log.Truncations.
func (p *Partition) Truncations() uint64 { return p.log.Truncations() }

// Epochs returns the leader epochs of the log's batches, oldest first. The slice is
// read-only.
func (p *Partition) Epochs() []log.EpochEntry { return p.log.Epochs() }

// mayReach reports whether a reader may wait at an offset above the high watermark.
func (r *replica) mayReach(offset int64) bool {
	if r == nil {
		return false
	}
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return r.leading == nil || offset <= r.p.log.EndOffset()
}

// settle moves the high watermark to where it may be by now, tells of a change of
// leadership, and calls the Completions that are due. The role is a token: a caller who finds it taken leaves
// the work to its holder, who looks again, under the lock, before giving it up. So the
// watermark only rises, and Completions run in order.
func (r *replica) settle() {
	p := r.p
	p.mu.Lock()
	if r.settling {
		p.mu.Unlock()
		return
	}
	r.settling = true
	for {
		high := min(r.committed.Load(), p.log.EndOffset())
		for _, cut := range r.cuts {
			high = min(high, cut)
		}
		moves := high > p.high.Load() && p.closed == nil
		if high = max(high, p.high.Load()); p.closed != nil {
			high = p.high.Load()
		}
		leads := r.leading
		if leads != nil && (!leads.ready || high < leads.from) {
			leads = nil
		}
		turns := leads != r.leads
		r.leads = leads
		n, acknowledged := 0, r.acknowledged(high)
		for n < len(r.outcomes) && (r.outcomes[n].err != nil || r.outcomes[n].high <= acknowledged) {
			n++
		}
		if n == 0 && !moves && !turns {
			r.settling = false
			p.restLocked()
			p.mu.Unlock()
			return
		}
		due := append(r.settled[:0], r.outcomes[:n]...)
		left := copy(r.outcomes, r.outcomes[n:])
		clear(r.outcomes[left:])
		r.outcomes = r.outcomes[:left]
		p.mu.Unlock()
		if moves {
			p.advance(high)
		}
		if turns {
			r.led()
		}
		for i := range due {
			o := &due[i]
			o.refused.giveBack()
			o.done.Appended(o.base, cmp.Or(o.err, o.conflict))
		}
		clear(due)
		r.settled = due
		p.mu.Lock()
	}
}
