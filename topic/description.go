package topic

import (
	"encoding/base64"
	"errors"
	"math"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// ID is a topic's identity for life: a topic deleted and created again under
// the same name has another ID.
type ID [16]byte

// String returns Kafka's spelling, 22 characters of URL-safe base64.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseID parses the output of String. It returns fault.UnknownTopicID if s is
// no ID.
func ParseID(s string) (id ID, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(id) {
		return ID{}, fault.Newf(fault.UnknownTopicID, "%q is not 22 characters of URL-safe base64", s)
	}
	return ID(b), nil
}

// Spec is a topic to be created.
type Spec struct {
	Name       string
	Partitions int // 0: the backend's default
	Replicas   int // 0: the backend's default
	Config     Config
}

// Validate reports everything that is wrong with s: fault.InvalidTopic,
// fault.InvalidPartitions, fault.InvalidReplication and fault.InvalidConfig.
func (s Spec) Validate() error {
	errs := []error{ValidateName(s.Name)}
	if s.Partitions < 0 || s.Partitions > math.MaxInt32 {
		errs = append(errs, fault.At(fault.InvalidPartitions, s.Name, -1, -1).Detailf("%d", s.Partitions).
			Try("give 1 or more, or 0 for the default"))
	}
	if s.Replicas < 0 || s.Replicas > math.MaxInt16 {
		errs = append(errs, fault.At(fault.InvalidReplication, s.Name, -1, -1).Detailf("%d", s.Replicas).
			Try("give 1 or more, or 0 for the default"))
	}
	return errors.Join(append(errs, s.Config.Validate())...)
}

// Description is a topic as it is now.
type Description struct {
	Name       string
	ID         ID
	Internal   bool
	Config     Config // as set: a zero field means its default
	Partitions []PartitionDescription
}

// PartitionDescription is one partition as it is now. If the partition could
// not be opened because it is damaged, Leader, LeaderEpoch, offsets and Size
// are -1, and ISR is empty; every other call on it returns the reason.
//
// On a cluster of brokers, what concerns the replicas is what the partition's leader
// says, whichever node is asked. While there is no leader, or it does not answer, ISR
// and Lag are empty. Offsets and Size are those of the copy of the node that is asked.
type PartitionDescription struct {
	Number      int32
	Leader      int32 // -1 if there is none
	LeaderEpoch int32
	Replicas    []int32 // the first one is the preferred leader
	ISR         []int32 // the replicas that are in sync, the leader among them
	Lag         []Lag   // of the followers, by node; none where the backend does not know

	// 0 <= StartOffset <= HighWatermark <= EndOffset, and DurableOffset <=
	// EndOffset.
	StartOffset   int64 // the first readable offset
	HighWatermark int64 // the offset after the last readable record
	EndOffset     int64 // the offset after the last record written
	DurableOffset int64 // every record before it is on disk; -1 where unknown
	Size          int64 // bytes of the log; -1 where unknown
}

// UnderReplicated reports whether a replica is not in sync.
func (p PartitionDescription) UnderReplicated() bool { return len(p.ISR) < len(p.Replicas) }

// Lag is how far a follower is behind its leader.
type Lag struct {
	Node    int32
	Records int64 // that the leader has and the follower lacks; -1 while the leader does not know
}

// Cluster is the nodes of a backend, as it knows them now.
type Cluster struct {
	Controller int32  // the node that changes topics; -1 if there is none at the moment
	Nodes      []Node // by ID
}

// Node is one node of a cluster: what Kafka calls a broker.
type Node struct {
	ID      int32
	Address string // where other nodes reach it; empty in one process
	Rack    string // empty if it was given none
	Alive   bool   // the node that answers has heard from it lately, or is it
}

// Placement says which partition of which topic is kept where.
type Placement struct {
	record.TopicPartition
	ID       ID      // of the topic
	Replicas []int32 // the nodes that keep a replica; the first one leads if it can
}

// TopicPartitions returns all partitions of d.
func (d Description) TopicPartitions() []record.TopicPartition {
	tps := make([]record.TopicPartition, len(d.Partitions))
	for i, p := range d.Partitions {
		tps[i] = record.TopicPartition{Topic: d.Name, Partition: p.Number}
	}
	return tps
}
