package group

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// checkTold checks what a member tells its assignor.
func checkTold(m Member) error {
	if (m.Assignor == tasks.Assignor) != (len(m.Metadata) > 0) {
		return fault.Newf(fault.InvalidRequest, "the assignor %q with %d bytes of metadata", m.Assignor, len(m.Metadata))
	}
	if len(m.Metadata) == 0 {
		return nil
	}
	if len(m.Metadata) > tasks.MaxMetadata {
		return fault.Newf(fault.InvalidRequest, "%d bytes of metadata for the assignor, %d fit", len(m.Metadata), tasks.MaxMetadata)
	}
	told, err := tasks.Decode(m.Metadata)
	if err != nil {
		return err
	}
	for _, topics := range told.SubTopologies {
		for _, name := range topics {
			if !slices.Contains(m.Topics, name) {
				return fault.Newf(fault.InvalidRequest, "a task reads %s, to which the member does not subscribe", name)
			}
		}
	}
	return nil
}

// checkKind refuses a consumer among the members of a streams application and
// the other way round: what one assignor gave out, the other would take away.
func (g *group) checkKind(m Member) error {
	for _, other := range g.members {
		if (other.assignor == tasks.Assignor) != (m.Assignor == tasks.Assignor) {
			return fault.Newf(fault.InconsistentProtocol, "group %q shares tasks of a streams application, or a consumer's partitions, and not both", g.name).
				Try("give the consumer a group of its own")
		}
	}
	return nil
}

// assignTasks gives out whole tasks. See package tasks.
func assignTasks(subscribers []*subscriber) {
	byName := make(map[string]Topic)
	byID := make(map[[16]byte]string)
	partitions := make(map[string]int32)
	for _, t := range topicsOf(subscribers) {
		byName[t.Name], byID[t.ID], partitions[t.Name] = t, t.Name, t.Partitions
	}
	members := make([]tasks.Member, len(subscribers))
	for i, s := range subscribers {
		members[i].Metadata = s.told
		for _, p := range s.before {
			if name, ok := byID[p.ID]; ok {
				members[i].Owned = append(members[i].Owned, record.TopicPartition{Topic: name, Partition: p.Number})
			}
		}
	}
	for i, given := range tasks.Assign(members, partitions) {
		for _, task := range given {
			for _, tp := range task.Reads {
				subscribers[i].give(Partition{ID: byName[tp.Topic].ID, Number: tp.Partition})
			}
		}
	}
}

// whole returns those of the partitions free for m whose task is free as a
// whole. A task moves only when its owner of before has given up all of it. In a
// group whose members differ in their topologies, that is every task of another
// member which shares a topic with m's.
func (g *group) whole(m *member, topics *Topics, free partitions) partitions {
	if m.assignor != tasks.Assignor || len(free) == 0 {
		return free
	}
	type place struct {
		topic  string
		number int32
	}
	taken := make(map[place]bool)
	for _, other := range g.members {
		if other.id == m.id {
			continue
		}
		for _, p := range other.assigned.plus(other.revoking) {
			for _, name := range other.together(topics, p) {
				taken[place{name, p.Number}] = true
			}
		}
	}
	return free.filter(func(p Partition) bool {
		return !slices.ContainsFunc(m.together(topics, p), func(name string) bool { return taken[place{name, p.Number}] })
	})
}

// together returns the topics of the sub-topology that reads p in m.
func (m *member) together(topics *Topics, p Partition) []string {
	if name, ok := topics.Name(p.ID); ok {
		if sub, ok := m.tasks.SubTopology(name); ok {
			return m.tasks.SubTopologies[sub]
		}
	}
	return nil
}
