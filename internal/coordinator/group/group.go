package group

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// memberState is how far a member is on its way to the target assignment. The
// numbers are Kafka's.
type memberState int8

const (
	stable               memberState = 0 // it owns its target
	unrevokedPartitions  memberState = 1 // it must revoke partitions first
	unreleasedPartitions memberState = 2 // it waits for partitions that others must revoke
)

// Special values of a member's epoch. Epochs of groups begin at firstEpoch.
const (
	epochJoin  int32 = 0  // a member that has just joined
	epochLeft  int32 = -1 // a member without an assignment
	epochAway  int32 = -2 // a static member that is away and keeps its place
	noneOwns         = "" // the owner of a partition that has none
	firstEpoch       = 1
)

// group is one consumer group. Only Apply changes it.
type group struct {
	name        string
	epoch       int32 // 0: no member ever joined, there are only offsets
	hash        int64 // of the topics as of the beginning of epoch
	targetEpoch int32 // the epoch of targets; targetEpoch <= epoch
	members     map[string]*member
	statics     map[string]string // instance ID -> member ID
	targets     map[string]partitions
	offsets     map[record.TopicPartition]offset
	classic     *classic // nil unless it is, or was last, a group of the classic protocol

	// The rest is derived from the members, so that no heartbeat has to go through all of
	// them. owners has the owner of each partition: owners[p] == m.id if and only if p is
	// in m.assigned or m.revoking. waiting are the members in unreleasedPartitions.
	// subscriptions counts the members with a topic in their list, and patterns those
	// with a pattern.
	owners        map[Partition]string
	waiting       map[string]*member
	subscriptions map[string]int
	patterns      int
}

// member is a member of a group: its metadata, and its current assignment.
type member struct {
	id string
	memberMetadata
	tasks    tasks.Metadata   // told, decoded; empty if that fails
	matching *pattern.Pattern // pattern, parsed; nil without one
	current
}

// newMember returns a member without an assignment.
func newMember(id string, v memberMetadata) *member {
	m := &member{id: id, current: noCurrent}
	m.describe(v)
	return m
}

// describe sets what the member says of itself; it belongs to no group yet.
func (m *member) describe(v memberMetadata) {
	m.memberMetadata = v
	m.matching, _ = pattern.Parse(v.pattern) // Join has checked it; one that another broker wrote may be invalid here, and matches nothing
	m.tasks, _ = tasks.Decode(v.told)
}

