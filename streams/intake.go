package streams

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// queueRecords is how many records of one partition may wait for those of others.
// Kafka's buffered.records.per.partition.
const queueRecords = fetchRecords

// line gives each partition of the task a queue, if there are several.
func (a *assigned) line(p *plan) {
	if len(a.partitions) < 2 {
		return
	}
	sources := p.subs[a.id.SubTopology].sources
	for _, tp := range a.partitions {
		if a.queue(tp) == nil {
			place := slices.IndexFunc(sources, func(n *node) bool { return p.topicOf(n) == tp.Topic })
			a.add(&queue{tp: tp, source: a.sources[tp.Topic], place: place})
		}
	}
}

// enqueue keeps what was fetched until its turn comes.
func (t *thread) enqueue(q *queue, f consumer.Fetched) error {
	if !q.push(f) {
		t.in.Release(f.Lease)
		if q.records == 0 {
			t.processed(q.tp, consumer.Offset{Offset: f.Next, LeaderEpoch: f.LeaderEpoch})
		}
		return nil
	}
	t.records = nil // the queue has them
	if n := len(t.spare); n > 0 {
		t.records, t.spare = t.spare[n-1], t.spare[:n-1]
	}
	if q.records < queueRecords || q.full {
		return nil
	}
	q.full = true
	return t.in.Pause(q.tp)
}

// full reports whether a partition is paused because its queue is full.
func (t *thread) full(tp record.TopicPartition) bool {
	at, ok := t.tasks[t.app.plan.taskOf(tp)]
	if !ok {
		return false
	}
	q := at.queue(tp)
	return q != nil && q.full
}

// advance processes what a task's queues hold, as far as it is known what comes next.
func (t *thread) advance(at *assigned) error {
	for at.ready() {
		q, records := at.next()
		if err := at.process(q.tp.Topic, records); err != nil {
			return err
		}
		next, done := q.pop(len(records))
		t.processed(q.tp, next)
		if done != nil {
			t.in.Release(done.Lease)
			t.spare = append(t.spare, done.buf[:0])
		}
		if err := t.shorter(q); err != nil {
			return err
		}
	}
	return nil
}

// shorter lets a partition be fetched again whose queue is no longer full.
func (t *thread) shorter(q *queue) error {
	if !q.full || q.records >= queueRecords {
		return nil
	}
	q.full = false
	if t.paused && slices.Contains(t.outer, q.tp) {
		return nil // until resume
	}
	return t.in.Resume(q.tp)
}

// releaseDropped releases what was fetched from partitions that were taken away.
func (t *thread) releaseDropped() {
	for _, lease := range t.leases {
		t.in.Release(lease)
	}
	t.leases = t.leases[:0]
}

// settle is called when nothing can be fetched. Tasks that hold records find out
// whether the partitions for which they wait have any, and go on if not. settle
// returns how long to wait for records until it must be called again: 0 if
// something was processed.
func (t *thread) settle(ctx context.Context) (patience time.Duration, err error) {
	patience = t.untilPunctuation()
	for _, at := range t.tasks {
		if !at.holds() {
			continue
		}
		if err := t.findEnds(ctx, at); err != nil {
			if fault.Retriable(err) {
				patience = min(patience, retryCommit)
				continue
			}
			return 0, err
		}
		if !at.ready() {
			patience = min(patience, max(at.patience(), time.Nanosecond))
			continue
		}
		if err := t.advance(at); err != nil {
			return 0, err
		}
		patience = 0
	}
	return patience, nil
}

// punctuate makes the calls that are due by the wall clock, and makes a commit due if
// a processor asked for one.
func (t *thread) punctuate() error {
	for _, at := range t.tasks {
		if at.due[WallClock] != math.MaxInt64 && at.due[WallClock] <= time.Now().UnixMilli() {
			if err := at.punctuateByWallClock(); err != nil {
				return err
			}
			t.toCommit()
		}
		if at.urgent {
			at.urgent = false
			t.commitAt = time.Now()
		}
	}
	return nil
}

// untilPunctuation returns how long it is until the next call by the wall clock.
func (t *thread) untilPunctuation() time.Duration {
	wait := consumer.UntilDone
	for _, at := range t.tasks {
		if due := at.due[WallClock]; due != math.MaxInt64 {
			wait = min(wait, max(time.Until(time.UnixMilli(due)), time.Nanosecond))
		}
	}
	return wait
}

// findEnds asks for the ends of the partitions whose queues are empty.
func (t *thread) findEnds(ctx context.Context, at *assigned) error {
	var unsure []record.TopicPartition
	for _, q := range at.queues {
		if q.records == 0 && !q.atEnd && at.wait >= 0 {
			unsure = append(unsure, q.tp)
		}
	}
	if len(unsure) == 0 {
		return nil
	}
	ends, err := t.in.Offsets(ctx, topic.Latest(), unsure...)
	if err != nil {
		return err
	}
	for _, tp := range unsure {
		position, err := t.in.Position(ctx, tp)
		if err != nil {
			return err
		}
		at.queue(tp).atEnd = position >= ends[tp]
	}
	return nil
}
