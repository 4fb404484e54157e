// Package pipeline processes records exactly once in three stages, in tests that break what it
// runs on.
//
// Each [Pipeline] has four topics. The members of a stage's group read one, and write what
// they have read to the next one, in transactions of which their offsets are a part. Members
// join and leave all the time; some leave their transaction open. Each record is a key with
// the key's next number, so at the end it shows what is lost, twice or out of order.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// stages is how many there are. Stage n reads topic n and writes topic n+1.
const stages = 3

// Backend is what a pipeline runs on.
type Backend interface {
	topic.Admin
	producer.Backend
	producer.Admin
	consumer.Backend
	consumer.Admin
}

// Pipeline says how much work there is, and who does it.
type Pipeline struct {
	Partitions [stages + 1]int  // of the topics, the last one included
	Replicas   int              // of each partition
	Keys       int              // of which each has as many records
	Records    int              // of the input
	Batch      int              // the most records of one transaction
	Members    int              // of each stage, at a time
	First      int              // the number of the first one: members of several processes have each their own
	Life       time.Duration    // how long a member stays, at least a tenth of it
	Session    time.Duration    // of the members; 0: the default
	Excused    func(error) bool // of an error that ends a member: the next one goes on; nil: none is
}

// Topic returns the name of a topic.
func Topic(n int) string { return fmt.Sprint("stage-", n) }

func group(stage int) string { return fmt.Sprint("group-", stage) }

func transactionalID(stage, member int) string { return fmt.Sprintf("stage-%d-%d", stage, member) }

func (l *Pipeline) partitions(n int) (all []record.TopicPartition) {
	for p := range l.Partitions[n] {
		all = append(all, record.TopicPartition{Topic: Topic(n), Partition: int32(p)})
	}
	return all
}

// Create creates the topics that are not there.
func (l *Pipeline) Create(ctx context.Context, b Backend) error {
	for n, partitions := range l.Partitions {
		_, err := topic.Ensure(ctx, b, topic.Spec{Name: Topic(n), Partitions: partitions, Replicas: l.Replicas})
		if err != nil {
			return err
		}
	}
	return nil
}

// Load writes the input's first records, in transactions of a batch each. What an earlier call has
// written, in an earlier process too, it does not write again.
func (l *Pipeline) Load(ctx context.Context, b Backend, until int) error {
	p, err := producer.New(b, producer.TransactionalID("input"))
	if err != nil {
		return err
	}
	defer p.Close()
	there := 0
	if err := l.read(ctx, b, 0, func(*record.Record) error { there++; return nil }); err != nil {
		return err
	}
	for until = min(until, l.Records); there < until; {
		next := min(until, there+l.Batch)
		err := producer.Transact(ctx, p, func(tx *producer.Tx) error {
			for i := there; i < next; i++ {
				key, number := strconv.Itoa(i%l.Keys), strconv.Itoa(i/l.Keys)
				tx.SendAsync(ctx, record.Record{Topic: Topic(0), Key: []byte(key), Value: []byte(number)}, nil)
			}
			return nil
		})
		if err != nil {
			return err
		}
		there = next
	}
	return nil
}

// Run has members work on all stages until ctx ends, and returns the first error that is not
// excused. Each of them runs on what where returns, which is called at the beginning of each life;
// nil: there is nothing to run on yet.
func (l *Pipeline) Run(ctx context.Context, seed uint64, where func() Backend) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var members sync.WaitGroup
	for stage := range stages {
		for n := l.First; n < l.First+l.Members; n++ {
			random := rand.New(rand.NewPCG(seed, uint64(stages*n+stage)))
			members.Go(func() {
				for ctx.Err() == nil {
					life, end := context.WithTimeout(ctx, l.Life/10+time.Duration(random.Int64N(int64(l.Life))))
					err := l.live(life, where(), stage, n, random.IntN(2) == 0)
					if err != nil {
						if !l.excused(err) {
							cancel(fmt.Errorf("stage %d, member %d: %w", stage, n, err))
						}
						<-life.Done() // instead of trying again at once
					}
					end()
				}
			})
		}
	}
	members.Wait()
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return nil
	}
	return cause
}

func (l *Pipeline) excused(err error) bool {
	return errors.Is(err, errNowhere) || l.Excused != nil && l.Excused(err)
}

var errNowhere = errors.New("nothing to run on")

// live is one life of a member. A sudden one leaves its transaction open.
func (l *Pipeline) live(ctx context.Context, b Backend, stage, n int, sudden bool) error {
	if b == nil {
		return errNowhere
	}
	p, err := producer.New(b, producer.TransactionalID(transactionalID(stage, n)))
	if err != nil {
		return err
	}
	defer func() {
		if sudden {
			_ = p.CloseNow()
		} else {
			_ = p.Close()
		}
	}()
	opts := []consumer.Option{
		consumer.Group(group(stage)), consumer.Topics(Topic(stage)), consumer.ReadCommitted(), consumer.ManualCommit(), consumer.MaxRecords(l.Batch),
	}
	if l.Session > 0 {
		opts = append(opts, consumer.SessionTimeout(l.Session))
	}
	c, err := consumer.New(b, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	return producer.Transform(ctx, p, c, func(tx *producer.Tx, records []record.Record) error {
		for _, r := range records {
			tx.SendAsync(ctx, record.Record{Topic: Topic(stage + 1), Key: r.Key, Value: r.Value}, nil)
		}
		return ctx.Err()
	})
}

// Closed excuses members whose broker was closed.
func Closed(err error) bool { return errors.Is(err, fault.Closed) }
