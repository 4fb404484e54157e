package catalogue

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// The levels of the two features that a catalogue begins with.
const (
	metadataVersion = 7 // 3.3-IV3, the first that KRaft called ready for production
	runnelVersion   = 1
)

// Partition is where a partition's copies are.
type Partition struct {
	Replicas, ISR      []int32
	Leader             int32
	LeaderEpoch, Epoch int32
}

// Topic is one topic. A caller may keep a Topic that it got from a Catalogue, but not
// change it. Apply replaces Topics instead of changing them.
type Topic struct {
	Name       string
	ID         topic.ID
	Config     topic.Config
	Partitions []Partition // by number, at least one
}

// Catalogue is all topics. The zero value is not ready; see New.
type Catalogue struct {
	topics  map[string]*Topic
	ids     map[topic.ID]string
	removed map[topic.ID]string // of deleted topics, with their names
	folded  map[string]int      // how many topics share a collision key
	levels  map[string]int16    // of features

	producerIDs producerIDsRecord // the last one; next only rises
}

// New returns an empty Catalogue.
func New() *Catalogue {
	return &Catalogue{
		topics:  map[string]*Topic{},
		ids:     map[topic.ID]string{},
		removed: map[topic.ID]string{},
		folded:  map[string]int{},
		levels:  map[string]int16{},
	}
}

// Bootstrap returns the records that every catalogue begins with, or none if c has them.
func (c *Catalogue) Bootstrap() [][]byte {
	if len(c.levels) > 0 {
		return nil
	}
	return [][]byte{
		featureLevelRecord{name: "metadata.version", level: metadataVersion}.encode(),
		featureLevelRecord{name: "runnel.version", level: runnelVersion}.encode(),
	}
}

// Topic returns the topic of that name, or nil.
func (c *Catalogue) Topic(name string) *Topic { return c.topics[name] }

// Names returns the names of all topics, sorted.
func (c *Catalogue) Names() []string { return slices.Sorted(maps.Keys(c.topics)) }

// Removed returns the name that a deleted topic had, by its ID.
func (c *Catalogue) Removed(id topic.ID) (name string, ok bool) {
	name, ok = c.removed[id]
	return name, ok
}

// RemovedNames returns the names of all topics that were ever deleted.
func (c *Catalogue) RemovedNames() map[string]bool {
	names := make(map[string]bool, len(c.removed))
	for _, name := range c.removed {
		names[name] = true
	}
	return names
}

// Apply folds one record's value into c. After an error, c is as before. The error is
// fault.CorruptMessage if the bytes are not a record or contradict those before, and
// fault.UnsupportedFormat if a newer program wrote them.
func (c *Catalogue) Apply(value []byte) error {
	message, err := decode(value)
	if err != nil {
		return err
	}
	switch m := message.(type) {
	case topicRecord:
		return c.applyTopic(m)
	case partitionRecord:
		return c.applyPartition(m)
	case configRecord:
		return c.applyConfig(m)
	case removeTopicRecord:
		return c.applyRemoveTopic(m)
	case featureLevelRecord:
		return c.applyFeatureLevel(m)
	case producerIDsRecord:
		return c.applyProducerIDs(m)
	}
	return nil
}

// Subject returns the name of the topic that a record is about, as long as it has not
// been applied; ok is false for a record about no topic.
func (c *Catalogue) Subject(value []byte) (name string, ok bool) {
	message, _ := decode(value)
	switch m := message.(type) {
	case topicRecord:
		name = m.name
	case partitionRecord:
		name = c.ids[m.id]
	case configRecord:
		name = m.topic
	case removeTopicRecord:
		name = c.ids[m.id]
	}
	return name, name != ""
}

func (c *Catalogue) applyTopic(m topicRecord) error {
	if err := topic.ValidateName(m.name); err != nil {
		return unfit("a topic record: %v", err)
	}
	if c.topics[m.name] != nil {
		return unfit("topic %s is created twice", m.name)
	}
	if _, ok := c.ids[m.id]; ok {
		return unfit("topic ID %s is assigned twice", m.id)
	}
	if _, ok := c.removed[m.id]; ok {
		return unfit("topic ID %s is that of a deleted topic", m.id)
	}
	c.topics[m.name] = &Topic{Name: m.name, ID: m.id}
	c.ids[m.id] = m.name
	c.folded[topic.CollisionKey(m.name)]++
	return nil
}

func (c *Catalogue) applyPartition(m partitionRecord) error {
	t := c.topics[c.ids[m.id]]
	if t == nil {
		return unfit("a partition of topic ID %s, which no topic has", m.id)
	}
	if int(m.number) != len(t.Partitions) {
		return unfit("partition %d of topic %s, which has %d", m.number, t.Name, len(t.Partitions))
	}
	next := *t
	next.Partitions = append(t.Partitions, m.Partition)
	c.topics[t.Name] = &next
	return nil
}

func (c *Catalogue) applyConfig(m configRecord) error {
	t := c.topics[m.topic]
	if m.resource != resourceTopic || t == nil {
		return unfit("a setting of resource %d %q, which does not exist", m.resource, m.topic)
	}
	next := *t
	var err error
	if m.value == nil {
		err = next.Config.Unset(m.name)
	} else {
		err = next.Config.Set(m.name, *m.value)
	}
	if err != nil {
		return fault.At(fault.UnsupportedFormat, m.topic, -1, -1).Because(err)
	}
	c.topics[m.topic] = &next
	return nil
}

func (c *Catalogue) applyRemoveTopic(m removeTopicRecord) error {
	name, ok := c.ids[m.id]
	if !ok {
		return unfit("topic ID %s is removed, which no topic has", m.id)
	}
	delete(c.topics, name)
	delete(c.ids, m.id)
	c.removed[m.id] = name
	key := topic.CollisionKey(name)
	if c.folded[key]--; c.folded[key] == 0 {
		delete(c.folded, key)
	}
	return nil
}

func (c *Catalogue) applyFeatureLevel(m featureLevelRecord) error {
	if m.name == "runnel.version" && m.level > runnelVersion {
		return fault.Newf(fault.UnsupportedFormat, "the catalogue has version %d, this program knows %d", m.level, runnelVersion).
			Try("use the newer version of Runnel that wrote it")
	}
	c.levels[m.name] = m.level
	return nil
}

func (c *Catalogue) applyProducerIDs(m producerIDsRecord) error {
	if m.next < c.producerIDs.next {
		return unfit("producer IDs from %d, although those below %d are assigned already", m.next, c.producerIDs.next)
	}
	c.producerIDs = m
	return nil
}

// unfit returns the error for a record that contradicts those before it.
func unfit(format string, args ...any) error {
	return fault.Newf(fault.CorruptMessage, format, args...)
}
