package group

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// memberState says how far a member is on its way to the target assignment.
// Numbers are Kafka's.
type memberState int8

const (
	stable               memberState = 0 // it owns what it should
	unrevokedPartitions  memberState = 1 // it has to give something up before it goes on
	unreleasedPartitions memberState = 2 // it waits for what others have to give up
)

// Epochs that are no epochs.
const (
	epochJoin  int32 = 0  // a member that has just come
	epochLeft  int32 = -1 // a member without an assignment
	epochAway  int32 = -2 // a static member that is away and keeps its place
	noneOwns         = ""
	firstEpoch       = 1
)

// group is one consumer group. Apply alone changes it.
type group struct {
	name        string
	epoch       int32 // 0: nobody ever joined, there are offsets only
	hash        int64 // of the topics, when epoch began
	targetEpoch int32 // the epoch of targets; targetEpoch <= epoch
	members     map[string]*member
	statics     map[string]string // instance ID -> member ID
	targets     map[string]partitions
	offsets     map[record.TopicPartition]offset

	// owners says who owns a partition: owners[p] == m.id exactly if p is in
	// m.assigned or m.revoking.
	owners map[Partition]string
}

type member struct {
	id string
	memberMetadata
	tasks    tasks.Metadata   // what told says; nothing where it cannot be read
	matching *pattern.Pattern // pattern; nil without one
	current
}

// subscribed returns the names of the topics that a member subscribes to, sorted:
// those that it names, and those that exist and match its pattern.
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
	}
}

// empty reports whether nothing of the group is left.
func (g *group) empty() bool {
	return g.epoch == 0 && g.targetEpoch == 0 && len(g.members)+len(g.targets)+len(g.offsets) == 0
}

// sorted returns the members by their IDs.
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
	var names []string
	for _, m := range g.members {
		names = append(names, m.subscribed(exist)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// owner returns who owns p, or noneOwns.
func (g *group) owner(p Partition) string { return g.owners[p] }

// settled reports whether m has nothing left to do for the current target.
func (g *group) settled(m *member) bool {
	return m.state == stable && m.epoch == g.targetEpoch
}

// Apply applies one record of the log. Records that are not of a kind which is
// kept here do nothing; bytes that are not what they should be are
// fault.CorruptMessage, and leave everything as it was.
func (c *Coordinator) Apply(keyBytes, value []byte) error {
	k, known, err := decodeKey(keyBytes)
	if err != nil || !known {
		return err
	}
	g := c.groups[k.group]
	if g == nil {
		if value == nil {
			return nil
		}
		g = newGroup(k.group)
	}
	if value == nil {
		g.remove(k)
	} else if err := g.put(k, value); err != nil {
		return fault.Newf(fault.CorruptMessage, "group %q", k.group).Because(err)
	}
	c.groups[k.group] = g
	if g.empty() {
		delete(c.groups, k.group)
	}
	return nil
}

// put applies a record with a value.
func (g *group) put(k key, value []byte) error {
	switch k.kind {
	case keyOffset:
		o, err := decodeOffset(value)
		if err != nil {
			return err
		}
		g.offsets[record.TopicPartition{Topic: k.topic, Partition: k.partition}] = o
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
		m.memberMetadata = v
		m.matching, _ = pattern.Parse(v.pattern) // Join has tried it; one that another broker wrote may match nothing here
		m.tasks, _ = tasks.Decode(v.told)
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

// remove applies a tombstone.
func (g *group) remove(k key) {
	switch k.kind {
	case keyOffset:
		delete(g.offsets, record.TopicPartition{Topic: k.topic, Partition: k.partition})
	case keyGroup:
		g.epoch, g.hash = 0, 0
	case keyMember:
		if m := g.members[k.member]; m != nil {
			g.setCurrent(m, noCurrent)
			g.forgetStatic(m)
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

// member returns the member with that ID, which is new if there was none.
func (g *group) member(id string) *member {
	m := g.members[id]
	if m == nil {
		m = &member{id: id, current: noCurrent}
		g.members[id] = m
	}
	return m
}

func (g *group) forgetStatic(m *member) {
	if g.statics[m.instanceID] == m.id {
		delete(g.statics, m.instanceID)
	}
}

func (g *group) setCurrent(m *member, v current) {
	for _, set := range []partitions{m.assigned, m.revoking} {
		for _, p := range set {
			if g.owners[p] == m.id {
				delete(g.owners, p)
			}
		}
	}
	m.current = v
	for _, set := range []partitions{v.assigned, v.revoking} {
		for _, p := range set {
			g.owners[p] = m.id
		}
	}
}
