package consumer

import "github.com/runnel-go/runnel/record"

// PartitionAssignor distributes partitions over the members of a group, where none of
// the assignors that every broker has does it right: Kafka's
// ConsumerGroupPartitionAssignor (KIP-848). It belongs to the broker, because the broker
// assigns; runnel.Assignors gives it one. Members choose it by its name, with Assignor.
type PartitionAssignor interface {
	// Name identifies the assignor to members. It must always be the same.
	Name() string

	// Assign returns which member gets which partitions, by member ID. It is called when
	// members, their subscriptions or the topics have changed, and must be a pure
	// function of its argument: the same group leads to the same assignment. It may keep
	// nothing of the group's slices and maps, nor change them. It must not use the
	// broker, and should be quick: the groups beside this one wait for it.
	//
	// A partition goes to a member that subscribes to its topic, and to one only. A
	// partition that no member gets is not read. An assignment that breaks these rules,
	// an error and a panic are fault.InvalidAssignment to a member that joins, which then
	// does not become a member. Where no one joins, the group keeps the assignment it
	// has until its members or topics change again, and the broker logs why.
	Assign(group GroupSpec) (map[string][]record.TopicPartition, error)
}

// GroupSpec is a group as a PartitionAssignor sees it.
type GroupSpec struct {
	Group   string
	Members []MemberSubscription // static members by InstanceID, then the others by ID
	Topics  map[string]int       // how many partitions each topic has to which a member subscribes
}

// MemberSubscription is a member of a GroupSpec.
type MemberSubscription struct {
	ID         string // of this membership: a member that joins again has another one
	InstanceID string // of a static member, or empty
	ClientID   string
	Topics     []string                // subscribed, as far as they exist; sorted
	Before     []record.TopicPartition // what the assignment before gave it, as far as it may keep it; sorted
}
