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

	// config is the topic's configuration as it was set, without defaults.
	config atomic.Pointer[topic.Config]

	// placement has the catalogue's entry of each partition.
	placement atomic.Pointer[[]catalogue.Partition]

	// partitions are the opened ones: nil until the topic is used, and fewer than
	// placement for a moment while partitions are being added. A partition that did not
	// open is a broken one, so that the others can be used. A stored slice is immutable.
	partitions atomic.Pointer[[]partition.Opened]

	// loaded is how many partitions existed at a clean close, and so must exist now. It
	// is written before the topic is used.
	loaded int32

	// opening holds a token while partitions are opened, configured or deleted.
	opening  chan struct{}
	unsynced bool // guarded by opening: a directory was created whose name may not be durable

	gone    chan struct{} // closed when the topic is deleted
	deleted atomic.Bool   // the same, cheap enough to be checked for every record
}

// Partitions returns the opened partitions, including broken ones.
func (t *Topic) Partitions() []partition.Opened {
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
	ps := t.Partitions()
	if n < 0 || int(n) >= len(ps) {
		return nil, t.lacks(n)
	}
	return ps[n], nil
}

// lacks says that there is no partition n.
func (t *Topic) lacks(n int32) error {
	return fault.At(fault.UnknownTopic, t.Name, n, -1).Detailf("the topic has %d partitions", len(t.Partitions()))
}

// IsOpen reports whether the topic's partitions were opened.
func (t *Topic) IsOpen() bool { return t.partitions.Load() != nil }

// Config returns the topic's configuration as it was set, without defaults.
func (t *Topic) Config() topic.Config { return *t.config.Load() }

// SetConfig sets the configuration. It does not change open partitions; Reconfigure
// does.
func (t *Topic) SetConfig(cfg topic.Config) { t.config.Store(&cfg) }

// Placement returns the catalogue's entry of each partition. The slice is read-only.
func (t *Topic) Placement() []catalogue.Partition { return *t.placement.Load() }

// MustBe reports whether partition n existed when the directory was closed cleanly,
// so that its absence is damage.
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

// Whole is Topic, but first tries to open broken partitions again.
func (h *Host) Whole(name string) (*Topic, error) {
	if v, ok := h.topics.Load(name); ok && slices.ContainsFunc(v.(*Topic).Partitions(), isBroken) {
		if err := h.Open(v.(*Topic)); err != nil {
			return nil, err
		}
	}
	return h.Topic(name)
}

// IsBroken reports whether a partition did not open.
func IsBroken(p Partition) bool { return p.Err() != nil }

func isBroken(p partition.Opened) bool { return IsBroken(p) }

// Partition returns one partition, open. It returns fault.UnknownTopic, or why the
// partition does not open.
func (h *Host) Partition(tp record.TopicPartition) (Partition, error) {
	t, err := h.Topic(tp.Topic)
	if err != nil {
		return nil, err
	}
	return h.Sound(t, tp.Partition)
}

// Sound returns a partition of an open topic. It tries to open a broken one again; if
// that fails, it returns the broken partition with the error.
func (h *Host) Sound(t *Topic, n int32) (Partition, error) {
	ps := t.Partitions()
	if n < 0 || int(n) >= len(ps) {
		return nil, t.lacks(n)
	}
	if IsBroken(ps[n]) {
		if err := h.Open(t); err != nil {
			return ps[n], err
		}
		ps = t.Partitions()
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
