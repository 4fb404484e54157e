package group

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"sort"

	"github.com/runnel-go/runnel/internal/tasks"
)

// assignor computes a target assignment: every partition of every subscribed topic
// goes to one of its subscribers. subscribers are sorted, and have their previous
// targets, which a sticky assignor keeps where it can.
type assignor func(subscribers []*subscriber)

// assignors by the names under which members choose them.
var assignors = map[string]assignor{
	"uniform":    assignUniform,
	"range":      assignRange,
	"roundrobin": assignRoundRobin,
	"sticky":     assignSticky,

	// Every assignment here is cooperative: what stays is never revoked.
	"cooperative-sticky": assignSticky,

	tasks.Assignor: assignTasks,
}

// DefaultAssignor is the assignor of a group whose members don't choose.
const DefaultAssignor = "uniform"

// IsAssignor reports whether name is that of an assignor that every coordinator has.
func IsAssignor(name string) bool { return assignors[name] != nil }

// subscriber is a member as an assignor sees it.
type subscriber struct {
	order  string  // what subscribers are sorted by
	id     string  // the member's ID
	topics []Topic // that exist, sorted by ID
	told   tasks.Metadata
	before partitions
	target []Partition // the result
}

func (s *subscriber) wants(p Partition) bool {
	_, ok := slices.BinarySearchFunc(s.topics, p, func(t Topic, p Partition) int {
		return Partition{ID: t.ID, Number: p.Number}.Compare(p)
	})
	return ok
}

// wantsAsMuchAs reports whether s and other subscribe to the same topics.
func (s *subscriber) wantsAsMuchAs(other *subscriber) bool {
	same := len(s.topics) == len(other.topics) && (len(s.topics) == 0 || &s.topics[0] == &other.topics[0])
	return same || slices.Equal(s.topics, other.topics)
}

func (s *subscriber) give(p Partition) { s.target = append(s.target, p) }

// subscribers returns a group's members for an assignor. Static members are sorted
// by their instance ID, so that one that comes back with another member ID gets the
// same partitions.
func (g *group) subscribers(topics *Topics) []*subscriber {
	all := make([]*subscriber, 0, len(g.members))
	var names []string // of the member before: in most groups, all subscribe to the same
	var theirs []Topic
	for id, m := range g.members {
		s := &subscriber{id: id, order: "1" + id, before: g.targets[id], told: m.tasks}
		if m.instanceID != "" {
			s.order = "0" + m.instanceID
		}
		if mine := m.subscribed(topics); theirs == nil || !slices.Equal(mine, names) {
			names, theirs = mine, topics.named(mine)
		}
		s.topics = theirs
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].order < all[j].order })
	return all
}

// named returns those of the named topics that exist, sorted by ID.
func (t *Topics) named(names []string) []Topic {
	all := make([]Topic, 0, len(names))
	for _, name := range names {
		if one, ok := t.byName[name]; ok {
			all = append(all, one)
		}
	}
	sortByID(all)
	return all
}

func sortByID(topics []Topic) {
	sort.Slice(topics, func(i, j int) bool { return bytes.Compare(topics[i].ID[:], topics[j].ID[:]) < 0 })
}

// topicsOf returns all subscribed topics, sorted by ID.
func topicsOf(subscribers []*subscriber) []Topic {
	var all []Topic
	for i, s := range subscribers {
		if i == 0 || !s.wantsAsMuchAs(subscribers[i-1]) {
			all = append(all, s.topics...)
		}
	}
	sortByID(all)
	return slices.Compact(all)
}

// audiences returns the subscribers of each topic; topics are all that there are, sorted by
// ID. Topics with the same subscribers share one slice.
func audiences(subscribers []*subscriber, topics []Topic) [][]*subscriber {
	all := make([][]*subscriber, len(topics))
	if !slices.ContainsFunc(subscribers, func(s *subscriber) bool { return !s.wantsAsMuchAs(subscribers[0]) }) {
		for i := range all {
			all[i] = subscribers
		}
		return all
	}
	keys := make([][]byte, len(topics)) // the subscribers' numbers
	for n, s := range subscribers {
		i := 0
		for _, t := range s.topics {
			for topics[i].ID != t.ID {
				i++
			}
			all[i], keys[i] = append(all[i], s), binary.BigEndian.AppendUint32(keys[i], uint32(n))
		}
	}
	shared := make(map[string][]*subscriber)
	for i, key := range keys {
		if shared[string(key)] == nil {
			shared[string(key)] = all[i]
		}
		all[i] = shared[string(key)]
	}
	return all
}

func (t Topic) partitions() []Partition {
	all := make([]Partition, t.Partitions)
	for i := range all {
		all[i] = Partition{ID: t.ID, Number: int32(i)}
	}
	return all
}

