package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// count counts the records of a topic: of each key the numbers from 0 on, in order.
type count struct {
	next []int
	all  int
}

func (l *Pipeline) count() *count { return &count{next: make([]int, l.Keys)} }

func (c *count) add(r *record.Record) error {
	key, err := strconv.Atoi(string(r.Key))
	if err != nil || key < 0 || key >= len(c.next) {
		return fmt.Errorf("%v: a record of no key: %q", r.Position(), r.Key)
	}
	if want := strconv.Itoa(c.next[key]); want != string(r.Value) {
		return fmt.Errorf("%v: of key %d the next number is %s, and not %s", r.Position(), key, want, r.Value)
	}
	c.next[key]++
	c.all++
	return nil
}

// Await reads the last topic until all of the input is there, each record once and in order.
func (l *Pipeline) Await(ctx context.Context, b Backend) error {
	c, err := consumer.New(b, consumer.Assign(l.partitions(stages)...), consumer.ReadCommitted())
	if err != nil {
		return err
	}
	defer c.Close()
	for n := l.count(); n.all < l.Records; {
		records, err := c.Poll(ctx)
		if err != nil {
			return fmt.Errorf("%d of %d records are there: %w", n.all, l.Records, err)
		}
		for i := range records {
			if err := n.add(&records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// read reads what is committed of a topic, up to its end as of now.
func (l *Pipeline) read(ctx context.Context, b Backend, n int, each func(*record.Record) error) error {
	all := l.partitions(n)
	c, err := consumer.New(b, consumer.Assign(all...), consumer.ReadCommitted())
	if err != nil {
		return err
	}
	defer c.Close()
	ends, err := c.Offsets(ctx, topic.Latest(), all...)
	if err != nil {
		return err
	}
	for _, tp := range all {
		for {
			at, err := c.Position(ctx, tp)
			if err != nil {
				return err
			}
			if at >= ends[tp] {
				break
			}
			records, err := c.Poll(ctx)
			if err != nil {
				return err
			}
			for i := range records {
				if err := each(&records[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Check checks what is there when no member is at work: each topic has each record of the
// input once, in the order of its key; each group is at the end of what it reads; and no
// transaction is open, once the producers' successors have aborted what they left.
func (l *Pipeline) Check(ctx context.Context, b Backend) error {
	if err := l.settle(ctx, b); err != nil {
		return err
	}
	for n := range l.Partitions {
		count, ends := l.count(), map[record.TopicPartition]int64{}
		err := l.read(ctx, b, n, func(r *record.Record) error {
			ends[record.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = r.Offset + 1
			return count.add(r)
		})
		if err != nil {
			return err
		}
		if count.all != l.Records {
			return fmt.Errorf("%s has %d of %d records", Topic(n), count.all, l.Records)
		}
		if err := l.nothingOpen(ctx, b, n); err != nil {
			return err
		}
		if n == stages {
			break
		}
		done, err := b.GroupOffsets(ctx, group(n))
		if err != nil {
			return err
		}
		for tp, end := range ends {
			if done[tp].Offset < end {
				return fmt.Errorf("%s has committed %d of %v, which ends at %d", group(n), done[tp].Offset, tp, end)
			}
		}
	}
	return nil
}

// settle opens each transactional producer once more, which aborts what its predecessor
// left open.
func (l *Pipeline) settle(ctx context.Context, b Backend) error {
	for stage := range stages {
		for n := l.First; n < l.First+l.Members; n++ {
			p, err := producer.New(b, producer.TransactionalID(transactionalID(stage, n)))
			if err != nil {
				return err
			}
			if err := p.Begin(ctx); err != nil {
				return err
			}
			if err := p.Abort(ctx); err != nil {
				return err
			}
			if err := p.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// nothingOpen checks that no transaction is open in a topic.
func (l *Pipeline) nothingOpen(ctx context.Context, b Backend, n int) error {
	known, err := b.DescribeProducers(ctx, l.partitions(n)...)
	if err != nil {
		return err
	}
	for tp, states := range known {
		for _, s := range states {
			if s.TransactionStart >= 0 {
				return fmt.Errorf("%v: a transaction of producer %d is open from %d on", tp, s.ProducerID, s.TransactionStart)
			}
		}
	}
	return nil
}

// Commit is what a group has committed of a partition.
type Commit struct {
	Group string
	record.TopicPartition
	Offset int64
}

// Committed returns what the groups have committed of the partitions that they read; 0 where that is
// nothing.
func (l *Pipeline) Committed(ctx context.Context, b Backend) (all []Commit, err error) {
	for stage := range stages {
		done, err := b.GroupOffsets(ctx, group(stage))
		if err != nil && !errors.Is(err, fault.GroupNotFound) {
			return nil, err
		}
		for _, tp := range l.partitions(stage) {
			all = append(all, Commit{group(stage), tp, done[tp].Offset})
		}
	}
	return all, nil
}

// Offsets are the greatest that groups were seen to have committed.
type Offsets struct {
	mu   sync.Mutex
	seen map[string]map[record.TopicPartition]int64 // of groups
}

// Seen takes down commits, and returns an error if one is less than was seen before.
func (o *Offsets) Seen(commits []Commit) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[string]map[record.TopicPartition]int64{}
	}
	for _, c := range commits {
		if o.seen[c.Group] == nil {
			o.seen[c.Group] = map[record.TopicPartition]int64{}
		}
		if last := o.seen[c.Group][c.TopicPartition]; c.Offset < last {
			return fmt.Errorf("%s has committed %d of %v, after it had committed %d", c.Group, c.Offset, c.TopicPartition, last)
		}
		o.seen[c.Group][c.TopicPartition] = c.Offset
	}
	return nil
}
