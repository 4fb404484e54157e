package replica

import "sync"

// workers run jobs that wait for disks, so many at a time. A worker is a goroutine
// that lives while there are jobs.
type workers struct {
	mu      sync.Mutex
	jobs    []func()
	running int
	most    int
	idle    sync.WaitGroup
}

func newWorkers(most int) *workers { return &workers{most: most} }

// submit has a worker run a job, in the order of submit as far as they begin.
func (w *workers) submit(job func()) {
	w.mu.Lock()
	w.jobs = append(w.jobs, job)
	starts := w.running < w.most
	if starts {
		w.running++
		w.idle.Add(1)
	}
	w.mu.Unlock()
	if starts {
		go w.work()
	}
}

func (w *workers) work() {
	defer w.idle.Done()
	for {
		w.mu.Lock()
		if len(w.jobs) == 0 {
			w.running--
			w.mu.Unlock()
			return
		}
		job := w.jobs[0]
		w.jobs[0] = nil
		w.jobs = w.jobs[1:]
		w.mu.Unlock()
		job()
	}
}

// wait waits for the jobs that were submitted. None may be submitted meanwhile.
func (w *workers) wait() { w.idle.Wait() }
