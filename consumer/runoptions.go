package consumer

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Defaults of the options of Run.
const (
	DefaultAttempts        = 5
	DefaultFirstBackoff    = 100 * time.Millisecond
	DefaultLongestBackoff  = 10 * time.Second
	DefaultInFlightRecords = 5000
	DefaultInFlightBytes   = 32 << 20
	DefaultAhead           = 100_000
	DefaultDrainTimeout    = 10 * time.Second
)

// Unlimited, as the number of Attempts, tries until a record succeeds.
const Unlimited = math.MaxInt

// RunOption is one choice of Run.
type RunOption interface{ applyRun(*runConfig) }

type runOption func(*runConfig)

func (o runOption) applyRun(cfg *runConfig) { o(cfg) }

// Sender sends a record and waits until it is acknowledged. *producer.Producer is one.
type Sender interface {
	Send(ctx context.Context, r record.Record) (record.Position, error)
}

// runConfig is what Run gathers from its options.
type runConfig struct {
	concurrency    int
	attempts       int
	first, longest time.Duration // of backoff
	sender         Sender        // of dead letters, or nil
	deadLetters    string
	limit          load
	ahead          int
	drain          time.Duration
	drainSet       bool
	onError        func(error) error
}

// Concurrency is how many records are handled at once, at most; 1. With more, the
// handler is called by several goroutines at the same time.
func Concurrency(n int) RunOption { return runOption(func(c *runConfig) { c.concurrency = n }) }

// Attempts is how often a record is tried before Run gives it up; DefaultAttempts.
// See DeadLetters, and Permanent for errors that are not worth another attempt.
func Attempts(n int) RunOption { return runOption(func(c *runConfig) { c.attempts = n }) }

// Backoff is how long a failed record waits for its next attempt: first after the
// first one, then twice as long each time, up to longest, and up to a half less by
// chance. Meanwhile the records of other keys go on. The defaults are
// DefaultFirstBackoff and DefaultLongestBackoff.
func Backoff(first, longest time.Duration) RunOption {
	return runOption(func(c *runConfig) { c.first, c.longest = first, longest })
}

// DeadLetters writes records that are given up to a topic, which must exist: with
// their key, value, timestamp and headers, and the headers HeaderTopic and those
// beside it. A record is done once its dead letter is acknowledged. The consumer must
// not read the topic. The producer stays the program's. Run ends with an error if a
// dead letter fails as often as Attempts says.
//
// Without DeadLetters, a record that is given up ends Run with a *HandlerError.
func DeadLetters(to Sender, topic string) RunOption {
	return runOption(func(c *runConfig) { c.sender, c.deadLetters = to, topic })
}

// InFlight limits how many records, and about how many bytes of them, are fetched and
// not finished. At either limit Run pauses its partitions until a half is finished; it
// may exceed a limit by what one Fetch returns. What is in flight is a copy, which keeps
// no fetched buffer in memory. The defaults are DefaultInFlightRecords and
// DefaultInFlightBytes.
func InFlight(records, bytes int) RunOption {
	return runOption(func(c *runConfig) { c.limit = load{records, bytes} })
}

// Ahead limits how many records of a partition may come after its first unfinished
// one, by count, before the partition is paused; DefaultAhead. They are handled again
// after a crash, because nothing beyond the first unfinished record is committed.
func Ahead(n int) RunOption { return runOption(func(c *runConfig) { c.ahead = n }) }

// DrainTimeout is how long Run waits for running handlers before it gives partitions
// up, and when it ends; DefaultDrainTimeout, or half of the RebalanceTimeout if that
// is less. It must be less than the RebalanceTimeout. Closing a consumer waits no
// longer than 30 seconds.
func DrainTimeout(d time.Duration) RunOption {
	return runOption(func(c *runConfig) { c.drain, c.drainSet = d, true })
}

// OnError is called, on the goroutine of Run, with errors that do not concern a
// handler and do not end the consumer (see Fatal): an offset that is out of range, a
// damaged partition, a commit that failed and will be repeated. Run goes on if fn
// returns nil, and otherwise ends with what it returns. Without OnError, Run ends with
// the error.
func OnError(fn func(error) error) RunOption {
	return runOption(func(c *runConfig) { c.onError = fn })
}

// gatherRun applies opts to the defaults and reports every invalid option.
func gatherRun(c *Config, opts []RunOption) (runConfig, error) {
	cfg := runConfig{
		concurrency: 1, attempts: DefaultAttempts, first: DefaultFirstBackoff, longest: DefaultLongestBackoff,
		limit: load{DefaultInFlightRecords, DefaultInFlightBytes}, ahead: DefaultAhead,
		drain:   min(DefaultDrainTimeout, c.RebalanceTimeout/2),
		onError: func(err error) error { return err },
	}
	for _, opt := range opts {
		opt.applyRun(&cfg)
	}
	return cfg, cfg.check(c)
}

func (cfg *runConfig) check(c *Config) error {
	var errs []error
	for _, option := range []struct {
		name string
		ok   bool
	}{
		{"Concurrency", cfg.concurrency > 0},
		{"Attempts", cfg.attempts > 0},
		{"Backoff", cfg.first > 0 && cfg.first <= cfg.longest},
		{"InFlight", cfg.limit.records > 0 && cfg.limit.bytes > 0},
		{"Ahead", cfg.ahead > 0},
		{"DrainTimeout", !cfg.drainSet || cfg.drain >= 0 && (cfg.drain < c.RebalanceTimeout || !c.Subscribes())},
		{"OnError", cfg.onError != nil},
	} {
		if !option.ok {
			errs = append(errs, fault.Newf(fault.InvalidConfig, "%s is out of range", option.name))
		}
	}
	if cfg.sender == nil && cfg.deadLetters == "" {
		return errors.Join(errs...)
	}
	if cfg.sender == nil {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "DeadLetters without a producer"))
	}
	if err := topic.ValidateName(cfg.deadLetters); err != nil {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "the dead-letter topic").Because(err))
	} else if c.reads(cfg.deadLetters) {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "the dead-letter topic %s is one that the consumer reads: its records would fail again", cfg.deadLetters))
	}
	return errors.Join(errs...)
}

// reads reports whether the consumer subscribes to a topic.
func (c *Config) reads(name string) bool {
	if slices.Contains(c.Topics, name) {
		return true
	}
	subscribed, err := pattern.Parse(c.Pattern)
	return err == nil && subscribed.Matches(name)
}
