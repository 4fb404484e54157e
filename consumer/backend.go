package consumer

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Backend is what consumers run on: *runnel.Broker in this process, *runnel.Remote
// in another one, the kafka module on a Kafka cluster. Every backend passes the
// suite in backendtest.
type Backend interface {
	// OpenConsumer opens a session. cfg has been validated by New. With a
	// group and topics the session joins the group; it is assigned partitions
	// within its Fetch calls.
	OpenConsumer(ctx context.Context, cfg Config) (Session, error)
}

// Config is what a session has to know; New fills it from its options, with
// every default set.
type Config struct {
	ClientID   string
	Group      string   // empty: no group, partitions are given by Assign, nothing can be committed
	Topics     []string // subscribed; a topic that does not exist yet is awaited
	InstanceID string   // KIP-345: a static member's name, or empty
	Assignor   string   // "uniform", "range", "roundrobin" or "sticky"; empty: the backend's default

	// Metadata is what the member tells its group's assignor, in bytes that the
	// group keeps and nobody else reads, as the userData of Kafka's
	// ConsumerPartitionAssignor. With it the assignor is "tasks", that of
	// streams applications: its members' partitions move in whole tasks.
	Metadata []byte

	// Pattern subscribes to all topics, internal ones apart, whose whole name a
	// regular expression of package regexp matches, now or later; beside Topics.
	Pattern string

	// Start is where a partition without a committed offset begins, and where
	// one begins again whose offset is out of range. With topic.Latest, a
	// partition that was made after the session had been opened begins at its first
	// record. With topic.None, Fetch returns fault.OffsetOutOfRange once, and
	// passes over the partition until Seek.
	Start topic.OffsetSpec

	// SessionTimeout is how long a member may be silent before its group takes
	// its partitions away; RebalanceTimeout is how long one may take to give
	// partitions up, and how long it may go without calling Fetch.
	SessionTimeout, RebalanceTimeout time.Duration

	MaxRecords   int  // records per Fetch, at most
	MaxBytes     int  // bytes fetched ahead from one partition, about; one batch may be larger
	ReuseBuffers bool // Release makes the records' bytes invalid, and their buffer is used again

	// OnAssigned, OnRevoked and OnLost are called from within Fetch, Assign,
	// Seek or Close, on the goroutine that fetches (see Session), with partitions
	// sorted. During OnRevoked the session still owns the partitions, and Commit
	// works; after OnLost another member may own them already. Any may be nil.
	OnAssigned, OnRevoked, OnLost func(partitions []record.TopicPartition)
}

// Subscribes reports whether the session is to be a member of its group.
func (c *Config) Subscribes() bool {
	return c.Group != "" && (len(c.Topics) > 0 || c.Pattern != "")
}

// Fetched is what one Fetch brought: records of one partition in offset order.
type Fetched struct {
	record.TopicPartition
	Records []record.Record

	// Next is the offset to go on from once all Records are done. It may lie
	// beyond the last record's successor, where control records or compacted
	// ones were passed over, and Records may then even be empty.
	Next int64

	// LeaderEpoch is that of the last batch read, and -1 where unknown. It
	// belongs beside a committed offset (KIP-320).
	LeaderEpoch int32

	// HighWatermark is the offset after the partition's last readable record,
	// as known when the records were fetched.
	HighWatermark int64
}

