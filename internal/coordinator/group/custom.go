package group

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// refusal is why a group has no target for its epoch: what a custom assignor gave is
// not valid. The group keeps its target, and the assignor is asked again in the next
// epoch; in this one it would say the same.
type refusal struct {
	epoch int32
	err   error
}

// knows reports whether members may choose an assignor.
func (c *Coordinator) knows(name string) bool {
	return IsAssignor(name) || c.limits.Assignors[name] != nil
}

// assignor returns the assignor that most members of g chose. A tie goes to the
// default, and then to the first by name.
func (c *Coordinator) assignor(g *group) string {
	votes := make(map[string]int)
	for _, m := range g.members {
		if c.knows(m.assignor) {
			votes[m.assignor]++
		}
	}
	chosen := DefaultAssignor
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if votes[name] > votes[chosen] {
			chosen = name
		}
	}
	return chosen
}

// assign computes the target of each member. fault.InvalidAssignment, from custom
// assignors only.
func (c *Coordinator) assign(g *group) ([]*subscriber, error) {
	all := g.subscribers(c.topics)
	name := c.assignor(g)
	if builtin := assignors[name]; builtin != nil {
		builtin(all)
		return all, nil
	}
	given, err := ask(c.limits.Assignors[name], c.spec(g, all))
	if err == nil {
		err = c.take(all, given)
	}
	if err != nil {
		return nil, fault.Newf(fault.InvalidAssignment, "the assignor %q for group %q", name, g.name).Because(err)
	}
	return all, nil
}

// ask calls a custom assignor. A panic becomes an error: it must not end a command of
// which some records have been applied.
func ask(a consumer.PartitionAssignor, spec consumer.GroupSpec) (given map[string][]record.TopicPartition, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Newf(fault.Unknown, "it panicked: %v", p)
		}
	}()
	return a.Assign(spec)
}

// spec describes a group to a custom assignor.
func (c *Coordinator) spec(g *group, all []*subscriber) consumer.GroupSpec {
	spec := consumer.GroupSpec{Group: g.name, Topics: map[string]int{}}
	for _, s := range all {
		m := g.members[s.id]
		member := consumer.MemberSubscription{
			ID: s.id, InstanceID: m.instanceID, ClientID: m.clientID,
			Before: c.named(s.before.filter(func(p Partition) bool { return valid(s, p) })),
		}
		for _, t := range s.topics {
			member.Topics = append(member.Topics, t.Name)
			spec.Topics[t.Name] = int(t.Partitions)
		}
		slices.Sort(member.Topics)
		spec.Members = append(spec.Members, member)
	}
	return spec
}

// take checks what a custom assignor has given, and makes it the subscribers' targets.
func (c *Coordinator) take(all []*subscriber, given map[string][]record.TopicPartition) error {
	members := make(map[string]*subscriber, len(all))
	for _, s := range all {
		members[s.id] = s
	}
	owners := make(map[Partition]string)
	for _, id := range slices.Sorted(maps.Keys(given)) {
		s := members[id]
		if s == nil {
			return fault.Newf(fault.UnknownMember, "it gave partitions to %q", id)
		}
		for _, tp := range given[id] {
			p := Partition{ID: c.topics.byName[tp.Topic].ID, Number: tp.Partition}
			if !valid(s, p) {
				return fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1).Detailf("it gave the partition to %q, which does not subscribe to one", id)
			}
			if owner, twice := owners[p]; twice {
				return fault.At(fault.InvalidRequest, tp.Topic, tp.Partition, -1).Detailf("it gave the partition to %q and to %q", owner, id)
			}
			owners[p] = id
			s.give(p)
		}
	}
	return nil
}

// tryOut reports whether the group would get an assignment with a member that joins, in
// the place of before if that is not nil. Only custom assignors can fail, so only they
// are asked.
func (c *Coordinator) tryOut(m Member, metadata memberMetadata, before *member) error {
	trial := newGroup(m.Group)
	if g := c.groups[m.Group]; g != nil {
		trial.members, trial.targets = maps.Clone(g.members), maps.Clone(g.targets)
	}
	if before != nil {
		delete(trial.members, before.id)
		trial.targets[m.ID] = trial.targets[before.id]
	}
	trial.members[m.ID] = newMember(m.ID, metadata)
	if c.limits.Assignors[c.assignor(trial)] == nil {
		return nil
	}
	_, err := c.assign(trial)
	return err
}
