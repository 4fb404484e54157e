// Package reminder is a service that reminds customers of unpaid orders. Its
// tests show how to test a service with a broker in memory: in microseconds,
// with virtual time, and across a restart.
package reminder

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// Status is what has happened to an order.
type Status string

// The statuses that the service knows; it skips others.
const (
	Placed Status = "placed"
	Paid   Status = "paid"
)

// The topics: the service reads orders, with their numbers as keys, and writes
// the numbers of those that need a reminder.
var (
	Orders    = serde.For("orders", serde.String, serde.Func(encode, decode))
	Reminders = serde.For("reminders", serde.String, serde.String)
)

func encode(dst []byte, s Status) ([]byte, error) { return append(dst, s...), nil }
func decode(src []byte) (Status, error)           { return Status(src), nil }

// Backend is what the service runs on.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}

// Service sends reminders for orders that are unpaid for too long.
type Service struct {
	after    time.Duration
	consumer *consumer.Consumer
	producer *producer.Producer

	unpaid   map[string]time.Time // when they were placed
	reminded map[string]bool
}

// CreateTopics creates those of the service's topics that are missing.
func CreateTopics(ctx context.Context, admin topic.Admin) error {
	_, err := topic.Ensure(ctx, admin, topic.Spec{Name: Orders.Name}, topic.Spec{Name: Reminders.Name})
	return err
}

// Run sends one reminder for each order that is not paid within after, until
// ctx ends. Its only state is in the topics, so it may be stopped at any moment
// and run again.
func Run(ctx context.Context, backend Backend, after time.Duration) (err error) {
	if err := CreateTopics(ctx, backend); err != nil {
		return err
	}
	s := &Service{after: after, unpaid: map[string]time.Time{}, reminded: map[string]bool{}}
	if s.producer, err = producer.New(backend); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.producer.Close()) }()
	s.consumer, err = consumer.New(backend, consumer.Assign(
		record.TopicPartition{Topic: Orders.Name}, record.TopicPartition{Topic: Reminders.Name}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.consumer.Close()) }()
	for ctx.Err() == nil {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step processes new statuses, or sends a reminder if there are none and one is
// due.
func (s *Service) step(ctx context.Context) error {
	number, due := s.next()
	wait := ctx
	if number != "" {
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, due)
		defer cancel()
	}
	records, err := s.consumer.Poll(wait)
	for _, r := range records {
		s.note(r)
	}
	if !errors.Is(err, context.DeadlineExceeded) || number == "" {
		return err
	}
	if _, err := producer.To(s.producer, Reminders).SendValue(ctx, number); err != nil {
		return err
	}
	s.reminded[number] = true
	return nil
}

func (s *Service) note(r record.Record) {
	if r.Topic == Reminders.Name {
		s.reminded[string(r.Value)] = true
		return
	}
	switch number := string(r.Key); Status(r.Value) {
	case Placed:
		s.unpaid[number] = r.Timestamp
	case Paid:
		delete(s.unpaid, number)
	}
}

// next returns the order that needs the next reminder, and when; the number is
// empty if there is none.
func (s *Service) next() (number string, due time.Time) {
	for n, placed := range s.unpaid {
		at := placed.Add(s.after)
		if !s.reminded[n] && (number == "" || at.Before(due) || at.Equal(due) && n < number) {
			number, due = n, at
		}
	}
	return number, due
}