// Offset is a committed position: the next record to read, with the leader
// epoch of the one before (-1 where unknown) and the committer's own words.
type Offset struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// Session is one consumer's connection to a backend. Fetch, Release, Assign and
// Seek belong to one goroutine at a time, the one that fetches; the other methods
// may be called from any, Close at any moment.
//
// Callbacks run on the goroutine that fetches, always: what they touch is its. So a
// session that is closed from elsewhere, by Close or by the backend that is being
// closed, has that goroutine end it. Where it is within a call, it is woken, calls
// OnRevoked (or OnLost, see Close) and gets fault.Closed from the call; the closer waits
// for it, but not for ever. Between two calls Close is the next call itself, and
// whoever makes it is the goroutine that fetches; a backend that is closed then takes
// the partitions away, and the next Fetch, Assign or Close calls OnLost before it
// returns fault.Closed. The same holds for a connection that breaks.
type Session interface {
	// Fetch waits until there is a record in an assigned partition that is not
	// paused, appends decoded records of one partition to dst[:0] and returns
	// them. Partitions with records take turns. When ctx ends, it returns ctx's
	// error; a ctx that has already ended still takes part in rebalancing and
	// returns what is at hand, without waiting. Bytes stay valid until
	// Release where cfg.ReuseBuffers is set, else for as long as they are held.
	// A typed error for one partition (fault.OffsetOutOfRange,
	// fault.Corruption) leaves the others readable.
	Fetch(ctx context.Context, dst []record.Record) (Fetched, error)

	// Release says that the records of the last Fetch are no longer in use.
	Release()

	// Assign gives the session these partitions instead of a group's
	// assignment; fault.InvalidRequest where topics are subscribed. Partitions
	// that stay keep their position, others start at their committed offset or
	// Config.Start.
	Assign(ctx context.Context, partitions []record.TopicPartition) error

	// Assignment returns the partitions that the session owns now, sorted.
	Assignment() []record.TopicPartition

	// Seek makes the next Fetch of a partition start there. Records already
	// fetched are dropped. fault.NotAssigned, and fault.OffsetOutOfRange for an
	// offset below 0; then the position stays.
	Seek(ctx context.Context, tp record.TopicPartition, to topic.OffsetSpec) error

	// Position returns the offset at which the next Fetch of a partition
	// starts; fault.NotAssigned.
	Position(ctx context.Context, tp record.TopicPartition) (int64, error)

	// Pause makes Fetch pass over partitions, until Resume or until they are
	// taken away. A consumer whose partitions are all paused still waits in
	// Fetch and stays in its group.
	Pause(partitions ...record.TopicPartition) error
	Resume(partitions ...record.TopicPartition) error

	// Commit stores offsets for the group, all or none. fault.InvalidGroup
	// without a group; fault.UnknownMember, fault.StaleMemberEpoch or
	// fault.FencedInstance where the member no longer owns the partition.
	Commit(ctx context.Context, offsets map[record.TopicPartition]Offset) error

	// Committed returns the group's offsets; partitions without one are absent.
	Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]Offset, error)

	// Offsets returns what spec names in each partition, assigned or not.
	Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error)

	// Close leaves the group, after OnRevoked, and gives everything back; for a
	// member that its group has gone on without, and for topics that were deleted,
	// it is OnLost. A static member stays in its group until its session times out.
	// Close is idempotent and does not hang: a callback that takes too long is left
	// behind, with fault.TimedOut. Within a callback it only asks: the session ends
	// when the callback has returned.
	Close() error
}

// Admin looks into consumer groups and changes them from outside. All methods
// are safe for concurrent use.
type Admin interface {
	// Groups lists all groups, sorted by name.
	Groups(ctx context.Context) ([]GroupListing, error)

	// DescribeGroups describes the named groups in that order; an unknown one
	// is fault.GroupNotFound.
	DescribeGroups(ctx context.Context, names ...string) ([]GroupDescription, error)

	// DeleteGroups deletes groups with their offsets; fault.NonEmptyGroup.
	DeleteGroups(ctx context.Context, names ...string) error

	// GroupOffsets returns all offsets that a group has committed.
	GroupOffsets(ctx context.Context, group string) (map[record.TopicPartition]Offset, error)

	// SetGroupOffsets stores offsets for a group without members, which need
	// not exist yet; fault.NonEmptyGroup.
	SetGroupOffsets(ctx context.Context, group string, offsets map[record.TopicPartition]Offset) error
}

// GroupState is a group's state in Kafka's words.
type GroupState string

// The states of a group (KIP-848).
const (
	GroupEmpty       GroupState = "Empty"
	GroupAssigning   GroupState = "Assigning"
	GroupReconciling GroupState = "Reconciling"
	GroupStable      GroupState = "Stable"
	GroupDead        GroupState = "Dead"
)

// GroupListing is one row of a list of groups.
type GroupListing struct {
	Name    string
	State   GroupState
	Members int
}

// GroupDescription is a group with its members.
type GroupDescription struct {
	Name     string
	State    GroupState
	Epoch    int32
	Assignor string
	Members  []Member // sorted by ID
}

// Member is one consumer in a group.
type Member struct {
	ID         string
	InstanceID string
	ClientID   string
	Epoch      int32
	Topics     []string                // subscribed, sorted
	Pattern    string                  // subscribed by a regular expression, or empty
	Assigned   []record.TopicPartition // owned now, sorted
	Target     []record.TopicPartition // to be owned, sorted
}
