package txn

import (
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Open is a transaction that a partition's log has no marker of.
type Open struct {
	At         record.TopicPartition
	ProducerID int64
	Epoch      int16
}

// Revoke makes the decision to commit one to abort. No marker of it may have been written.
func (c *Coordinator) Revoke(e *Ending, now time.Time) (Result, error) {
	v := c.ids[e.TransactionalID]
	if v == nil || v.Identity != e.Identity || v.state != PrepareCommit {
		return Result{}, nil
	}
	next := *v
	next.state, next.ends = PrepareAbort, nil
	return c.set(e.TransactionalID, next, now)
}

// Recover is the first command after a crash that may have undone writes which were not
// synced. open are the transactions without a marker, in all partitions. isThere reports
// whether a partition's log reaches an end, or that is not known.
//
//   - A decision to commit of which a partition lacks records is revoked.
//   - A transaction that is open in a partition of which the coordinator does not know is
//     open there, too.
//
// The caller writes the markers of all the Endings that Recover returns, before anything else
// is written to these partitions: markers were visible that the crash has undone.
func (c *Coordinator) Recover(open []Open, isThere func(record.TopicPartition, End) bool, now time.Time) (result Result, markers []*Ending, err error) {
	found := map[int64][]Open{}
	for _, o := range open {
		found[o.ProducerID] = append(found[o.ProducerID], o)
	}
	for _, id := range slices.Sorted(maps.Keys(c.ids)) {
		for _, step := range []func(string, map[int64][]Open, func(record.TopicPartition, End) bool, time.Time) (Result, error){c.revokeTorn, c.adopt} {
			r, err := step(id, found, isThere, now)
			if err != nil {
				return Result{}, nil, err
			}
			result.Records = append(result.Records, r.Records...)
		}
		v := c.ids[id]
		before := len(markers)
		if v.unset != nil { // in all partitions: where it wrote nothing, too, a marker had an offset
			again := *v.unset
			again.TransactionalID = id
			markers = append(markers, &again)
		}
		if e := c.ending(id); e != nil {
			markers = append(markers, e)
		}
		if len(markers) > before {
			// The markers are of the leader epoch that begins now. With a record of that epoch in
			// the log, no later coordinator has an earlier one.
			r, err := c.set(id, *v, now)
			if err != nil {
				return Result{}, nil, err
			}
			result.Records = append(result.Records, r.Records...)
		}
	}
	return result, markers, nil
}

// revokeTorn revokes a decision to commit where the crash has undone records.
func (c *Coordinator) revokeTorn(id string, _ map[int64][]Open, isThere func(record.TopicPartition, End) bool, now time.Time) (Result, error) {
	v := c.ids[id]
	if v.state != PrepareCommit {
		return Result{}, nil
	}
	for i, end := range v.ends {
		if !isThere(v.partitions[i], end) {
			return c.Revoke(c.ending(id), now)
		}
	}
	return Result{}, nil
}

// adopt adds partitions to a transaction whose own records the crash has undone. If the one
// before is not complete in the log, it was: the next one had begun.
func (c *Coordinator) adopt(id string, found map[int64][]Open, _ func(record.TopicPartition, End) bool, now time.Time) (result Result, err error) {
	v := c.ids[id]
	next := v.next()
	var partitions []record.TopicPartition
	for _, o := range found[next.ProducerID] {
		if o.Epoch == next.Epoch {
			partitions = append(partitions, o.At)
		}
	}
	if len(partitions) == 0 {
		return Result{}, nil
	}
	if v.state.isDecided() {
		if result, err = c.Complete(c.ending(id), false, now); err != nil {
			return Result{}, err
		}
	}
	added, err := c.Add(id, next, partitions, now)
	result.Records = append(result.Records, added.Records...)
	return result, err
}
