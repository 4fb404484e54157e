package replica

import (
	"sync"
)

// writer brings a replica's writes to its Disk, in their order, on the node's disk
// workers. While one group of writes is synced the next ones gather, and are done
// together.
type writer struct {
	replica *Replica

	mu      sync.Mutex
	writes  []DiskWrite // in their order
	turns   []turn      // what follows them
	working bool        // a job is submitted, and has not ended
	closed  bool        // nothing is done any more
	idle    chan struct{}
}

// turn is what is done behind so many writes of the present queue.
type turn struct {
	behind int
	do     func()
}

// write queues writes.
func (w *writer) write(writes []DiskWrite) {
	w.mu.Lock()
	if !w.closed {
		w.writes = append(w.writes, writes...)
	}
	w.submitLocked()
}

// then queues a call behind all writes so far.
func (w *writer) then(do func()) {
	w.mu.Lock()
	if !w.closed {
		w.turns = append(w.turns, turn{len(w.writes), do})
	}
	w.submitLocked()
}

// submitLocked sees to it that a job is submitted, and unlocks mu.
func (w *writer) submitLocked() {
	starts := !w.working && !w.closed
	w.working = w.working || starts
	w.mu.Unlock()
	if starts {
		w.replica.node.disks.submit(w.work)
	}
}

// work does what is queued, and reports it to the core.
func (w *writer) work() {
	w.mu.Lock()
	writes, turns := w.writes, w.turns
	w.writes, w.turns = nil, nil
	w.mu.Unlock()
	done := 0
	for _, t := range turns {
		w.do(writes[done:t.behind])
		done = t.behind
		t.do()
	}
	w.do(writes[done:])
	w.mu.Lock()
	again := !w.closed && len(w.writes)+len(w.turns) > 0
	if w.working = again; !again && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
	w.mu.Unlock()
	if again {
		w.replica.node.disks.submit(w.work) // behind the other replicas' jobs
	}
}

// do does writes as the partition's writer.
func (w *writer) do(writes []DiskWrite) {
	if len(writes) == 0 {
		return
	}
	r := w.replica
	result := r.disk.doAsWriter(writes)
	r.stepper.post(event{r, func(c *Core) { c.DiskDone(result) }, 0})
}

// close waits for the job that runs, and drops what is queued.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.writes, w.turns = nil, nil
	if w.working && w.idle == nil {
		w.idle = make(chan struct{})
	}
	idle := w.idle
	w.mu.Unlock()
	if idle != nil {
		<-idle
	}
}
