package replica

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// The methods below make a Replica the handle of its partition. It reads the copy on
// this node, and appends to the leader on whichever node.

// Append appends a batch by the partition's leader, and calls done with its offset once a
// majority has it. Bytes and order are as in partition.Partition.Append, but that recycle
// is not called. With no leader, an append waits for one, for two minutes; of an
// idempotent producer it goes to the next leader until its outcome is known. Other
// appends may end with fault.UnknownOutcome when a leader changes.
func (r *Replica) Append(batch []byte, _ log.Recycler, done partition.Completion) {
	r.route.append(batch, done)
}

// AppendAwait is Append, and waits.
func (r *Replica) AppendAwait(batch []byte) error {
	told := make(awaited, 1)
	r.Append(batch, nil, told)
	return <-told
}

// awaited is a Completion that one goroutine waits for.
type awaited chan error

// Appended implements partition.Completion.
func (a awaited) Appended(_ int64, err error) { a <- err }

// hasLeader reports whether a leader is known.
func (r *Replica) hasLeader() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.Leader != 0 && (r.status.Leader != r.cfg.Disk.ID || r.status.Leading)
}

// deliver brings a batch to the leader.
func (r *Replica) deliver(batch []byte, done func(Result)) {
	r.mu.Lock()
	s := r.status
	r.mu.Unlock()
	switch {
	case s.Leader == r.cfg.Disk.ID:
		r.part.Load().Append(batch, nil, completion(done))
	case s.Leader == 0:
		done(Result{-1, fault.At(fault.NotLeader, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1)})
	default:
		r.node.link(s.Leader.Node()).append(r.group, batch, done)
	}
}

// completion is a Completion that calls a function.
type completion func(Result)

// Appended implements partition.Completion.
func (c completion) Appended(base int64, err error) { c(Result{base, err}) }

// AppendWaits returns true: an append waits for other nodes.
func (r *Replica) AppendWaits() bool { return true }

// Replicas returns how many voters the group has.
func (r *Replica) Replicas() int { return len(r.Status().Members.Voters) }

// The rest is the copy's: what this node has of the log, up to the high watermark that
// it knows of.

// Err returns why the copy takes no more records, or nil.
func (r *Replica) Err() error { return r.Partition().Err() }

// Check returns what is wrong with a batch.
func (r *Replica) Check(batch []byte) error { return r.Partition().Check(batch) }

// HighWatermark returns the offset after the last record that this node can read.
func (r *Replica) HighWatermark() int64 { return r.Partition().HighWatermark() }

// Read reads the copy.
func (r *Replica) Read(offset int64, max int, buf []byte) (partition.Slice, error) {
	return r.Partition().Read(offset, max, buf)
}

// Wait waits for records in the copy.
func (r *Replica) Wait(offset int64, w partition.Waker) bool { return r.Partition().Wait(offset, w) }

// CancelWait ends Wait.
func (r *Replica) CancelWait(w partition.Waker) { r.Partition().CancelWait(w) }

// Scan calls fn for every record of the copy.
func (r *Replica) Scan(fn func(*record.Record) error) error { return r.Partition().Scan(fn) }
