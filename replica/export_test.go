package replica

import "github.com/runnel-go/runnel/partition"

// Panic panics where the core calls the consensus library.
func (c *Core) Panic(v any) { c.do(func() error { panic(v) }) }

// Do calls f with the core, as one event of the stepper's.
func (r *Replica) Do(f func(*Core)) { r.stepper.post(event{r, f, 0}) }

// Refuse makes the partition count offsets again with the next tick, as a batch that the
// core refuses does, and has that tick come at once.
func (r *Replica) Refuse() {
	r.tenure.refused = true
	r.stepper.tick()
}

// StartBatch is a batch that makes the logs of a group begin at an offset.
func StartBatch(ms, start int64) []byte { return startBatchAt(ms, start, 0, 1) }

// Refused ends an append to the copy with an error, as the copy does.
func (r *Replica) Refused(err error, to partition.Completion) { judged{r, to}.Appended(-1, err) }
