package replica

import (
	"errors"
	"sync"

	"github.com/runnel-go/runnel/partition"
)

// published is the state of a replica that everyone may see, which is the one of its last
// change: changes are published by several goroutines, and an earlier one never replaces a
// later one.
type published struct {
	mu     sync.Mutex
	status Status
	number uint64 // of the change that made status

	changes uint64 // of the core's state so far; the stepper's own
}

// next numbers a change. It runs on the stepper's goroutine.
func (p *published) next() uint64 {
	p.changes++
	return p.changes
}

// load returns the state.
func (p *published) load() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// store makes s the state, unless that of a later change is. It reports whether it did.
func (p *published) store(number uint64, s Status) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number < p.number {
		return false
	}
	p.status, p.number = s, number
	return true
}

// Status returns the replica's state as of its last change.
func (r *Replica) Status() Status { return r.published.load() }

// changed follows a change of the core's state. Others are told that it leads only when
// its partition does.
func (r *Replica) changed() {
	s := r.core.Status()
	number := r.published.next()
	if !s.Leading {
		r.tenure.ended()
	}
	if errors.Is(s.Err, ErrForeign) {
		r.disk.then(func() { r.hide(s.Err) })
	}
	publish := func() { r.publish(number, s) }
	switch {
	case s.Leading && r.tenure.epoch == 0:
		r.tenure.epoch = uint32(s.Epoch)
		if r.tenure.reign != r.tenure.epoch {
			r.tenure.reign, r.tenure.since = r.tenure.epoch, r.node.now()
		}
		r.lead(publish)
	case s.Leading && !r.Status().Leading:
		r.disk.then(publish) // behind lead
	default:
		publish()
	}
}

// hide shows readers an error instead of what the log has.
func (r *Replica) hide(err error) {
	p := r.part.Load()
	r.part.Store(partition.Broken(partition.Config{Log: r.cfg.Disk.Log, Settings: *p.Settings()}, err))
	p.Abandon()
}

// publish makes s the replica's Status, unless a later one is.
func (r *Replica) publish(number uint64, s Status) {
	if !r.published.store(number, s) {
		return
	}
	r.route.ledBy(s.Leader)
	if r.cfg.Changed != nil {
		r.cfg.Changed(s)
	}
}
