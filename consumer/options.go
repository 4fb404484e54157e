package consumer

import (
	"errors"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Defaults of the options, as Kafka has them.
const (
	DefaultSessionTimeout   = 45 * time.Second
	DefaultRebalanceTimeout = 5 * time.Minute
	DefaultCommitInterval   = 5 * time.Second
	DefaultMaxRecords       = 500
	DefaultMaxBytes         = 1 << 20
)

// Option is one choice of New.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

// options is what New gathers before it checks everything at once.
type options struct {
	Config
	partitions  []record.TopicPartition // of Assign
	manual      bool
	commitEvery time.Duration
	grouped     bool // Group was given, even with an empty name
}

// Group names the consumer group. Its members share the partitions of their
// topics, and its committed offsets are where a consumer continues.
func Group(name string) Option {
	return option(func(o *options) { o.Group, o.grouped = name, true })
}

// Topics subscribes to topics, within Group. The consumer waits for a topic
// that does not exist yet, and picks up partitions that are added later.
func Topics(names ...string) Option {
	return option(func(o *options) { o.Topics = append(o.Topics, names...) })
}

// TopicsMatching subscribes, within Group, to all topics whose whole name matches a
// regular expression of package regexp, now and when they are created later:
// TopicsMatching(`orders\..*`). Internal topics are not among them.
func TopicsMatching(pattern string) Option {
	return option(func(o *options) { o.Pattern = pattern })
}

// Assign gives the consumer these partitions, regardless of what other
// consumers read. It excludes Topics; with Group, offsets may be committed.
// Consumer.Assign changes the partitions later.
func Assign(partitions ...record.TopicPartition) Option {
	return option(func(o *options) { o.partitions = append(o.partitions, partitions...) })
}

// FromStart starts at a partition's first record if the group has committed
// nothing. This is the default.
func FromStart() Option { return from(topic.Earliest()) }

// FromEnd starts after a partition's last record if the group has committed
// nothing. A partition that is created after New has subscribed is read from
// its first record.
//
// In a broker's group, "after New has subscribed" refers to the first member of
// an unbroken line of members: a partition that was created while one of them
// was in the group is new to members that join later, too. On Kafka it refers
// to each consumer by itself.
func FromEnd() Option { return from(topic.Latest()) }

// FromTime starts at a partition's first record of time t or later if the group
// has committed nothing.
func FromTime(t time.Time) Option { return from(topic.AtTime(t)) }

// FromOffset starts every partition at that offset if the group has committed
// nothing.
func FromOffset(offset int64) Option { return from(topic.AtOffset(offset)) }

// FromAgo starts at a partition's first record that is no older than d if the
// group has committed nothing: Kafka's auto.offset.reset=by_duration
// (KIP-1106).
func FromAgo(d time.Duration) Option { return from(topic.Ago(d)) }

// FromCommitted starts only at committed offsets: Kafka's
// auto.offset.reset=none. For a partition without a committed offset, and for
// one whose offset the log no longer holds, Poll returns fault.OffsetOutOfRange
// once. The other partitions continue, and this one does after a Seek.
func FromCommitted() Option { return from(topic.None()) }

func from(spec topic.OffsetSpec) Option {
	return option(func(o *options) { o.Start = spec })
}

// ReadCommitted keeps the consumer from seeing records of transactions that are
// open or were aborted: Kafka's isolation.level=read_committed. A transaction's
// records, and those behind them, come when it has ended. Records that belong to
// no transaction are committed. It is also an option of History.
func ReadCommitted() IsolationOption { return readCommitted{} }

// IsolationOption is an option of New and of History.
type IsolationOption interface {
	Option
	HistoryOption
}

type readCommitted struct{}

func (readCommitted) apply(o *options)               { o.ReadCommitted = true }
func (readCommitted) applyHistory(o *historyOptions) { o.committed = true }

// ManualCommit leaves committing to Commit, CommitAsync and CommitOffsets.
func ManualCommit() Option { return option(func(o *options) { o.manual = true }) }

// CommitEvery sets how often what is done is committed. The default is
// DefaultCommitInterval.
func CommitEvery(d time.Duration) Option {
	return option(func(o *options) { o.commitEvery = d })
}

// OnAssigned is called with newly assigned partitions, before their first
// records are returned. Position and Seek work in it.
func OnAssigned(fn func(partitions []record.TopicPartition)) Option {
	return option(func(o *options) { o.OnAssigned = fn })
}

// OnRevoked is called with partitions that are about to be given up. They are
// still owned: Commit works in it. Without ManualCommit, what is done has been
// committed before.
func OnRevoked(fn func(partitions []record.TopicPartition)) Option {
	return option(func(o *options) { o.OnRevoked = fn })
}

// OnLost is called with partitions that were taken away, because the consumer
// lost its place in the group or their topic was deleted. Another member may be
// reading them already, so nothing can be committed for them.
func OnLost(fn func(partitions []record.TopicPartition)) Option {
	return option(func(o *options) { o.OnLost = fn })
}

// InstanceID makes the consumer a static member (KIP-345). When it closes, its
// partitions stay reserved for it until SessionTimeout has passed. A consumer
// with the same name continues with them without a rebalance.
func InstanceID(name string) Option { return option(func(o *options) { o.InstanceID = name }) }

// Assignor names the algorithm that distributes the group's partitions: uniform
// (the default), range, roundrobin, sticky, which is also called cooperative-sticky,
// or a PartitionAssignor that the broker was given. The one that most members chose
// wins. A name that the broker does not know is fault.UnsupportedAssignor.
func Assignor(name string) Option { return option(func(o *options) { o.Assignor = name }) }

// MaxRecords is the most records that Poll returns; DefaultMaxRecords.
func MaxRecords(n int) Option { return option(func(o *options) { o.MaxRecords = n }) }

// MaxBytes is about how many bytes are fetched ahead from one partition;
// DefaultMaxBytes.
func MaxBytes(n int) Option { return option(func(o *options) { o.MaxBytes = n }) }

// ReuseBuffers makes records valid only until the next call that returns some,
// which makes reading faster for programs that keep none of their bytes.
func ReuseBuffers() Option { return option(func(o *options) { o.ReuseBuffers = true }) }

// SessionTimeout is how long a member may be silent before its group takes its
// partitions away, and how long a static member's partitions wait for it;
// DefaultSessionTimeout.
func SessionTimeout(d time.Duration) Option {
	return option(func(o *options) { o.SessionTimeout = d })
}

// RebalanceTimeout is how long the consumer may go without asking for records
// before its group takes its partitions away; DefaultRebalanceTimeout. Kafka
// calls it max.poll.interval.ms.
func RebalanceTimeout(d time.Duration) Option {
	return option(func(o *options) { o.RebalanceTimeout = d })
}

// ClientID names the program in descriptions of the group; "runnel".
func ClientID(name string) Option { return option(func(o *options) { o.ClientID = name }) }

// gather applies opts to the defaults and reports every invalid option.
func gather(opts []Option) (options, error) {
	o := options{
		Config: Config{
			ClientID: "runnel", Start: topic.Earliest(),
			SessionTimeout: DefaultSessionTimeout, RebalanceTimeout: DefaultRebalanceTimeout,
			MaxRecords: DefaultMaxRecords, MaxBytes: DefaultMaxBytes,
		},
		commitEvery: DefaultCommitInterval,
	}
	for _, opt := range opts {
		opt.apply(&o)
	}
	slices.Sort(o.Topics)
	o.Topics = slices.Compact(o.Topics)
	slices.SortFunc(o.partitions, record.TopicPartition.Compare)
	o.partitions = slices.Compact(o.partitions)
	return o, o.check()
}

func (o *options) subscribed() bool { return len(o.Topics) > 0 || o.Pattern != "" }

func (o *options) check() error {
	var errs []error
	bad := func(code fault.Code, format string, args ...any) {
		errs = append(errs, fault.Newf(code, format, args...))
	}
	switch {
	case o.grouped && o.Group == "":
		bad(fault.InvalidGroup, "a group's name has at least one character")
	case len(o.Group) > maxGroupLen:
		bad(fault.InvalidGroup, "a group's name has at most %d bytes, not %d", maxGroupLen, len(o.Group))
	case o.subscribed() && !o.grouped:
		errs = append(errs, fault.Newf(fault.InvalidGroup, "topics without a group").
			Try("name one with consumer.Group, or choose partitions with consumer.Assign"))
	}
	if o.subscribed() && len(o.partitions) > 0 {
		bad(fault.InvalidRequest, "a consumer either subscribes to Topics or is given partitions by Assign")
	}
	for _, name := range o.Topics {
		errs = append(errs, topic.ValidateName(name))
	}
	for _, tp := range o.partitions {
		errs = append(errs, checkPartition(tp))
	}
	if _, err := pattern.Parse(o.Pattern); err != nil {
		errs = append(errs, err)
	}
	if ago, ok := o.Start.Duration(); ok && ago < 0 {
		bad(fault.InvalidConfig, "FromAgo(%v): it must not be negative", ago)
	}
	if o.InstanceID != "" && !o.subscribed() {
		bad(fault.InvalidRequest, "an instance ID is for members of a group, and there are no topics")
	}
	if o.Assignor == tasksAssignor {
		bad(fault.UnsupportedAssignor, "%q is for streams applications", o.Assignor)
	}
	if o.SessionTimeout <= 0 {
		bad(fault.InvalidSessionTimeout, "%v", o.SessionTimeout)
	}
	if offset, ok := o.Start.Offset(); ok && offset < 0 {
		bad(fault.OffsetOutOfRange, "FromOffset(%d)", offset)
	}
	for name, ok := range map[string]bool{
		"RebalanceTimeout": o.RebalanceTimeout > 0,
		"CommitEvery":      o.commitEvery > 0,
		"MaxRecords":       o.MaxRecords > 0 && o.MaxRecords <= maxRecordsLimit,
		"MaxBytes":         o.MaxBytes > 0,
	} {
		if !ok {
			bad(fault.InvalidConfig, "%s is out of range", name)
		}
	}
	return errors.Join(errs...)
}

// tasksAssignor is the assignor of streams applications, which comes with Metadata.
const tasksAssignor = "tasks"

// Limits beyond which an option is a mistake.
const (
	maxGroupLen     = 1 << 12
	maxRecordsLimit = 1 << 20
)

func checkPartition(tp record.TopicPartition) error {
	if tp.Partition < 0 {
		return fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1).Detailf("partition %d", tp.Partition)
	}
	return topic.ValidateName(tp.Topic)
}
