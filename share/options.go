package share

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Defaults of the options. The first three are Kafka's.
const (
	DefaultLockTime = 30 * time.Second
	DefaultAttempts = 5
	DefaultLocks    = 2000
	DefaultPrefetch = 1
	DefaultMaxBytes = 1 << 20
)

// Option is one choice of New.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

// options is what New gathers before it checks everything at once.
type options struct {
	Config
	prefetch    int
	sender      Sender
	deadLetters string
	dead        bool
}

// Sender sends a record and waits until it is acknowledged. *producer.Producer is one.
type Sender interface {
	Send(ctx context.Context, r record.Record) (record.Position, error)
}

// Group names the share group. It is needed.
func Group(name string) Option { return option(func(o *options) { o.Group = name }) }

// Topics names the topics whose records the group shares. The consumer waits for a topic
// that does not exist yet, and picks up partitions that are added later.
func Topics(names ...string) Option {
	return option(func(o *options) { o.Topics = append(o.Topics, names...) })
}

// LockTime is how long a record is locked for the consumer that it was delivered to;
// DefaultLockTime. After that any member may get it. Kafka's
// group.share.record.lock.duration.ms.
func LockTime(d time.Duration) Option { return option(func(o *options) { o.LockTime = d }) }

// Attempts is how often a record is delivered before it is given up; DefaultAttempts. All
// members should agree. Kafka's group.share.delivery.count.limit.
func Attempts(n int) Option { return option(func(o *options) { o.Attempts = n }) }

// Locks is the most records of a partition that are acquired or wait for another attempt,
// of all members together; DefaultLocks. All members should agree. Kafka's
// group.share.partition.max.record.locks.
func Locks(n int) Option { return option(func(o *options) { o.Locks = n }) }

// Prefetch is how many records the consumer acquires at once, at least if there are so many;
// DefaultPrefetch. It is more where more goroutines wait in Receive. More than these need saves
// a durable step for each record, and is for records that take little time: other members do
// not get what is acquired ahead before half of its LockTime has passed without a Receive for it. Then
// it is given back, and the delivery does not count.
func Prefetch(n int) Option { return option(func(o *options) { o.prefetch = n }) }

// MaxBytes is about how many bytes of records the consumer acquires at once;
// DefaultMaxBytes. One record may be larger.
func MaxBytes(n int) Option { return option(func(o *options) { o.MaxBytes = n }) }

// From is where the group begins a partition that is new to it: at its first record, unless
// this says otherwise. topic.None is not allowed.
func From(spec topic.OffsetSpec) Option { return option(func(o *options) { o.Start = spec }) }

// ReadCommitted keeps the group from records of transactions that are open or were aborted.
// All members should agree. Kafka's share.isolation.level.
func ReadCommitted() Option { return option(func(o *options) { o.ReadCommitted = true }) }

// DeadLetters writes records that are given up to a topic, which must exist and is not one of
// the group's: records that were rejected, and those of which all Attempts are used up. A
// dead letter has the record's key, value, timestamp and headers, and the headers of
// consumer.HeaderTopic and those beside it. A record is given up once its dead letter is
// acknowledged; a crash in between may write a second one. The producer stays the
// program's.
//
// All members should have the same. A record whose attempts are used up while no member has
// a topic for dead letters is dropped.
func DeadLetters(p Sender, topicName string) Option {
	return option(func(o *options) { o.sender, o.deadLetters, o.dead = p, topicName, true })
}

// gather applies opts to the defaults and reports every invalid option.
func gather(opts []Option) (options, error) {
	o := options{
		Config:   Config{LockTime: DefaultLockTime, Attempts: DefaultAttempts, Locks: DefaultLocks, MaxBytes: DefaultMaxBytes, Start: topic.Earliest()},
		prefetch: DefaultPrefetch,
	}
	for _, opt := range opts {
		opt.apply(&o)
	}
	o.Spent = o.dead
	return o, o.check()
}

func (o *options) check() error {
	var errs []error
	invalid := func(format string, args ...any) {
		errs = append(errs, fault.Newf(fault.InvalidConfig, format, args...))
	}
	if o.Group == "" {
		errs = append(errs, fault.Newf(fault.InvalidGroup, "a share consumer without a group").Try("give New a share.Group(name)"))
	}
	if len(o.Topics) == 0 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "a share consumer without topics").Try("give New a share.Topics(names...)"))
	}
	for _, name := range o.Topics {
		if err := topic.ValidateName(name); err != nil {
			errs = append(errs, err)
		}
	}
	for _, option := range []struct {
		name string
		ok   bool
	}{
		{"LockTime", o.LockTime >= time.Millisecond},
		{"Attempts", o.Attempts > 0},
		{"Locks", o.Locks > 0},
		{"Prefetch", o.prefetch > 0},
		{"MaxBytes", o.MaxBytes > 0},
		{"From", !o.Start.IsNone()},
	} {
		if !option.ok {
			invalid("%s is out of range", option.name)
		}
	}
	if !o.dead {
		return errors.Join(errs...)
	}
	if o.sender == nil {
		invalid("DeadLetters without a producer")
	}
	if err := topic.ValidateName(o.deadLetters); err != nil {
		errs = append(errs, err)
	}
	if slices.Contains(o.Topics, o.deadLetters) {
		invalid("DeadLetters of %s in the topic itself", o.deadLetters)
	}
	return errors.Join(errs...)
}
