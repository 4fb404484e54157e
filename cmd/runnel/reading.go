package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// commitEvery is how often the offsets of printed records are committed.
const commitEvery = 5 * time.Second

// reading is one run of consume. It continues on another backend where it
// stopped.
type reading struct {
	*shell
	*consumeFlags
	names []string
	from  topic.OffsetSpec

	c          *consumer.Consumer
	partitions []record.TopicPartition
	ends       map[record.TopicPartition]int64           // the ends of partitions when the command started
	next       map[record.TopicPartition]consumer.Offset // the offsets after the records that were printed
	left       map[record.TopicPartition]bool            // partitions of which records were fetched but not printed
	committed  map[record.TopicPartition]consumer.Offset // the part of next that the group has committed
	due        time.Time                                 // when to commit the rest of next; zero if everything is committed
	n          counter                                   // records printed
	wake       context.CancelFunc                        // ends the current Poll
}

func newReading(s *shell, f *consumeFlags, names []string, from topic.OffsetSpec) *reading {
	return &reading{
		shell: s, consumeFlags: f, names: names, from: from, wake: func() {},
		left: map[record.TopicPartition]bool{},
		next: map[record.TopicPartition]consumer.Offset{}, committed: map[record.TopicPartition]consumer.Offset{},
	}
}

// consume prints records until there are no more, or the limit is reached.
func (r *reading) consume(ctx context.Context, b backend) error {
	described, err := r.describe(ctx, b, r.names)
	if err != nil {
		return err
	}
	if r.partitions, err = r.choose(described); err != nil {
		return err
	}
	if err := r.open(b); err != nil {
		return err
	}
	defer r.c.Close()
	if r.ends == nil {
		if r.ends, err = r.c.Offsets(ctx, topic.Latest(), r.partitions...); err != nil {
			return err
		}
	}
	if err := r.place(ctx); err != nil {
		return err
	}
	err = r.run(ctx)
	return errors.Join(err, r.commit(context.WithoutCancel(ctx)))
}

// open opens the consumer, which does not commit by itself.
func (r *reading) open(b backend) (err error) {
	opts := []consumer.Option{consumer.ClientID("runnel"), consumer.ManualCommit()}
	if r.isolation == readCommitted {
		opts = append(opts, consumer.ReadCommitted())
	}
	switch at, byTime := r.from.Time(); {
	case byTime:
		opts = append(opts, consumer.FromTime(at))
	case r.from.IsLatest():
		opts = append(opts, consumer.FromEnd())
	default:
		if offset, ok := r.from.Offset(); ok {
			opts = append(opts, consumer.FromOffset(offset))
		}
	}
	if r.group == "" {
		opts = append(opts, consumer.Assign(r.partitions...))
	} else {
		opts = append(opts, consumer.Group(r.group), consumer.Topics(r.names...),
			consumer.OnAssigned(func([]record.TopicPartition) { r.wake() }),
			consumer.OnRevoked(func([]record.TopicPartition) { _ = r.commit(context.Background()) })) // errors are ignored: the last commit tries again
	}
	r.c, err = consumer.New(b, opts...)
	return err
}

// place moves the consumer to where it was on another backend. On the first
// backend it records the start, because "the end" would be a different position
// later. (A group has its offsets.)
func (r *reading) place(ctx context.Context) error {
	if r.group != "" {
		return nil
	}
	for _, tp := range r.partitions {
		if at, ok := r.next[tp]; ok {
			if err := r.c.Seek(ctx, tp, at.Offset); err != nil {
				return err
			}
			continue
		}
		at, err := r.c.Position(ctx, tp)
		if err != nil {
			return err
		}
		r.next[tp] = consumer.Offset{Offset: at, LeaderEpoch: -1}
	}
	return nil
}

