package consumer

import (
	"context"
	"math"
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

// Config is what a session needs to know. New fills it from its options, with
// every default set.
type Config struct {
	ClientID   string
	Group      string   // empty: no group; the program assigns partitions with Assign and cannot commit
	Topics     []string // subscribed topics; the session waits for one that does not exist yet
	InstanceID string   // KIP-345: a static member's name, or empty
	Assignor   string   // "uniform", "range", "roundrobin", "sticky" or one that the backend was given; empty: its default

	// Metadata is what the member passes to its group's assignor: bytes that
	// the group stores and that only the assignor interprets, like the userData
	// of Kafka's ConsumerPartitionAssignor. With it the assignor is "tasks",
	// the one of streams applications, which moves whole tasks between members.
	Metadata []byte

	// Pattern subscribes to every topic, except internal ones, whose whole name
	// matches a regular expression of package regexp, including topics created
	// later. It adds to Topics.
	Pattern string

	// Start is where a partition starts that has no committed offset, and where
	// it restarts after its offset was out of range. With topic.Latest, a
	// partition that was created after the session opened starts at its first
	// record. With topic.None, Fetch returns fault.OffsetOutOfRange once and
	// then skips the partition until Seek.
	Start topic.OffsetSpec

	// ReadCommitted keeps the session from seeing records of transactions that
	// are open or were aborted: Kafka's isolation.level read_committed. A
	// partition then ends at its last stable offset.
	ReadCommitted bool

	// SessionTimeout is how long a member may be silent before its group takes
	// its partitions away. RebalanceTimeout limits how long a member may take
	// to give partitions up, and how long it may go without calling Fetch.
	SessionTimeout, RebalanceTimeout time.Duration

	MaxRecords   int  // the most records that one Fetch returns
	MaxBytes     int  // about how many bytes are fetched ahead from one partition; one batch may be larger
	ReuseBuffers bool // Release invalidates the bytes of the lease's records and recycles their buffers

	// OnAssigned, OnRevoked and OnLost are called from within Fetch, Assign,
	// Seek or Close, on the goroutine that fetches (see Session), with
	// partitions sorted. During OnRevoked the session still owns the partitions
	// and can commit them. By the time of OnLost another member may own them.
	// Any of the three may be nil.
	OnAssigned, OnRevoked, OnLost func(partitions []record.TopicPartition)
}

// Subscribes reports whether the session joins its group as a member.
func (c *Config) Subscribes() bool {
	return c.Group != "" && (len(c.Topics) > 0 || c.Pattern != "")
}

// Fetched is the result of one Fetch: records of one partition in offset order. If
// the time to wait passed and there was nothing, it has no Topic, no Records and no
// Lease; see IsNone.
type Fetched struct {
	record.TopicPartition
	Records []record.Record
	Lease   Lease // of the bytes of Records, for Release

	// Next is the offset to continue from once all Records are processed. It
	// may be higher than the last record's offset plus one, because Fetch skips
	// control records and compacted ones. Records may then even be empty.
	Next int64

	// LeaderEpoch is the leader epoch of the last batch read, or -1 if unknown.
	// It is committed together with an offset (KIP-320).
	LeaderEpoch int32

	// HighWatermark is the partition's high watermark at the time of the fetch:
	// the offset after its last readable record. With Config.ReadCommitted it is
	// the last stable offset.
	HighWatermark int64
}

// IsNone reports whether a Fetch returned nothing: neither records nor a position that
// moved.
func (f *Fetched) IsNone() bool { return f.Topic == "" }

// Lease is the right to use the bytes of the records that one Fetch returned. It is
// valid for the session that granted it. The zero Lease stands for none.
type Lease uint64

// UntilDone makes Fetch wait until its ctx is done.
const UntilDone = time.Duration(math.MaxInt64)

// Offset is a committed position: the next record to read, the leader epoch of
// the record before it (-1 if unknown) and free text from the committer.
type Offset struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// GroupMetadata says for which group, and as which of its members, a transaction's offsets
// are (KIP-447). The group refuses those of a member that has lost its place, or of an
// epoch that has passed.
type GroupMetadata struct {
	Group       string
	MemberID    string // empty: no member; then the group must have none
	MemberEpoch int32  // KIP-848; in the classic protocol, the generation. -1 without a member
	InstanceID  string // of a static member, or empty
}

// Session is one consumer's connection to a backend. Only one goroutine at a
// time, the fetching goroutine, may call Fetch, Release, Assign and Seek. Any
// goroutine may call the other methods, and Close at any moment.
//
// Callbacks always run on the fetching goroutine, so they may use its data.
// When another goroutine closes the session or its backend, the fetching
// goroutine therefore ends the session itself:
//
//   - Within a call, it wakes up, calls OnRevoked (or OnLost, see Close), and
//     the call returns fault.Closed. The closing goroutine waits for that, for
//     a limited time.
//   - Between two calls, Close counts as the next call, and its caller as the
//     fetching goroutine. A backend that closes takes the partitions away
//     instead. The next Fetch, Assign or Close then calls OnLost before it
//     returns fault.Closed.
//
// A broken connection has the same effect as a backend that closes.
type Session interface {
	// Fetch waits until an assigned partition that is not paused has a record,
	// appends decoded records of one partition to dst[:0] and returns them.
	// Partitions with records take turns.
	//
	// Fetch waits no longer than wait, and then returns a Fetched that IsNone,
	// without an error. If wait is 0 or negative, it returns what is available
	// without waiting; with UntilDone it waits until ctx is done. Whatever wait is,
	// Fetch first takes part in rebalancing, callbacks included, which may take
	// longer than wait.
	//
	// When ctx is done, Fetch returns ctx's error; if it was done before, Fetch does
	// nothing else. A typed error for one partition (fault.OffsetOutOfRange,
	// fault.Corruption) leaves the others readable.
	//
	// If cfg.ReuseBuffers is set, the records' bytes stay valid until the Fetched's
	// Lease is released, whatever is fetched meanwhile, else for as long as the
	// caller holds them. The records themselves are in dst, which is the caller's:
	// to hold the records of several Fetches, give each a dst of its own.
	Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (Fetched, error)

	// Release ends the use of the records of one Fetch. Leases may be released in
	// any order. Releasing the zero Lease, or a lease a second time, does nothing.
	// Memory that is still leased when the session ends is left to the garbage
	// collector. Release belongs to the goroutine that fetches.
	Release(lease Lease)

	// Assign replaces the session's partitions, where no group assigns them;
	// with subscribed topics it returns fault.InvalidRequest. Partitions that
	// stay keep their position. Others start at their committed offset or at
	// Config.Start.
	Assign(ctx context.Context, partitions []record.TopicPartition) error

	// Assignment returns the partitions that the session currently owns,
	// sorted.
	Assignment() []record.TopicPartition

	// Seek makes the next Fetch of a partition start at an offset and drops
	// records that were fetched before. It returns fault.NotAssigned for a
	// partition that is not owned. For an offset below 0 it returns
	// fault.OffsetOutOfRange and leaves the position unchanged.
	Seek(ctx context.Context, tp record.TopicPartition, to topic.OffsetSpec) error

	// Position returns the offset at which the next Fetch of a partition
	// starts. It returns fault.NotAssigned for a partition that is not owned.
	Position(ctx context.Context, tp record.TopicPartition) (int64, error)

	// Pause makes Fetch skip partitions until Resume or until they are taken
	// away. A consumer whose partitions are all paused still waits in Fetch and
	// stays in its group.
	Pause(partitions ...record.TopicPartition) error
	Resume(partitions ...record.TopicPartition) error

	// Commit stores offsets for the group, all or none. It returns
	// fault.InvalidGroup without a group, and fault.UnknownMember,
	// fault.StaleMemberEpoch or fault.FencedInstance if the member no longer
	// owns a partition.
	Commit(ctx context.Context, offsets map[record.TopicPartition]Offset) error

	// GroupMetadata returns who the session is in its group, as of the last Fetch. It
	// returns fault.InvalidGroup without a group, and fault.UnknownMember while a session
	// that subscribes is not a member.
	GroupMetadata(ctx context.Context) (GroupMetadata, error)

	// Committed returns the group's offsets; partitions without one are absent. With
	// Config.ReadCommitted it returns fault.UnstableOffsetCommit while an open transaction
	// has offsets of one of them: the call may be made again.
	Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]Offset, error)

	// Offsets returns the offset that spec names in each partition, assigned or
	// not.
	Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error)

	// Close calls OnRevoked, leaves the group and releases all resources. It
	// calls OnLost instead for a member that its group has already removed, and
	// for topics that were deleted. A static member stays in its group until
	// its session times out. Close is idempotent and does not hang: it abandons
	// a callback that takes too long and returns fault.TimedOut. Called from a
	// callback, it returns at once, and the session ends when the callback has
	// returned.
	Close() error
}

