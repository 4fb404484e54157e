package runnel

import (
	"errors"
	"io/fs"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/topic"
)

// Option changes how Open and OpenMemory open a broker.
type Option interface{ apply(*config) }

// config is the result of the options.
type config struct {
	defaultPartitions int
	defaultDurability topic.Durability
	noSocket          bool
	fileMode          fs.FileMode
	maxExpanded       int // bytes of a decompressed batch; 0: the codec's default

	// offsetRetention is how long groups without members are kept; 0 is for ever.
	offsetRetention time.Duration

	// producerExpiration is how long producers of earlier processes are
	// remembered.
	producerExpiration time.Duration
	snapshotEvery      int64 // records between snapshots of the catalogue; no option
	reserveBytes       int64 // as layout.ReserveBytes; no option
	logger             journal.Logger
	assignors          map[string]consumer.PartitionAssignor
	wrongAssignors     []string    // names that are taken or empty
	replication        Replication // nil: one copy of each partition
	cluster            *cluster    // nil without replication

	openShares func(*Broker) *openedShares // nil without ShareGroups
}

type option func(*config)

func (o option) apply(c *config) { o(c) }

// DefaultPartitions is the number of partitions of a topic whose Spec has none. It is
// 1 unless set.
func DefaultPartitions(n int) Option { return option(func(c *config) { c.defaultPartitions = n }) }

// DefaultDurability is the durability of topics whose Config has none. It is
// topic.Fsync for Open and topic.Memory for OpenMemory unless set. On a
// directory, topic.Memory behaves as topic.OS.
func DefaultDurability(d topic.Durability) Option {
	return option(func(c *config) { c.defaultDurability = d })
}

// MaxExpandedBatch is how many bytes a compressed batch may expand to, 64 MiB
// unless set. Reading a batch that would be larger returns fault.ExpandsTooFar, so
// that a few bytes cannot fill the program's memory. Set it higher to read larger
// batches, such as those that Kafka accepted with a higher max.message.bytes.
func MaxExpandedBatch(bytes int) Option {
	return option(func(c *config) { c.maxExpanded = bytes })
}

// NoSocket keeps Open from listening on a socket in the directory: other processes
// cannot attach (see Attach), and an idle broker has no goroutine.
func NoSocket() Option { return option(func(c *config) { c.noSocket = true }) }

// DefaultFileMode is the mode of the files in a data directory unless FileMode sets
// another one: only the program's user can read them.
const DefaultFileMode = layout.FileMode

// FileMode is the mode of the files that Open creates, 0600 unless set. Directories
// get the same mode, and the permission to search for those who may read: 0640 makes
// directories of mode 0750. The process's umask applies. Existing files keep their
// mode, and the socket's mode is always 0600.
func FileMode(mode fs.FileMode) Option { return option(func(c *config) { c.fileMode = mode }) }

// Logger sets a logger, such as a *slog.Logger, for unusual events: recovery after a
// crash and what it truncated, damage, partitions that do not open or refuse records
// because a write or a sync failed, failures of cleaning, members that were expelled
// from their groups, and syncs that take longer than a second. The attributes are
// topic, partition, group, member, file, dir, bytes, took, reason and error. The
// default is nil: the broker logs nothing.
//
// A goroutine of its own calls the logger, one line after the other. The logger may
// use the broker but not close it, because Close waits for it.
func Logger(l interface {
	Info(message string, attributes ...any)
	Warn(message string, attributes ...any)
	Error(message string, attributes ...any)
},
) Option {
	return option(func(c *config) { c.logger = l })
}

// ProducerExpiration is how long a partition remembers the idempotent producers
// of an earlier process after their last record: Kafka's
// producer.id.expiration.ms. It is 24 hours unless set. Producers of this process are
// remembered until they are closed.
func ProducerExpiration(d time.Duration) Option {
	return option(func(c *config) { c.producerExpiration = d })
}

// OffsetRetention is how long a consumer group without members is kept, with its
// offsets, counted from its last commit or from when its last member left, whichever
// is later: Kafka's offsets.retention.minutes. It is 7 days unless set; 0 keeps groups
// for ever. A group that expired while the directory was closed is kept for ten more
// minutes after groups are first used, so that a program that was stopped for a long
// time finds its offsets.
func OffsetRetention(d time.Duration) Option {
	return option(func(c *config) { c.offsetRetention = d })
}

// Assignors gives the broker assignors beside those that it has, which members of
// groups choose by their names; see consumer.PartitionAssignor. The brokers of all nodes
// of a cluster are given the same ones: a group that comes to a node without its
// assignor is assigned by the default one there.
func Assignors(assignors ...consumer.PartitionAssignor) Option {
	return option(func(c *config) {
		for _, a := range assignors {
			name := a.Name()
			if name == "" || group.IsAssignor(name) || c.assignors[name] != nil {
				c.wrongAssignors = append(c.wrongAssignors, name)
				continue
			}
			if c.assignors == nil {
				c.assignors = map[string]consumer.PartitionAssignor{}
			}
			c.assignors[name] = a
		}
	})
}

// defaults returns the config of a broker without options.
func defaults(d topic.Durability) config {
	return config{
		defaultPartitions: 1, defaultDurability: d, fileMode: DefaultFileMode, producerExpiration: 24 * time.Hour,
		offsetRetention: 7 * 24 * time.Hour,
		snapshotEvery:   metadata.SnapshotEvery, reserveBytes: layout.ReserveBytes,
	}
}

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
	if c.fileMode&^0o777 != 0 || c.fileMode&0o600 != 0o600 || c.fileMode&0o111 != 0 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "FileMode(%#o): it must be from 0600 to 0666, readable and writable by the owner, and executable by no one", c.fileMode))
	}
	if c.replication != nil && c.replication.Node() < 1 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "Replicated: the node's number is %d, and must be positive", c.replication.Node()))
	}
	for _, name := range c.wrongAssignors {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "Assignors: the name %q is empty or taken", name))
	}
	if c.maxExpanded < 0 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "MaxExpandedBatch(%d): it must be positive", c.maxExpanded))
	}
	if c.producerExpiration <= 0 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "ProducerExpiration(%v): it must be positive", c.producerExpiration))
	}
	if c.offsetRetention < 0 {
		errs = append(errs, fault.Newf(fault.InvalidConfig, "OffsetRetention(%v): it must not be negative; 0 is for ever", c.offsetRetention))
	}
	return c, errors.Join(errs...)
}
