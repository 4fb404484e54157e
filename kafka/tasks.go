package kafka

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// taskBalancer assigns the tasks of a streams application, in the member that
// leads the group. Members send their metadata as the user data of their
// subscriptions. It is cooperative: members continue with the tasks that stay.
type taskBalancer struct{ metadata []byte }

// ProtocolName implements kgo.GroupBalancer.
func (taskBalancer) ProtocolName() string { return tasks.Assignor }

// IsCooperative implements kgo.GroupBalancer.
func (taskBalancer) IsCooperative() bool { return true }

// JoinGroupMetadata implements kgo.GroupBalancer.
func (b taskBalancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics, meta.UserData, meta.Generation = topics, b.metadata, generation
	for name, partitions := range owned {
		of := kmsg.NewConsumerMemberMetadataOwnedPartition()
		of.Topic, of.Partitions = name, partitions
		meta.OwnedPartitions = append(meta.OwnedPartitions, of)
	}
	slices.SortFunc(meta.OwnedPartitions, func(a, b kmsg.ConsumerMemberMetadataOwnedPartition) int {
		return strings.Compare(a.Topic, b.Topic)
	})
	return meta.AppendTo(nil)
}

// ParseSyncAssignment implements kgo.GroupBalancer.
func (taskBalancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(assignment)
}

// MemberBalancer implements kgo.GroupBalancer.
func (b taskBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	balancer, err := kgo.NewConsumerBalancer(b, members)
	if err != nil {
		return nil, nil, err
	}
	return balancer, balancer.MemberTopics(), nil
}

// Balance implements kgo.ConsumerBalancerBalance.
func (taskBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	members := make([]tasks.Member, len(b.Members()))
	claims := make(map[record.TopicPartition]map[int]int32)
	for i := range members {
		_, meta := b.MemberAt(i)
		told, err := tasks.Decode(meta.UserData)
		if err != nil {
			b.SetError(err)
			return nil
		}
		members[i].Metadata = told
		for _, owned := range meta.OwnedPartitions {
			for _, p := range owned.Partitions {
				tp := record.TopicPartition{Topic: owned.Topic, Partition: p}
				if claims[tp] == nil {
					claims[tp] = make(map[int]int32)
				}
				claims[tp][i] = meta.Generation
			}
		}
	}
	for tp, by := range claims {
		newest := slices.Max(slices.Collect(maps.Values(by)))
		for i, generation := range by {
			if generation == newest {
				members[i].Owned = append(members[i].Owned, tp)
			}
		}
	}
	plan := b.NewPlan()
	for i, given := range tasks.Assign(members, topics) {
		member, _ := b.MemberAt(i)
		for _, task := range given {
			if !mayTake(i, task, claims) {
				continue
			}
			for _, tp := range task.Reads {
				plan.AddPartition(member, tp.Topic, tp.Partition)
			}
		}
	}
	return plan
}

// mayTake reports whether a member may run a task now. If another member claims
// a partition of the task, only a member that claims the partition too, from
// the same or a later generation, may continue with it: a claim of an older
// generation belongs to a member that missed the changes since (KIP-792). All
// others wait until the task's owner, which is assigned none of the task
// either, has revoked all of it and joins again.
func mayTake(member int, task tasks.Task, claims map[record.TopicPartition]map[int]int32) bool {
	for _, tp := range task.Reads {
		own, owns := claims[tp][member]
		for other, generation := range claims[tp] {
			if other != member && (!owns || own < generation) {
				return false
			}
		}
	}
	return true
}