// subscribed returns the names of the topics that a member subscribes to, sorted:
// those in its list, and existing ones that match its pattern.
func (m *member) subscribed(exist *Topics) []string {
	if m.matching == nil {
		return m.topics
	}
	names := slices.Clone(m.topics)
	for name := range exist.byName {
		if m.matching.Matches(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func newGroup(name string) *group {
	return &group{
		name: name, members: map[string]*member{}, statics: map[string]string{}, targets: map[string]partitions{},
		offsets: map[record.TopicPartition]offset{}, owners: map[Partition]string{},
		waiting: map[string]*member{}, subscriptions: map[string]int{},
	}
}

// empty reports whether the group has no state left, and can be dropped.
func (g *group) empty() bool {
	return g.epoch == 0 && g.targetEpoch == 0 && g.classic == nil && len(g.members)+len(g.targets)+len(g.offsets) == 0
}

// sorted returns the members, sorted by ID. Commands go through them in this order,
// so that the same log always leads to the same records.
func (g *group) sorted() []*member {
	ids := slices.Sorted(maps.Keys(g.members))
	all := make([]*member, len(ids))
	for i, id := range ids {
		all[i] = g.members[id]
	}
	return all
}

// topics returns the names of all topics that members subscribe to, sorted.
func (g *group) topics(exist *Topics) []string {
	names := slices.Collect(maps.Keys(g.subscriptions))
	if g.patterns > 0 {
		for _, m := range g.members {
			if m.matching != nil {
				names = append(names, m.subscribed(exist)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// subscribe counts m's subscription in by.
func (g *group) subscribe(m *member, by int) {
	for _, name := range m.topics {
		if g.subscriptions[name] += by; g.subscriptions[name] == 0 {
			delete(g.subscriptions, name)
		}
	}
	if m.matching != nil {
		g.patterns += by
	}
}

// owner returns the ID of the member that owns p, or noneOwns.
func (g *group) owner(p Partition) string { return g.owners[p] }

// settled reports whether m has reached the current target.
func (g *group) settled(m *member) bool {
	return m.state == stable && m.epoch == g.targetEpoch
}

// Apply applies one record of the log. It ignores records of other types. Malformed
// bytes are fault.CorruptMessage and change nothing.
func (c *Coordinator) Apply(keyBytes, value []byte) error {
	k, known, err := decodeKey(keyBytes)
	if err != nil || !known {
		return err
	}
	c.applied++
	if value == nil && k.kind == keyOffset {
		c.dropPending(k)
	}
	g := c.groups[k.group]
	if g == nil {
		if value == nil {
			return nil
		}
		g = newGroup(k.group)
	}
	switch k.kind {
	case keyMember:
		delete(c.hashes, k.group)
	case keyTarget:
		delete(c.heirs, k.group)
	}
	if value == nil {
		g.applyTombstone(k)
	} else if err := g.applyValue(k, value, c.applied); err != nil {
		return fault.Newf(fault.CorruptMessage, "group %q", k.group).Because(err)
	}
	c.groups[k.group] = g
	if g.empty() {
		delete(c.groups, k.group)
	}
	return nil
}

// applyValue applies a record with a value, the number of which is order.
func (g *group) applyValue(k key, value []byte, order int64) error {
	switch k.kind {
	case keyOffset:
		o, err := decodeOffset(value)
		if err != nil {
			return err
		}
		o.order = order
		g.offsets[record.TopicPartition{Topic: k.topic, Partition: k.partition}] = o
	case keyClassic:
		v, err := decodeClassic(value)
		if err != nil {
			return err
		}
		g.classic = v
	case keyGroup:
		v, err := decodeGroup(value)
		if err != nil {
			return err
		}
		g.epoch, g.hash = v.epoch, v.hash
	case keyMember:
		v, err := decodeMember(value)
		if err != nil {
			return err
		}
		m := g.member(k.member)
		g.forgetStatic(m)
		g.subscribe(m, -1)
		m.describe(v)
		g.subscribe(m, +1)
		if v.instanceID != "" {
			g.statics[v.instanceID] = m.id
		}
	case keyTargetMetadata:
		epoch, err := decodeTargetEpoch(value)
		if err != nil {
			return err
		}
		g.targetEpoch = epoch
	case keyTarget:
		target, err := decodeTarget(value)
		if err != nil {
			return err
		}
		g.targets[k.member] = target
	case keyCurrent:
		v, err := decodeCurrent(value)
		if err != nil {
			return err
		}
		g.setCurrent(g.member(k.member), v)
	}
	return nil
}

// applyTombstone applies a record without a value.
func (g *group) applyTombstone(k key) {
	switch k.kind {
	case keyOffset:
		delete(g.offsets, record.TopicPartition{Topic: k.topic, Partition: k.partition})
	case keyClassic:
		g.classic = nil
	case keyGroup:
		g.epoch, g.hash = 0, 0
	case keyMember:
		if m := g.members[k.member]; m != nil {
			g.setCurrent(m, noCurrent)
			g.forgetStatic(m)
			g.subscribe(m, -1)
			delete(g.members, k.member)
		}
	case keyTargetMetadata:
		g.targetEpoch = 0
	case keyTarget:
		delete(g.targets, k.member)
	case keyCurrent:
		if m := g.members[k.member]; m != nil {
			g.setCurrent(m, noCurrent)
		}
	}
}

// noCurrent is the assignment of a member that has none.
var noCurrent = current{epoch: epochLeft, previousEpoch: epochLeft}

// member returns the member with an ID, and creates it if there is none.
func (g *group) member(id string) *member {
	m := g.members[id]
	if m == nil {
		m = &member{id: id, current: noCurrent}
		g.members[id] = m
	}
	return m
}

// forgetStatic removes m's entry in statics, unless the instance has another member
// already.
func (g *group) forgetStatic(m *member) {
	if g.statics[m.instanceID] == m.id {
		delete(g.statics, m.instanceID)
	}
}

// setCurrent replaces m's assignment and updates owners. A partition that another
// member has got meanwhile stays that member's.
func (g *group) setCurrent(m *member, v current) {
	for _, set := range []partitions{m.assigned, m.revoking} {
		for _, p := range set {
			if g.owners[p] == m.id {
				delete(g.owners, p)
			}
		}
	}
	m.current = v
	delete(g.waiting, m.id)
	if v.state == unreleasedPartitions {
		g.waiting[m.id] = m
	}
	for _, set := range []partitions{v.assigned, v.revoking} {
		for _, p := range set {
			g.owners[p] = m.id
		}
	}
}
