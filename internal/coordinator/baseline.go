package coordinator

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/topic"
)

// Baseline has the partitions that existed when a member, or an earlier one in
// its group, subscribed with the option to begin at the end. Partitions that are
// created later are read from their first record: beginning them at the end would
// skip records that were written before the member noticed them. It is immutable
// once its member has joined.
type Baseline struct {
	topics   []string
	text     string           // of a pattern, or empty
	matching *pattern.Pattern // nil without a pattern
	counts   map[topic.ID]int32
	names    map[topic.ID]string // of those in counts
}

// NewBaseline returns the Baseline of a member that subscribes now.
func NewBaseline(h *host.Host, cfg *consumer.Config) *Baseline {
	b := &Baseline{topics: cfg.Topics, counts: map[topic.ID]int32{}, names: map[topic.ID]string{}}
	b.setPattern(cfg.Pattern)
	for t := range h.All() {
		if b.covers(t.Name) {
			b.counts[t.ID], b.names[t.ID] = int32(len(t.Placement())), t.Name
		}
	}
	return b
}

func (b *Baseline) setPattern(text string) {
	if b.text = text; text != "" {
		b.matching, _ = pattern.Parse(text) // Join refuses an invalid pattern
	}
}

func (b *Baseline) covers(name string) bool {
	return slices.Contains(b.topics, name) || b.matching.Matches(name)
}

// Count returns how many partitions a topic had.
func (b *Baseline) Count(id topic.ID) int32 {
	if b == nil {
		return 0
	}
	return b.counts[id]
}

// since returns the baseline of a member that joins a group beside these listeners. A
// partition that was created after one of the group's members subscribed is new to the
// group, and so to this member, although it existed when this one subscribed.
func (b *Baseline) since(group string, listeners map[string]*Listener) *Baseline {
	if b == nil {
		return nil
	}
	counts := maps.Clone(b.counts)
	for _, l := range listeners {
		if l.Group != group || l.Baseline == nil {
			continue
		}
		for id, n := range counts {
			if l.Baseline.covers(b.names[id]) {
				counts[id] = min(n, l.Baseline.Count(id))
			}
		}
	}
	return &Baseline{topics: b.topics, text: b.text, matching: b.matching, counts: counts, names: b.names}
}
