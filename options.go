package runnel

import (
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/topic"
)

// Option changes how Open and OpenMemory open a broker.
type Option interface{ apply(*config) }

// config is what the options say.
type config struct {
	defaultPartitions int
	defaultDurability topic.Durability
	noSocket          bool
}

type option func(*config)

func (o option) apply(c *config) { o(c) }

// DefaultPartitions is how many partitions a topic gets whose Spec names none.
// It is 1 unless set.
func DefaultPartitions(n int) Option { return option(func(c *config) { c.defaultPartitions = n }) }

// DefaultDurability is the durability of topics whose Config names none. It is
// topic.Fsync for Open and topic.Memory for OpenMemory unless set. On a
// directory, topic.Memory behaves as topic.OS.
func DefaultDurability(d topic.Durability) Option {
	return option(func(c *config) { c.defaultDurability = d })
}

// NoSocket keeps Open from listening on a socket in the directory: no other
// process can look in (see Attach), and an idle broker has no goroutine.
func NoSocket() Option { return option(func(c *config) { c.noSocket = true }) }

// configure applies the options and reports everything that is wrong with them.
func configure(c config, opts []Option) (config, error) {
	for _, o := range opts {
		o.apply(&c)
	}
	var errs []error
	if c.defaultPartitions < 1 || c.defaultPartitions > catalogue.MaxPartitions {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "DefaultPartitions(%d): it must be from 1 to %d", c.defaultPartitions, catalogue.MaxPartitions))
	}
	if c.defaultDurability < topic.Memory || c.defaultDurability > topic.Fsync {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "DefaultDurability(%d): it must be topic.Memory, topic.OS or topic.Fsync", c.defaultDurability))
	}
	return c, errors.Join(errs...)
}
