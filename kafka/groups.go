package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Groups implements consumer.Admin. Only consumer groups are listed.
func (c *Cluster) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	listed, err := c.admin.ListGroups(ctx)
	if err != nil {
		return nil, failure(err)
	}
	var groups []consumer.GroupListing
	for _, g := range listed.Sorted() {
		if g.ProtocolType != "consumer" && g.ProtocolType != "" {
			continue
		}
		d, err := c.describeGroup(ctx, g.Group)
		if errors.Is(err, fault.GroupNotFound) {
			continue // deleted since it was listed
		}
		if err != nil {
			return nil, err
		}
		groups = append(groups, consumer.GroupListing{Name: d.Name, State: d.State, Members: len(d.Members)})
	}
	return groups, nil
}

// coordinated makes a request to a group's coordinator, and retries while there
// is none: with its first group, a cluster has to create its topic of offsets.
func (c *Cluster) coordinated(ctx context.Context, request func() error) error {
	if err := c.live(); err != nil {
		return err
	}
	var err error
	waited := c.awaitAnswer(ctx, func() (bool, error) {
		err = request()
		return !errors.Is(err, fault.CoordinatorNotAvailable), nil
	})
	if err == nil && waited != nil {
		return waited
	}
	return err
}

// DescribeGroups implements consumer.Admin.
func (c *Cluster) DescribeGroups(ctx context.Context, names ...string) ([]consumer.GroupDescription, error) {
	described := make([]consumer.GroupDescription, len(names))
	for i, name := range names {
		var err error
		if described[i], err = c.describeGroup(ctx, name); err != nil {
			return nil, err
		}
	}
	return described, nil
}

// describeGroup describes a group of either protocol. A cluster without KIP-848
// does not support the first request.
func (c *Cluster) describeGroup(ctx context.Context, name string) (consumer.GroupDescription, error) {
	if err := c.live(); err != nil {
		return consumer.GroupDescription{}, err
	}
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{name}
	if resp, err := req.RequestWith(ctx, c.client); err == nil && len(resp.Groups) == 1 && resp.Groups[0].ErrorCode == 0 {
		return c.nextGroup(ctx, resp.Groups[0])
	}
	classic, err := c.admin.DescribeGroups(ctx, name)
	if err != nil {
		return consumer.GroupDescription{}, groupFailure(err, name)
	}
	g := classic[name]
	if g.Err != nil {
		return consumer.GroupDescription{}, groupFailure(g.Err, name)
	}
	if g.State == "Dead" && len(g.Members) == 0 {
		return consumer.GroupDescription{}, groupFailure(kerr.GroupIDNotFound, name)
	}
	return classicGroup(g), nil
}

// groupFailure is failure with the group's name.
func groupFailure(err error, group string) error {
	err = failure(err)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Detail == "" {
		f.Detail = group
	}
	return err
}

func (c *Cluster) nextGroup(ctx context.Context, g kmsg.ConsumerGroupDescribeResponseGroup) (consumer.GroupDescription, error) {
	d := consumer.GroupDescription{Name: g.Group, State: consumer.GroupState(g.State), Epoch: g.Epoch, Assignor: g.AssignorName}
	for _, m := range g.Members {
		topics := slices.Clone(m.SubscribedTopics)
		slices.Sort(topics)
		assigned, err := c.named(ctx, m.Assignment)
		if err != nil {
			return d, err
		}
		target, err := c.named(ctx, m.TargetAssignment)
		if err != nil {
			return d, err
		}
		d.Members = append(d.Members, consumer.Member{
			ID: m.MemberID, InstanceID: deref(m.InstanceID), ClientID: m.ClientID, Epoch: m.MemberEpoch,
			Topics: topics, Assigned: assigned, Target: target,
		})
	}
	return sortMembers(d), nil
}

// named returns an assignment with topics by name. Some clusters send only
// topic IDs.
func (c *Cluster) named(ctx context.Context, a kmsg.Assignment) ([]record.TopicPartition, error) {
	m := make(map[string][]int32)
	for _, t := range a.TopicPartitions {
		if t.Topic == "" {
			topics, err := c.allTopics(ctx)
			if err != nil {
				return nil, err
			}
			for _, known := range topics {
				if known.TopicID == t.TopicID && known.Topic != nil {
					t.Topic = *known.Topic
				}
			}
		}
		m[t.Topic] = append(m[t.Topic], t.Partitions...)
	}
	return sorted(m), nil
}