// Admin inspects consumer groups and changes them from outside. All methods are
// safe for concurrent use.
type Admin interface {
	// Groups lists all groups, sorted by name.
	Groups(ctx context.Context) ([]GroupListing, error)

	// DescribeGroups describes the named groups in that order. It returns
	// fault.GroupNotFound for an unknown one.
	DescribeGroups(ctx context.Context, names ...string) ([]GroupDescription, error)

	// DeleteGroups deletes groups with their offsets. It returns
	// fault.NonEmptyGroup for a group that has members.
	DeleteGroups(ctx context.Context, names ...string) error

	// GroupOffsets returns all offsets that a group has committed.
	GroupOffsets(ctx context.Context, group string) (map[record.TopicPartition]Offset, error)

	// SetGroupOffsets stores offsets for a group without members, which need
	// not exist yet. It returns fault.NonEmptyGroup for a group that has
	// members.
	SetGroupOffsets(ctx context.Context, group string, offsets map[record.TopicPartition]Offset) error

	// DeleteGroupOffsets makes a group forget its offsets of some partitions (KIP-496);
	// those that it has none of are skipped. It returns fault.GroupNotFound, and
	// fault.GroupSubscribedToTopic while a member subscribes to one of the topics; of
	// some clusters it is fault.NonEmptyGroup.
	DeleteGroupOffsets(ctx context.Context, group string, partitions ...record.TopicPartition) error
}

// GroupState is a group's state, under Kafka's name.
type GroupState string

// The states of a group (KIP-848).
const (
	GroupEmpty       GroupState = "Empty"
	GroupAssigning   GroupState = "Assigning"
	GroupReconciling GroupState = "Reconciling"
	GroupStable      GroupState = "Stable"
	GroupDead        GroupState = "Dead"

	GroupPreparingRebalance  GroupState = "PreparingRebalance"  // of the classic protocol
	GroupCompletingRebalance GroupState = "CompletingRebalance" // the same
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
	Assigned   []record.TopicPartition // currently owned, sorted
	Target     []record.TopicPartition // assigned by the group, to be owned in the end; sorted
}
