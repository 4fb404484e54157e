package group

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// checkTold checks a member's metadata for its assignor.
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

// checkKind refuses a consumer in the group of a streams application, and the other
// way round: the group has one assignor, and the two kinds need different ones.
func (g *group) checkKind(m Member) error {
	for _, other := range g.members {
		if (other.assignor == tasks.Assignor) != (m.Assignor == tasks.Assignor) {
			return fault.Newf(fault.InconsistentProtocol, "group %q shares tasks of a streams application, or a consumer's partitions, and not both", g.name).
				Try("give the consumer a group of its own")
		}
	}
	return nil
}

// assignTasks assigns whole tasks. See package tasks.
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

// freeTasks returns those of the free partitions whose whole task is free for m. A
// task moves only when its previous owner has revoked all of it: two members with
// parts of a task would each have parts of its state. Members may have different
// topologies, during an upgrade; then every task of another member that shares a
// topic with m's must be free.
func (g *group) freeTasks(m *member, topics *Topics, free partitions) partitions {
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
			for _, name := range other.readTogether(topics, p) {
				taken[place{name, p.Number}] = true
			}
		}
	}
	return free.filter(func(p Partition) bool {
		return !slices.ContainsFunc(m.readTogether(topics, p), func(name string) bool { return taken[place{name, p.Number}] })
	})
}

// readTogether returns the topics of m's sub-topology that reads p.
func (m *member) readTogether(topics *Topics, p Partition) []string {
	if name, ok := topics.Name(p.ID); ok {
		if sub, ok := m.tasks.SubTopology(name); ok {
			return m.tasks.SubTopologies[sub]
		}
	}
	return nil
}