func classicGroup(g kadm.DescribedGroup) consumer.GroupDescription {
	d := consumer.GroupDescription{Name: g.Group, State: consumer.GroupState(g.State), Assignor: g.Protocol, Epoch: -1}
	switch g.State {
	case "PreparingRebalance":
		d.State = consumer.GroupReconciling
	case "CompletingRebalance":
		d.State = consumer.GroupAssigning
	}
	for _, m := range g.Members {
		member := consumer.Member{ID: m.MemberID, InstanceID: deref(m.InstanceID), ClientID: m.ClientID, Epoch: -1}
		if join, ok := m.Join.AsConsumer(); ok {
			member.Topics = slices.Clone(join.Topics)
			slices.Sort(member.Topics)
		}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				for _, p := range t.Partitions {
					member.Assigned = append(member.Assigned, record.TopicPartition{Topic: t.Topic, Partition: p})
				}
			}
			slices.SortFunc(member.Assigned, record.TopicPartition.Compare)
			member.Target = member.Assigned
		}
		d.Members = append(d.Members, member)
	}
	return sortMembers(d)
}

func sortMembers(d consumer.GroupDescription) consumer.GroupDescription {
	slices.SortFunc(d.Members, func(a, b consumer.Member) int { return strings.Compare(a.ID, b.ID) })
	return d
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// DeleteGroups implements consumer.Admin.
func (c *Cluster) DeleteGroups(ctx context.Context, names ...string) error {
	if err := c.live(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	deleted, err := c.admin.DeleteGroups(ctx, names...)
	if err != nil {
		return unsure(ctx, failure(err))
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, groupFailure(deleted[name].Err, name))
	}
	return errors.Join(errs...)
}

// GroupOffsets implements consumer.Admin.
func (c *Cluster) GroupOffsets(ctx context.Context, group string) (map[record.TopicPartition]consumer.Offset, error) {
	var fetched kadm.OffsetResponses
	err := c.coordinated(ctx, func() (err error) {
		fetched, err = c.admin.FetchOffsets(ctx, group)
		return groupFailure(err, group)
	})
	if err != nil {
		return nil, err
	}
	offsets := make(map[record.TopicPartition]consumer.Offset)
	for name, partitions := range fetched {
		for n, o := range partitions {
			tp := record.TopicPartition{Topic: name, Partition: n}
			if o.Err != nil {
				return nil, failureOf(o.Err, tp)
			}
			if o.At >= 0 {
				offsets[tp] = consumer.Offset{Offset: o.At, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
			}
		}
	}
	return offsets, nil
}

// SetGroupOffsets implements consumer.Admin.
func (c *Cluster) SetGroupOffsets(ctx context.Context, group string, offsets map[record.TopicPartition]consumer.Offset) error {
	err := c.commit(ctx, group, offsets)
	switch fault.CodeOf(err) {
	case fault.UnknownMember, fault.IllegalGeneration, fault.StaleMemberEpoch, fault.RebalanceInProgress:
		// The cluster's answer to a commit without a member in a group that has
		// members.
		return fault.Newf(fault.NonEmptyGroup, "%s", group).Because(err)
	}
	return err
}

// DeleteGroupOffsets implements consumer.Admin.
func (c *Cluster) DeleteGroupOffsets(ctx context.Context, group string, partitions ...record.TopicPartition) error {
	if err := c.live(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	for _, tp := range partitions {
		set.Add(tp.Topic, tp.Partition)
	}
	deleted, err := c.admin.DeleteOffsets(ctx, group, set)
	if err != nil {
		return unsure(ctx, groupFailure(err, group))
	}
	for _, tp := range partitions {
		if err, _ := deleted.Lookup(tp.Topic, tp.Partition); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return failureOf(err, tp)
		}
	}
	return nil
}

// commit stores offsets for a group without being a member.
func (c *Cluster) commit(ctx context.Context, group string, offsets map[record.TopicPartition]consumer.Offset) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	all := kadm.Offsets{}
	for tp, o := range offsets {
		all.Add(kadm.Offset{Topic: tp.Topic, Partition: tp.Partition, At: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata})
	}
	var committed kadm.OffsetResponses
	err := c.coordinated(ctx, func() (err error) {
		committed, err = c.admin.CommitOffsets(ctx, group, all)
		return groupFailure(err, group)
	})
	if err != nil {
		return unsure(ctx, err)
	}
	for tp := range offsets {
		if r, _ := committed.Lookup(tp.Topic, tp.Partition); r.Err != nil {
			return failureOf(r.Err, tp)
		}
	}
	return nil
}
