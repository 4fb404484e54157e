package streams

import (
	"errors"
	"runtime"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// Option changes how an application runs.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

type config struct {
	threads        int
	commitInterval time.Duration
	uncached       bool
	taskIdle       time.Duration
	handling       *handling
	storesIn       storesIn

	// purgeRecords is how many committed records a partition of a repartition
	// topic may hold before they are deleted.
	purgeRecords int64
}

// Threads is how many goroutines share the application's tasks in this process.
// The default is GOMAXPROCS. There are never more than partitions to read.
func Threads(n int) Option { return option(func(c *config) { c.threads = n }) }

// CommitInterval is how long results and the offsets of processed records may
// be held back: 100 ms by default. When nothing is left to process, a commit
// follows at once if the last one is that long ago.
func CommitInterval(d time.Duration) Option {
	return option(func(c *config) { c.commitInterval = d })
}

// TaskIdle is how long a task that reads several partitions waits for the next record
// of one that it has read to its end, while it has records of the others: they are
// processed in the order of their timestamps, as far as those are known. It is
// Kafka's max.task.idle.ms. With 0, the default, a task waits for what a topic holds
// already, not for what may yet be written; a negative duration makes it wait for
// nothing, and the order depends on what arrives first.
func TaskIdle(d time.Duration) Option { return option(func(c *config) { c.taskIdle = d }) }

// Uncached makes a store write and forward every update at once. By default the
// updates of a key between two commits leave the store as one, and a key that
// was created and deleted between them leaves no trace.
func Uncached() Option { return option(func(c *config) { c.uncached = true }) }

// compile declares the topology of an application and reads its options. Its
// error contains everything that is wrong.
func compile(name string, define func(*Topology), options []Option) (*plan, config, error) {
	c := config{threads: runtime.GOMAXPROCS(0), commitInterval: 100 * time.Millisecond, purgeRecords: 1 << 18, handling: &handling{app: name}}
	for _, o := range options {
		o.apply(&c)
	}
	var errs []error
	if err := topic.ValidateName(name); err != nil {
		errs = append(errs, fault.Newf(fault.InvalidRequest, "the application's name begins the names of its topics").Because(err))
	}
	if c.threads < 1 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "%d threads", c.threads))
	}
	if c.commitInterval <= 0 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "a commit interval of %v", c.commitInterval))
	}
	t, err := declare(define)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, c, err
	}
	p := newPlan(name, t)
	p.storesIn = c.storesIn
	return p, c, c.handling.check(p.byTopic)
}
