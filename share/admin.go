package share

import (
	"context"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Admin looks after share groups. *runnel.Broker and *runnel.Remote are.
type Admin interface {
	// ShareGroups lists the names of all share groups, sorted. A group exists from its first
	// Receive on, until it is deleted or has forgotten the last topic that it knew.
	ShareGroups(ctx context.Context) ([]string, error)

	// DescribeShareGroup describes a group. It returns fault.GroupNotFound.
	DescribeShareGroup(ctx context.Context, group string) (GroupDescription, error)

	// DeleteShareGroup deletes a group with everything that it knows of records: members that
	// are still there begin anew, where their From says. It returns fault.GroupNotFound, and
	// fault.NonEmptyGroup while members have records.
	DeleteShareGroup(ctx context.Context, group string) error

	// DeleteShareGroupOffsets has a group forget what it knows of topics' records: it begins
	// them anew, where its members' From says. It returns fault.GroupNotFound, and
	// fault.NonEmptyGroup for a topic of which members have records; others may then have been
	// forgotten.
	DeleteShareGroupOffsets(ctx context.Context, group string, topics ...string) error

	// ResetShareGroup has a group continue where an offset spec says in each partition, with no
	// memory of deliveries. It creates a group that does not exist. It returns
	// fault.NonEmptyGroup for a partition of which members have records; others may then have
	// been reset.
	ResetShareGroup(ctx context.Context, group string, to topic.OffsetSpec, partitions ...record.TopicPartition) error
}

// GroupDescription describes a share group.
type GroupDescription struct {
	Group      string
	Partitions []PartitionDescription // sorted; those of topics that exist
}

// PartitionDescription describes what a share group has of a partition.
type PartitionDescription struct {
	record.TopicPartition
	Start     int64 // the first offset that is not finished: Kafka's share-partition start offset
	End       int64 // no offset from it on was ever delivered
	Acquired  int64 // records that members have
	Delayed   int64 // records that wait for their time; at most, where many do
	Available int64 // records before End that wait for a member
	New       int64 // offsets from End to the partition's end

	Members []string // IDs of the members that have records, sorted
}
