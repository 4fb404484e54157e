package group

import (
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
)

// classicNames returns the groups of the classic protocol, sorted.
func (c *Coordinator) classicNames() []string {
	names := slices.Collect(maps.Keys(c.rounds))
	for name, g := range c.groups {
		if g.classic != nil && c.rounds[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// classicState returns the state of a group of the classic protocol, and whether it is
// one. One to which only IDs were given out is not there yet.
func (c *Coordinator) classicState(groupName string) (consumer.GroupState, bool) {
	r := c.rounds[groupName]
	g := c.groups[groupName]
	logged := g != nil && g.classic != nil
	switch {
	case r != nil && (len(r.members) > 0 || logged):
		return [...]consumer.GroupState{
			classicEmpty: consumer.GroupEmpty, classicPreparing: consumer.GroupPreparingRebalance,
			classicCompleting: consumer.GroupCompletingRebalance, classicStable: consumer.GroupStable,
		}[r.state], true
	case logged && c.classicMembers(groupName) > 0:
		return consumer.GroupStable, true
	case logged:
		return consumer.GroupEmpty, true
	}
	return "", false
}

// describeClassic describes a group of the classic protocol. Its epoch is the
// generation. The assignments are those of a complete generation, if the members are
// consumers.
func (c *Coordinator) describeClassic(groupName string, state consumer.GroupState) consumer.GroupDescription {
	v := (*classic)(nil)
	if r := c.rounds[groupName]; r != nil {
		v = r.complete(time.Time{})
	} else {
		v = c.groups[groupName].classic
	}
	if state == consumer.GroupEmpty {
		v = &classic{generation: v.generation}
	}
	d := consumer.GroupDescription{Name: groupName, State: state, Epoch: v.generation, Assignor: v.protocol}
	for _, id := range slices.Sorted(maps.Keys(v.members)) {
		m := v.members[id]
		member := consumer.Member{ID: id, InstanceID: m.instanceID, ClientID: m.clientID, Epoch: v.generation}
		if v.protocolType == ConsumerProtocol {
			member.Topics = subscribed(m.subscription)
			member.Assigned = assigned(m.assignment)
			member.Target = member.Assigned
		}
		d.Members = append(d.Members, member)
	}
	return d
}
