package group

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Groups lists all groups, sorted by name.
func (c *Coordinator) Groups() []consumer.GroupListing {
	all := make([]consumer.GroupListing, 0, len(c.groups))
	names := slices.Concat(slices.Collect(maps.Keys(c.groups)), slices.Collect(maps.Keys(c.rounds)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if state, ok := c.classicState(name); ok {
			all = append(all, consumer.GroupListing{Name: name, State: state, Members: c.classicMembers(name)})
		} else if g := c.groups[name]; g != nil {
			all = append(all, consumer.GroupListing{Name: name, State: g.state(), Members: len(g.members)})
		}
	}
	return all
}

// Describe describes a group; fault.GroupNotFound.
func (c *Coordinator) Describe(groupName string) (consumer.GroupDescription, error) {
	if state, ok := c.classicState(groupName); ok {
		return c.describeClassic(groupName, state), nil
	}
	g := c.groups[groupName]
	if g == nil {
		return consumer.GroupDescription{}, fault.Newf(fault.GroupNotFound, "%q", groupName)
	}
	d := consumer.GroupDescription{Name: g.name, State: g.state(), Epoch: g.epoch, Assignor: c.assignor(g)}
	for _, m := range g.sorted() {
		d.Members = append(d.Members, consumer.Member{
			ID: m.id, InstanceID: m.instanceID, ClientID: m.clientID, Epoch: m.epoch,
			Topics:   slices.Clone(m.topics),
			Pattern:  m.pattern,
			Assigned: c.named(m.assigned.plus(m.revoking)),
			Target:   c.named(g.targets[m.id]),
		})
	}
	return d, nil
}

// named returns partitions with their topics' names, sorted, without those of
// deleted topics.
func (c *Coordinator) named(p partitions) []record.TopicPartition {
	var named []record.TopicPartition
	for _, one := range p {
		if name, ok := c.topics.Name(one.ID); ok {
			named = append(named, record.TopicPartition{Topic: name, Partition: one.Number})
		}
	}
	slices.SortFunc(named, record.TopicPartition.Compare)
	return named
}

func (g *group) state() consumer.GroupState {
	switch {
	case len(g.members) == 0:
		return consumer.GroupEmpty
	case g.targetEpoch < g.epoch:
		return consumer.GroupAssigning
	}
	for _, m := range g.members {
		if m.epoch != epochAway && !g.settled(m) {
			return consumer.GroupReconciling
		}
	}
	return consumer.GroupStable
}

// Offsets returns a group's committed offsets, for all partitions or only for some.
// An unknown group has none.
func (c *Coordinator) Offsets(groupName string, only ...record.TopicPartition) map[record.TopicPartition]consumer.Offset {
	all := make(map[record.TopicPartition]consumer.Offset)
	g := c.groups[groupName]
	if g == nil {
		return all
	}
	add := func(tp record.TopicPartition, o offset) {
		if c.topicExists(tp, o) {
			all[tp] = consumer.Offset{Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata}
		}
	}
	if len(only) == 0 {
		for tp, o := range g.offsets {
			add(tp, o)
		}
	}
	for _, tp := range only {
		if o, ok := g.offsets[tp]; ok {
			add(tp, o)
		}
	}
	return all
}

// Has reports whether there is a group of that name.
func (c *Coordinator) Has(groupName string) bool { return c.groups[groupName] != nil }

// IsMember reports whether a group has a member with that ID.
func (c *Coordinator) IsMember(groupName, memberID string) bool {
	_, _, err := c.find(groupName, memberID)
	return err == nil
}

// Knows reports whether there is a member with that ID in any group.
func (c *Coordinator) Knows(memberID string) bool {
	for _, g := range c.groups {
		if g.members[memberID] != nil {
			return true
		}
	}
	return false
}

// HasNews reports whether a member has a step to take towards its target.
func (c *Coordinator) HasNews(groupName, memberID string) bool {
	g, m, err := c.find(groupName, memberID)
	return err == nil && !g.settled(m)
}
