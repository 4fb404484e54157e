package tasks

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/runnel-go/runnel/record"
)

// Member is a member of the group as the assignor sees it.
type Member struct {
	Metadata
	Owned []record.TopicPartition // the current assignment, which the assignor preserves where it can
}

// Task is one task, by the partitions that it reads.
type Task struct {
	Topics    string // what its sub-topology reads; equal for all tasks of one
	Partition int32
	Reads     []record.TopicPartition
}

// Assign returns the tasks of each member, sorted. Ties are broken by the order
// of the members. partitions has the existing topics with their numbers of
// partitions.
//
// The assignment has these properties, the first ones taking precedence:
//
//   - Each task goes to exactly one member.
//   - Of each sub-topology, all members get the same number of tasks, give or
//     take one. The same holds for all tasks together.
//   - Tasks stay with their member where that is possible.
//   - The tasks of a sub-topology that cannot be divided evenly (the odd ones)
//     are spread over processes.
//
// Members may differ in their topologies, for example during the rollout of a
// new version of a program. They then share the sub-topologies that most of
// them know. Until all agree, no member reads a topic of one of these through
// another sub-topology.
func Assign(members []Member, partitions map[string]int32) [][]Task {
	d := newDealer(members, partitions)
	for _, sub := range agreed(members) {
		d.deal(sub)
	}
	for _, of := range d.tasks {
		sort.Slice(of, func(i, j int) bool { // package slices would add a sort for this type alone
			a, b := &of[i], &of[j]
			return a.Topics < b.Topics || a.Topics == b.Topics && a.Partition < b.Partition
		})
	}
	return d.tasks
}

// subTopology is one that the members agreed on.
type subTopology struct {
	key     string // its topics, sorted
	topics  []string
	members []int // members that know it
}

func keyOf(topics []string) string { return strings.Join(slices.Sorted(slices.Values(topics)), ",") }

// agreed returns sub-topologies that share no topic. Among those that do share
// one, the one that most members know wins.
func agreed(members []Member) []*subTopology {
	byKey := make(map[string]*subTopology)
	var all []*subTopology
	for i, m := range members {
		for _, topics := range m.SubTopologies {
			key := keyOf(topics)
			sub := byKey[key]
			if sub == nil {
				sub = &subTopology{key: key, topics: topics}
				byKey[key] = sub
				all = append(all, sub)
			}
			sub.members = append(sub.members, i)
		}
	}
	slices.SortFunc(all, func(a, b *subTopology) int {
		return cmp.Or(cmp.Compare(len(b.members), len(a.members)), cmp.Compare(a.key, b.key))
	})
	taken := make(map[string]bool)
	return slices.DeleteFunc(all, func(sub *subTopology) bool {
		for _, name := range sub.topics {
			if taken[name] {
				return true
			}
		}
		for _, name := range sub.topics {
			taken[name] = true
		}
		return false
	})
}

// dealer distributes tasks, one sub-topology after the other.
type dealer struct {
	members    []Member
	partitions map[string]int32
	tasks      [][]Task
	threads    map[string]int // members of each process
	load       map[string]int // tasks of each process
}

func newDealer(members []Member, partitions map[string]int32) *dealer {
	d := &dealer{
		members: members, partitions: partitions, tasks: make([][]Task, len(members)),
		threads: make(map[string]int), load: make(map[string]int),
	}
	for _, m := range members {
		d.threads[m.Process]++
	}
	return d
}

func (d *dealer) deal(sub *subTopology) {
	number := int32(0)
	for _, name := range sub.topics {
		number = max(number, d.partitions[name])
	}
	had := d.before(sub)
	left := d.shares(sub, int(number), had)
	taken := make(map[int32]bool)
	for i, m := range sub.members {
		for _, p := range had[i] {
			if left[i] > 0 {
				d.give(m, sub, p)
				taken[p] = true
				left[i]--
			}
		}
	}
	next := int32(0)
	for i, m := range sub.members {
		for ; left[i] > 0; next++ {
			if !taken[next] {
				d.give(m, sub, next)
				left[i]--
			}
		}
	}
}

// before returns which tasks of a sub-topology each of its members had, sorted.
// If several members had a task, which happens while they change owners, the
// first one counts.
func (d *dealer) before(sub *subTopology) [][]int32 {
	had := make([][]int32, len(sub.members))
	taken := make(map[int32]bool)
	for i, m := range sub.members {
		for _, tp := range d.members[m].Owned {
			exists := tp.Partition >= 0 && tp.Partition < d.partitions[tp.Topic]
			if exists && !taken[tp.Partition] && slices.Contains(sub.topics, tp.Topic) {
				had[i] = append(had[i], tp.Partition)
				taken[tp.Partition] = true
			}
		}
		slices.Sort(had[i])
	}
	return had
}

// shares returns how many of a sub-topology's tasks each of its members gets:
// an equal share, and one odd task more for some.
func (d *dealer) shares(sub *subTopology, number int, had [][]int32) []int {
	least := number / len(sub.members)
	share := make([]int, len(sub.members))
	for i, m := range sub.members {
		share[i] = least
		d.load[d.members[m].Process] += least
	}
	for range number % len(sub.members) {
		chosen := -1
		for i := range sub.members {
			if share[i] == least && (chosen < 0 || d.compare(sub, had, least, i, chosen) < 0) {
				chosen = i
			}
		}
		share[chosen]++
		d.load[d.members[sub.members[chosen]].Process]++
	}
	return share
}

// compare orders two of a sub-topology's members by their claim to an odd task;
// the result is negative if i comes first. Each criterion only breaks ties of
// the ones before it:
//
//  1. fewer tasks of the sub-topologies dealt so far,
//  2. fewer tasks per thread in the member's process (compared as a product, to
//     stay in integers),
//  3. more tasks of this sub-topology before, up to the larger share, so that
//     an odd task stays where it was.
func (d *dealer) compare(sub *subTopology, had [][]int32, least, i, j int) int {
	a, b := sub.members[i], sub.members[j]
	p, q := d.members[a].Process, d.members[b].Process
	return cmp.Or(
		cmp.Compare(len(d.tasks[a]), len(d.tasks[b])),
		cmp.Compare(d.load[p]*d.threads[q], d.load[q]*d.threads[p]),
		-cmp.Compare(min(len(had[i]), least+1), min(len(had[j]), least+1)),
	)
}

func (d *dealer) give(member int, sub *subTopology, partition int32) {
	t := Task{Topics: sub.key, Partition: partition}
	for _, name := range sub.topics {
		if partition < d.partitions[name] {
			t.Reads = append(t.Reads, record.TopicPartition{Topic: name, Partition: partition})
		}
	}
	d.tasks[member] = append(d.tasks[member], t)
}
