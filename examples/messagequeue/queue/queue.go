// Package queue is a work queue: jobs in a topic, and workers that share them.
//
// All workers are members of one group, so each job goes to one of them. A
// worker commits a job only after its outcome is stored: the jobs of a worker
// that dies go to the others, and none is lost. A job may be done twice, which
// is why outcomes are distinguished by their job.
//
// A job that fails goes to the end of the queue with its number of attempts,
// and after MaxAttempts to the dead letters, where a person can look at it.
package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// MaxAttempts is how often a job is tried.
const MaxAttempts = 3

// Group is the workers' group.
const Group = "messagequeue-workers"

// Job is a unit of work.
type Job struct {
	Name     string `json:"name"`
	Attempts int    `json:"attempts"` // so far
}

// Outcome is the outcome of a job: a result, or why it was given up.
type Outcome struct {
	Job    Job    `json:"job"`
	Worker string `json:"worker"`
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Every message has its job's name as key.
var (
	jobs        = serde.For("messagequeue-jobs", serde.String, serde.JSON[Job]())
	results     = serde.For("messagequeue-results", serde.String, serde.JSON[Outcome]())
	deadLetters = serde.For("messagequeue-dead-letters", serde.String, serde.JSON[Outcome]())
)

// Backend is what a queue runs on: a broker in this process, or a Kafka cluster.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}

// Create creates those of the queue's topics that are missing. At most
// partitions workers can work at once. If the queue exists with fewer
// partitions, more are added.
func Create(ctx context.Context, backend Backend, partitions int) error {
	_, err := topic.Ensure(ctx, backend,
		topic.Spec{Name: jobs.Name, Partitions: partitions},
		topic.Spec{Name: results.Name}, topic.Spec{Name: deadLetters.Name})
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

// Work passes jobs from the queue to do, one after the other, until ctx ends.
func Work(ctx context.Context, backend Backend, worker string, do func(ctx context.Context, name string) (string, error)) error {
	c, err := consumer.New(backend, consumer.Group(Group), consumer.Topics(jobs.Name),
		consumer.ClientID(worker), consumer.ManualCommit())
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := producer.New(backend)
	if err != nil {
		return err
	}
	defer p.Close()
	for r, err := range consumer.Of(c, jobs).Records(ctx) {
		if err != nil {
			return err
		}
		result, err := do(ctx, r.Value.Name)
		if ctx.Err() != nil {
			return nil // the job was not done, and goes to another worker
		}
		if err := settle(ctx, p, worker, r.Value, result, err); err != nil {
			return err
		}
		err = c.Commit(ctx)
		if errors.Is(err, fault.UnknownMember) || errors.Is(err, fault.StaleMemberEpoch) {
			continue // the job has gone to another worker, which does it again
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// settle stores the outcome of a job.
func settle(ctx context.Context, p *producer.Producer, worker string, job Job, result string, failure error) error {
	job.Attempts++
	outcome := Outcome{Job: job, Worker: worker, Result: result}
	var err error
	switch {
	case failure == nil:
		_, err = producer.To(p, results).Send(ctx, job.Name, outcome)
	case job.Attempts < MaxAttempts:
		_, err = producer.To(p, jobs).Send(ctx, job.Name, job)
	default:
		outcome.Error = failure.Error()
		_, err = producer.To(p, deadLetters).Send(ctx, job.Name, outcome)
	}
	if err != nil && ctx.Err() != nil {
		return nil // stopped; the job is not committed
	}
	return err
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
	topics, err := backend.DescribeTopics(ctx, results.Name, deadLetters.Name)
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
		outcome, err := results.Value.Decode(r.Value) // both topics have the same serde
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
