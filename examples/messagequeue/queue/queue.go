// Package queue is a work queue: jobs in a topic, and workers that share them.
//
// All workers are members of one share group, so each job is locked for one of them,
// and there may be more workers than partitions. A job is done only after its outcome
// is stored: the jobs of a worker that dies go to the others, and none is lost. A job
// may be done twice, which is why outcomes are distinguished by their job.
//
// A job that fails is tried again after a pause, in which its worker does other
// jobs. After MaxAttempts it goes to the dead letters, where a person can look at
// it. A job may be enqueued for later.
//
// Where the backend has no share groups, the workers are members of a consumer group.
// It shares partitions instead of jobs, so at most as many workers as partitions have
// something to do, and a job for later is done at once.
package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// MaxAttempts is how often a job is tried.
const MaxAttempts = 3

// Group is the workers' group, of either kind.
const Group = "messagequeue-workers"

// Job is a unit of work.
type Job struct {
	Name string `json:"name"`
}

// Outcome is the outcome of a job: a result, or why it was given up.
type Outcome struct {
	Job    Job    `json:"job"`
	Worker string `json:"worker"`
	Result string `json:"result,omitempty"`

	Error    string `json:"error,omitempty"`
	Attempts int    `json:"attempts,omitempty"` // of a job that was given up
}

// Every message has its job's name as key.
var (
	jobs    = serde.For("messagequeue-jobs", serde.String, serde.JSON[Job]())
	results = serde.For("messagequeue-results", serde.String, serde.JSON[Outcome]())
)

// deadLetters is the topic of jobs that were given up, whose headers say why.
const deadLetters = "messagequeue-dead-letters"

// Backend is what a queue runs on: a broker in this process, or a Kafka cluster. If it is
// a share.Backend, too, the workers share jobs.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}

// Create creates those of the queue's topics that are missing. If the queue exists
// with fewer partitions, more are added.
func Create(ctx context.Context, backend Backend, partitions int) error {
	_, err := topic.Ensure(ctx, backend,
		topic.Spec{Name: jobs.Name, Partitions: partitions},
		topic.Spec{Name: results.Name}, topic.Spec{Name: deadLetters})
	return err
}

// Enqueue appends jobs to the queue and returns how many there were. When it
// returns without an error, they are stored.
func Enqueue(ctx context.Context, backend Backend, names iter.Seq2[string, error]) (n int, err error) {
	p, err := producer.New(backend)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	in := producer.To(p, jobs)
	for name, err := range names {
		if err != nil {
			return n, err
		}
		in.SendAsync(ctx, name, Job{Name: name}, nil) // Flush returns the first failure
		n++
	}
	return n, p.Flush(ctx)
}

// EnqueueAt appends a job that is not to be done before a time. When it returns without
// an error, it is stored.
func EnqueueAt(ctx context.Context, backend Backend, name string, at time.Time) error {
	value, err := jobs.Value.Append(nil, Job{Name: name})
	if err != nil {
		return err
	}
	p, err := producer.New(backend)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = p.Send(ctx, record.Record{Topic: jobs.Name, Key: []byte(name), Value: value, Headers: []record.Header{producer.At(at)}})
	return err
}

// Work passes jobs from the queue to do, one after the other, until ctx ends. The
// job at hand is then finished.
func Work(ctx context.Context, backend Backend, worker string, do func(ctx context.Context, name string) (string, error)) error {
	p, err := producer.New(backend)
	if err != nil {
		return err
	}
	defer p.Close()
	handler := func(ctx context.Context, r consumer.Record[string, Job]) error {
		result, err := do(ctx, r.Value.Name)
		if err != nil {
			return err
		}
		_, err = producer.To(p, results).Send(ctx, r.Key, Outcome{Job: r.Value, Worker: worker, Result: result})
		return err
	}
	if sharing, ok := backend.(share.Backend); ok {
		err = workShare(ctx, sharing, p, consumer.Handle(jobs, handler))
		if !errors.Is(err, fault.UnsupportedVersion) {
			return err
		}
	}
	c, err := consumer.New(backend, consumer.Group(Group), consumer.Topics(jobs.Name), consumer.ClientID(worker))
	if err != nil {
		return err
	}
	defer c.Close()
	return consumer.Run(ctx, c, consumer.Handle(jobs, handler),
		consumer.Attempts(MaxAttempts), consumer.DeadLetters(p, deadLetters))
}

// workShare is Work in a share group.
func workShare(ctx context.Context, backend share.Backend, p *producer.Producer, handler consumer.Handler) error {
	c, err := share.New(backend, share.Group(Group), share.Topics(jobs.Name),
		share.Attempts(MaxAttempts), share.DeadLetters(p, deadLetters))
	if err != nil {
		return err
	}
	defer c.Close()
	return share.Run(ctx, c, handler)
}

// Outcomes waits for the outcomes of n different jobs and yields them as they
// arrive, each job once. When ctx ends it yields ctx's error.
func Outcomes(ctx context.Context, backend Backend, n int) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		if n == 0 {
			return
		}
		if err := read(ctx, backend, n, yield); err != nil {
			yield(Outcome{}, err)
		}
	}
}

func read(ctx context.Context, backend Backend, n int, yield func(Outcome, error) bool) error {
	topics, err := backend.DescribeTopics(ctx, results.Name, deadLetters)
	if err != nil {
		return err
	}
	var partitions []record.TopicPartition
	for _, d := range topics {
		partitions = append(partitions, d.TopicPartitions()...)
	}
	c, err := consumer.New(backend, consumer.Assign(partitions...))
	if err != nil {
		return err
	}
	defer c.Close()
	seen := make(map[string]bool, n)
	for r, err := range c.Records(ctx) {
		if err != nil {
			return err
		}
		outcome, err := outcomeOf(r)
		if err != nil {
			return fmt.Errorf("%v: %w", r.Position(), err)
		}
		if seen[outcome.Job.Name] {
			continue // done twice
		}
		seen[outcome.Job.Name] = true
		if !yield(outcome, nil) || len(seen) == n {
			return nil
		}
	}
	return ctx.Err()
}

// outcomeOf returns the outcome that a record of either topic stands for.
func outcomeOf(r record.Record) (outcome Outcome, err error) {
	if r.Topic == results.Name {
		return results.Value.Decode(r.Value)
	}
	header := func(key string) string {
		value, _ := r.Header(key)
		return string(value)
	}
	outcome.Error = header(consumer.HeaderMessage)
	if outcome.Attempts, err = strconv.Atoi(header(consumer.HeaderAttempts)); err != nil {
		return outcome, err
	}
	outcome.Job, err = jobs.Value.Decode(r.Value)
	return outcome, err
}