// assignUniform is KIP-848's uniform assignor: every member gets as many
// partitions as any other, or one less, and as many as possible stay where they
// are. Members with different subscriptions are served by assignSticky.
func assignUniform(subscribers []*subscriber) {
	for _, s := range subscribers {
		if !s.wantsAsMuchAs(subscribers[0]) {
			assignSticky(subscribers)
			return
		}
	}
	total := 0
	for _, t := range subscribers[0].topics {
		total += int(t.Partitions)
	}
	taken := keep(subscribers, total/len(subscribers), total%len(subscribers))
	fill(subscribers, total/len(subscribers), total%len(subscribers), missing(subscribers[0].topics, taken))
}

// keep lets every subscriber keep as many of its partitions as its share allows:
// least, and one more for the first extra subscribers that have one more.
func keep(subscribers []*subscriber, least, extra int) map[Partition]bool {
	taken := make(map[Partition]bool)
	for _, s := range subscribers {
		share := least
		if kept := s.before.filter(func(p Partition) bool { return valid(s, p) && !taken[p] }); len(kept) > least && extra > 0 {
			share, extra = least+1, extra-1
		}
		for _, p := range s.before {
			if len(s.target) < share && valid(s, p) && !taken[p] {
				s.give(p)
				taken[p] = true
			}
		}
	}
	return taken
}

// valid reports whether s subscribes to p and p exists.
func valid(s *subscriber, p Partition) bool {
	i, ok := slices.BinarySearchFunc(s.topics, p, func(t Topic, p Partition) int {
		return bytes.Compare(t.ID[:], p.ID[:])
	})
	return ok && p.Number >= 0 && p.Number < s.topics[i].Partitions
}

// fill gives free partitions to subscribers that have less than their share.
func fill(subscribers []*subscriber, least, extra int, free []Partition) {
	for _, s := range subscribers {
		if len(s.target) > least {
			extra--
		}
	}
	for _, s := range subscribers {
		share := least
		if len(s.target) <= least && extra > 0 {
			share, extra = least+1, extra-1
		}
		for len(s.target) < share && len(free) > 0 {
			s.give(free[0])
			free = free[1:]
		}
	}
}

// missing returns the partitions of topics that are not taken.
func missing(topics []Topic, taken map[Partition]bool) []Partition {
	var free []Partition
	for _, t := range topics {
		for _, p := range t.partitions() {
			if !taken[p] {
				free = append(free, p)
			}
		}
	}
	return free
}

// assignRoundRobin assigns the partitions of all topics in turn, as Kafka's
// RoundRobinAssignor does.
func assignRoundRobin(subscribers []*subscriber) {
	topics := topicsOf(subscribers)
	sort.Slice(topics, func(i, j int) bool { return topics[i].Name < topics[j].Name })
	next := 0
	for _, t := range topics {
		for _, p := range t.partitions() {
			for !subscribers[next%len(subscribers)].wants(p) {
				next++
			}
			subscribers[next%len(subscribers)].give(p)
			next++
		}
	}
}

// assignRange is KIP-848's range assignor. It divides each topic into ranges, and
// topics with the same number of partitions and the same subscribers in the same
// way, so that a member gets the same partition numbers of each and can join them.
// Within that rule, partitions stay where they are.
func assignRange(subscribers []*subscriber) {
	type shape struct {
		partitions int32
		who        **subscriber // the first of those who want it, in a slice that all such topics share
	}
	who := make(map[shape][]*subscriber)
	alike := make(map[shape][]Topic)
	topics := topicsOf(subscribers)
	for i, wanting := range audiences(subscribers, topics) {
		s := shape{topics[i].Partitions, &wanting[0]}
		who[s], alike[s] = wanting, append(alike[s], topics[i])
	}
	for s, topics := range maps.All(alike) {
		cutAlike(who[s], topics)
	}
}

// cutAlike divides topics with the same number of partitions in the same way. The
// first topic's previous owners decide which partitions stay.
func cutAlike(subscribers []*subscriber, topics []Topic) {
	cut := make([]*subscriber, len(subscribers))
	for i, s := range subscribers {
		lead := topics[0]
		cut[i] = &subscriber{topics: topics[:1], before: s.before.filter(func(p Partition) bool { return p.ID == lead.ID })}
	}
	n := int(topics[0].Partitions)
	taken := keep(cut, n/len(cut), n%len(cut))
	fill(cut, n/len(cut), n%len(cut), missing(topics[:1], taken))
	for i, s := range subscribers {
		for _, t := range topics {
			for _, p := range cut[i].target {
				s.give(Partition{ID: t.ID, Number: p.Number})
			}
		}
	}
}