func (r *reading) run(ctx context.Context) error {
	for r.count == 0 || r.n < r.count {
		if !r.follow {
			if more, err := r.more(ctx); err != nil || !more {
				return err
			}
		}
		batch, err := r.poll(ctx)
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.OffsetOutOfRange {
			fmt.Fprintln(r.errs, "runnel:", err)
			delete(r.next, record.TopicPartition{Topic: f.Topic, Partition: f.Partition}) // it continues at another offset
			continue
		}
		if err != nil {
			return err
		}
		for _, rec := range batch {
			if err := r.take(rec); err != nil {
				return err
			}
		}
		if !r.due.IsZero() && !time.Now().Before(r.due) {
			if err := r.commit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// take prints a record, unless it was written after the command started, is
// beyond the limit, or was already printed on another backend.
func (r *reading) take(rec record.Record) error {
	tp := tpOf(rec)
	at, known := r.next[tp]
	switch {
	case !r.follow && rec.Offset >= r.ends[tp], r.count > 0 && r.n == r.count:
		r.left[tp] = true
		if !known { // where a member of the group continues
			r.next[tp] = consumer.Offset{Offset: rec.Offset, LeaderEpoch: rec.LeaderEpoch}
		}
		return nil
	case r.again && r.group != "" && known && rec.Offset < at.Offset:
		return nil
	}
	if err := r.show(rec, r.verbose, decoders[r.value]); err != nil {
		return err
	}
	r.n++
	r.next[tp] = consumer.Offset{Offset: rec.Offset + 1, LeaderEpoch: rec.LeaderEpoch}
	if r.group != "" && r.due.IsZero() {
		r.due = time.Now().Add(commitEvery)
	}
	return nil
}

// commit commits the group's progress in the partitions that this member owns:
// the offset after the last printed record, or the start, even without records.
func (r *reading) commit(ctx context.Context) error {
	r.due = time.Time{}
	if r.group == "" {
		return nil
	}
	offsets := map[record.TopicPartition]consumer.Offset{}
	for _, tp := range r.c.Assignment() {
		at, known := r.next[tp]
		if !r.left[tp] { // offsets after the last printed record may hold no records
			position, err := r.c.Position(ctx, tp)
			switch {
			case err != nil && !known:
				continue // it was taken away, or nothing of it can be read
			case !known:
				at = consumer.Offset{Offset: position, LeaderEpoch: -1}
			case err == nil:
				at.Offset = max(at.Offset, position)
			}
		}
		if r.committed[tp] != at {
			offsets[tp] = at
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := r.c.CommitOffsets(ctx, offsets); err != nil {
		return err
	}
	for tp, at := range offsets {
		r.committed[tp] = at
	}
	return nil
}

// poll is the consumer's Poll. It also returns when partitions were assigned,
// since there may be nothing to wait for in them, and when a commit is due.
func (r *reading) poll(ctx context.Context) ([]record.Record, error) {
	waiting, cancel := context.WithCancel(ctx)
	if !r.due.IsZero() {
		waiting, cancel = context.WithDeadline(ctx, r.due)
	}
	defer cancel()
	r.wake = cancel
	batch, err := r.c.Poll(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && !errors.Is(err, fault.Closed) {
		return nil, nil
	}
	return batch, err
}

func tpOf(r record.Record) record.TopicPartition {
	return record.TopicPartition{Topic: r.Topic, Partition: r.Partition}
}

// choose returns the partitions to read.
func (f *consumeFlags) choose(described []topic.Description) ([]record.TopicPartition, error) {
	var all []record.TopicPartition
	for _, d := range described {
		if len(f.partitions) == 0 {
			all = append(all, d.TopicPartitions()...)
			continue
		}
		chosen, err := f.partitions.of(d)
		if err != nil {
			return nil, err
		}
		all = append(all, chosen...)
	}
	return all, nil
}

// more reports whether an assigned partition has records before the end that it
// had when the command started. A member of a group waits until it is assigned
// partitions.
func (r *reading) more(ctx context.Context) (bool, error) {
	owned := r.c.Assignment()
	if len(owned) == 0 {
		return r.group != "", nil
	}
	for _, tp := range owned {
		position, err := r.c.Position(ctx, tp)
		if err != nil && !errors.Is(err, fault.NotAssigned) {
			return false, err
		}
		if err == nil && position < r.ends[tp] {
			return true, nil
		}
	}
	return false, nil
}
