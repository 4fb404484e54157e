package host

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Topic is a topic with its partitions in this process.
type Topic struct {
	Name     string
	ID       topic.ID
	Internal bool

	// config is what was set, without defaults.
	config atomic.Pointer[topic.Config]

	// placement is what the catalogue says of each partition.
	placement atomic.Pointer[[]catalogue.Partition]

	// partitions are those that were opened: nil until the topic is used, and
	// fewer than placement for a moment while partitions are being added. In
	// place of one that did not open is a broken one, which keeps nobody from
	// the others. A slice that was stored does not change.
	partitions atomic.Pointer[[]*partition.Partition]

	// loaded is how many partitions there were at a clean close, all of which must
	// be there; written before the topic is used.
	loaded int32

	// opening is the token of whoever opens or deletes partitions.
	opening  chan struct{}
	unsynced bool // its: a directory was made whose name is not known to be durable

	gone    chan struct{} // closed when the topic is deleted
	deleted atomic.Bool   // the same, for those who ask per record
}

// Open returns the partitions that were opened, broken ones among them.
func (t *Topic) Open() []*partition.Partition {
	if ps := t.partitions.Load(); ps != nil {
		return *ps
	}
	return nil
}

// IsGone reports whether the topic was deleted.
func (t *Topic) IsGone() bool { return t.deleted.Load() }

// Partition returns partition n of a topic that is open, sound or not; fault.UnknownTopic
// where there is none. Host.Sound tries to open again what did not open.
func (t *Topic) Partition(n int32) (Partition, error) {
	ps := t.Open()
	if n < 0 || int(n) >= len(ps) {
		return nil, t.lacks(n)
	}
	return ps[n], nil
}

// lacks says that there is no partition n.
func (t *Topic) lacks(n int32) error {
	return fault.At(fault.UnknownTopic, t.Name, n, -1).Detailf("the topic has %d partitions", len(t.Open()))
}

// IsOpen reports whether the topic was used since the host began.
func (t *Topic) IsOpen() bool { return t.partitions.Load() != nil }

// Config returns what was set, without defaults.
func (t *Topic) Config() topic.Config { return *t.config.Load() }

// SetConfig makes cfg what was set. Open partitions do not hear of it: Reconfigure
// tells them.
func (t *Topic) SetConfig(cfg topic.Config) { t.config.Store(&cfg) }

// Placement returns what the catalogue says of each partition. The slice is not
// changed.
func (t *Topic) Placement() []catalogue.Partition { return *t.placement.Load() }

// MustBe reports whether partition n was there when the directory was closed, so
// that its absence is damage.
func (t *Topic) MustBe(n int32) bool { return n < t.loaded }

// Topic returns the topic of that name with its partitions open, or broken. An
// open topic is found without a lock. fault.UnknownTopic, fault.Closed.
func (h *Host) Topic(name string) (*Topic, error) {
	v, ok := h.topics.Load(name)
	switch {
	case h.IsClosed():
		return nil, fault.Closed
	case !ok:
		return nil, h.Unknown(name)
	}
	t := v.(*Topic)
	if t.partitions.Load() == nil {
		if err := h.Open(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Whole returns what Topic does, and tries to open its broken partitions again.
func (h *Host) Whole(name string) (*Topic, error) {
	if v, ok := h.topics.Load(name); ok && slices.ContainsFunc(v.(*Topic).Open(), IsBroken) {
		if err := h.Open(v.(*Topic)); err != nil {
			return nil, err
		}
	}
	return h.Topic(name)
}

// IsBroken reports whether a partition did not open.
func IsBroken(p *partition.Partition) bool { return p.Err() != nil }

// Partition returns one partition, open; fault.UnknownTopic, and whatever keeps it
// from opening.
func (h *Host) Partition(tp record.TopicPartition) (Partition, error) {
	t, err := h.Topic(tp.Topic)
	if err != nil {
		return nil, err
	}
	return h.Sound(t, tp.Partition)
}

// Sound returns a partition of a topic that is open. One that is broken it tries
// to open again; if that fails, it is returned with the error.
func (h *Host) Sound(t *Topic, n int32) (Partition, error) {
	ps := t.Open()
	if n < 0 || int(n) >= len(ps) {
		return nil, t.lacks(n)
	}
	if IsBroken(ps[n]) {
		if err := h.Open(t); err != nil {
			return ps[n], err
		}
		ps = t.Open()
	}
	return ps[n], ps[n].Err()
}

// Unknown returns the error for a topic that does not exist, with what may have
// been meant or how to create it.
func (h *Host) Unknown(name string) error {
	err := fault.At(fault.UnknownTopic, name, -1, -1)
	hint := fmt.Sprintf("create it with CreateTopics(ctx, topic.Spec{Name: %q})", name)
	if near := topic.Nearest(name, h.Names()); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "? Otherwise " + hint
	}
	return err.Try(hint)
}

// Names returns the names of all topics but internal ones, sorted.
func (h *Host) Names() []string {
	names := []string{}
	h.topics.Range(func(name, t any) bool {
		if !t.(*Topic).Internal {
			names = append(names, name.(string))
		}
		return true
	})
	slices.Sort(names)
	return names
}
