package streams

import (
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// inputs holds what a task that reads several partitions has fetched and not yet
// processed, and chooses its next record: the one with the smallest timestamp. The
// order within a partition is that of its offsets.
//
// An empty queue makes the choice uncertain: its partition may have an earlier
// record that has not been fetched. So the task waits until each empty queue is
// known to be at its partition's end. Then one that replays topics gets the same
// order as one that read them while they were written (KIP-695).
type inputs struct {
	queues []*queue // in the order in which the topology declares the topics
	wait   time.Duration
	idle   time.Time // when the task began to wait although no partition has unread records; zero: it does not
}

// queue is one partition's part of inputs.
type queue struct {
	tp      record.TopicPartition
	source  source
	place   int // of the topic in the topology: of equal timestamps, that of the lower place goes first
	batches []fetched
	records int   // in batches, each of which has some
	head    int64 // the timestamp of the next record
	atEnd   bool  // the partition had no records behind those in the queue when this was last found out
	full    bool  // the partition is paused until the queue is shorter
}

// fetched is what one Fetch returned, without the records that were processed.
type fetched struct {
	consumer.Fetched
	buf []record.Record // the memory of all its records
}

// queue returns the queue of a partition.
func (in *inputs) queue(tp record.TopicPartition) *queue {
	for _, q := range in.queues {
		if q.tp == tp {
			return q
		}
	}
	return nil
}

// add begins the queue of a partition.
func (in *inputs) add(q *queue) {
	in.queues = append(in.queues, q)
	slices.SortStableFunc(in.queues, func(a, b *queue) int { return a.place - b.place })
}

// remove ends the queue of a partition, and returns what it held.
func (in *inputs) remove(tp record.TopicPartition) []fetched {
	q := in.queue(tp)
	if q == nil {
		return nil
	}
	in.queues = slices.DeleteFunc(in.queues, func(other *queue) bool { return other == q })
	return q.batches
}

// push appends what was fetched from the queue's partition. It reports whether the
// queue holds the records now: f may have none, only a position that moved.
func (q *queue) push(f consumer.Fetched) bool {
	q.atEnd = f.Next >= f.HighWatermark
	if len(f.Records) > 0 {
		q.batches = append(q.batches, fetched{f, f.Records})
		if q.records += len(f.Records); q.records == len(f.Records) {
			q.look()
		}
		return true
	}
	if q.records > 0 {
		last := &q.batches[len(q.batches)-1]
		last.Next, last.LeaderEpoch = f.Next, f.LeaderEpoch
	}
	return false
}

// look finds the timestamp of the next record.
func (q *queue) look() { q.head = q.source.peek(&q.batches[0].Records[0]) }

// holds reports whether any record waits.
func (in *inputs) holds() bool {
	return slices.ContainsFunc(in.queues, func(q *queue) bool { return q.records > 0 })
}

// ready reports whether the next record is known: every queue has one, or its
// partition has none and has been waited for long enough.
func (in *inputs) ready() bool {
	empty := false
	for _, q := range in.queues {
		if q.records > 0 {
			continue
		}
		if !q.atEnd && in.wait >= 0 {
			return false
		}
		empty = true
	}
	if !empty || in.wait <= 0 {
		in.idle = time.Time{}
		return in.holds()
	}
	if !in.holds() {
		return false
	}
	if in.idle.IsZero() {
		in.idle = time.Now()
	}
	return time.Since(in.idle) >= in.wait
}

// patience returns how long a thread may wait for more records until the task goes
// on without them.
func (in *inputs) patience() time.Duration {
	if in.idle.IsZero() || !in.holds() {
		return consumer.UntilDone
	}
	return max(in.wait-time.Since(in.idle), 0)
}

// next returns the records to process next, which are from the start of one queue.
func (in *inputs) next() (from *queue, records []record.Record) {
	until, untilPlace := int64(math.MaxInt64), math.MaxInt
	for _, q := range in.queues {
		switch {
		case q.records == 0:
		case from == nil:
			from = q
		case q.head < from.head: // equal ones are in the order of their places
			from, until, untilPlace = q, from.head, from.place
		case q.head < until:
			until, untilPlace = q.head, q.place
		}
	}
	batch := from.batches[0].Records
	n := 1
	for n < len(batch) {
		ms := from.source.peek(&batch[n])
		if ms > until || ms == until && from.place > untilPlace {
			break
		}
		n++
	}
	return from, batch[:n]
}

// pop removes n records from the start of the queue, and returns the offset that
// follows them. If they were the last of one Fetch, done is what it returned.
func (q *queue) pop(n int) (next consumer.Offset, done *fetched) {
	first := q.batches[0]
	first.Records = first.Records[n:]
	q.records -= n
	if len(first.Records) > 0 {
		q.batches[0].Records = first.Records
		next = consumer.Offset{Offset: first.Records[0].Offset, LeaderEpoch: -1}
	} else {
		q.batches = slices.Delete(q.batches, 0, 1)
		next, done = consumer.Offset{Offset: first.Next, LeaderEpoch: first.LeaderEpoch}, &first
	}
	if q.records > 0 {
		q.look()
	}
	return next, done
}
