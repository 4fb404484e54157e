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
	handling       *handling

	// purgeRecords is how many committed records of a partition of a repartition
	// topic may be left before they are deleted.
	purgeRecords int64
}

// Threads is how many goroutines share the application's tasks in this process:
// as many as GOMAXPROCS by default, and never more than there are partitions to
// read.
func Threads(n int) Option { return option(func(c *config) { c.threads = n }) }

// CommitInterval is how long results and the offsets of what was processed may
// be held back: 100 ms by default. With nothing left to process they are not held
// back: a commit follows at once, if the last one is that long ago.
func CommitInterval(d time.Duration) Option {
	return option(func(c *config) { c.commitInterval = d })
}

// Uncached has every update of a store written and sent on at once. By default
// the updates of a key between two commits leave the store as one, and a key that
// came and went between them leaves no trace.
func Uncached() Option { return option(func(c *config) { c.uncached = true }) }

// compile declares the topology of an application and reads its options.
// Everything that is wrong is in the error.
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
	return p, c, c.handling.check(p.byTopic)
}
