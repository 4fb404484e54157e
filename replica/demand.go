package replica

import (
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
)

// demand is how many replicas must have what the partition acknowledges, Kafka's
// min.insync.replicas, and how many there are. A majority always must; a demand for more
// makes acknowledgements wait, and refuses appends while fewer are in sync.
type demand struct {
	minimum atomic.Int32
	inSync  atomic.Int32 // as of the last tick of a leader that has a demand, itself included
}

// count counts the voters in sync. It runs on the stepper's goroutine, once in a tick.
func (d *demand) count(c *Core) {
	if d.minimum.Load() <= 1 || c.role != Leader {
		return
	}
	s, n := c.Status(), int32(0)
	for _, id := range s.Members.Voters {
		if id == c.cfg.ID {
			n++
		}
		for _, p := range s.Peers {
			if p.ID == id && p.InSync {
				n++
			}
		}
	}
	d.inSync.Store(n)
}

// demands sets the demand.
func (r *Replica) demands(minimum int) {
	r.demand.minimum.Store(int32(minimum))
	r.stepper.post(event{r, func(c *Core) {
		c.SetMinimum(minimum)
		r.demand.count(c)
	}, 0})
}

// tooFew returns why an append is refused, or nil.
func (r *Replica) tooFew() error {
	minimum, n := r.demand.minimum.Load(), r.demand.inSync.Load()
	if minimum <= 1 || n >= minimum {
		return nil
	}
	r.stepper.post(event{r, func(*Core) { r.wakes() }, 0}) // in a group that rests nobody counts
	return fault.At(fault.NotEnoughReplicas, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1).
		Detailf("%d replicas are in sync, and min.insync.replicas is %d", n, minimum)
}
