package coordinator

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/topic"
)

// Subscription has the partitions that existed when a member, or an earlier one in
// its group, subscribed with the option to begin at the end. Partitions that are
// created later are read from their first record: beginning them at the end would
// skip records that were written before the member noticed them. It is immutable
// once its member has joined.
type Subscription struct {
	topics   []string
	matching *pattern.Pattern // nil without a pattern
	counts   map[topic.ID]int32
	names    map[topic.ID]string // of those in counts
}

// Subscribe returns a Subscription with the partitions that exist now.
func Subscribe(h *host.Host, cfg *consumer.Config) *Subscription {
	s := &Subscription{topics: cfg.Topics, counts: map[topic.ID]int32{}, names: map[topic.ID]string{}}
	if cfg.Pattern != "" {
		s.matching, _ = pattern.Parse(cfg.Pattern) // Join refuses an invalid pattern
	}
	for t := range h.All() {
		if s.covers(t.Name) {
			s.counts[t.ID], s.names[t.ID] = int32(len(t.Placement())), t.Name
		}
	}
	return s
}

func (s *Subscription) covers(name string) bool {
	return slices.Contains(s.topics, name) || s.matching.Matches(name)
}

// Count returns how many partitions a topic had.
func (s *Subscription) Count(id topic.ID) int32 {
	if s == nil {
		return 0
	}
	return s.counts[id]
}

// since returns the subscription of a member that joins the group of some of these
// members. A partition that was created after one of them subscribed is new to the
// group, and so to this member, although it existed when this one subscribed.
func (s *Subscription) since(group string, members map[string]*Member) *Subscription {
	if s == nil {
		return nil
	}
	counts := maps.Clone(s.counts)
	for _, m := range members {
		if m.Group != group || m.Known == nil {
			continue
		}
		for id, n := range counts {
			if m.Known.covers(s.names[id]) {
				counts[id] = min(n, m.Known.Count(id))
			}
		}
	}
	return &Subscription{topics: s.topics, matching: s.matching, counts: counts, names: s.names}
}
