package catalogue

import (
	"cmp"
	"maps"
	"slices"

	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// KRaft is what Kafka's own __cluster_metadata-0 says about topics: a fold of its
// records. A Catalogue refuses records that it does not know, because a newer program may
// have written them. Kafka's describe brokers, access control and much else, so KRaft
// skips what is not about topics.
type KRaft struct {
	topics map[topic.ID]*KafkaTopic
	byName map[string]topic.ID
}

// KafkaTopic is a topic of a Kafka cluster.
type KafkaTopic struct {
	Name       string
	ID         topic.ID
	Partitions int               // how many; they are numbered from 0
	Settings   map[string]string // what was set for the topic, under Kafka's names
}

// NewKRaft returns a KRaft without topics.
func NewKRaft() *KRaft {
	return &KRaft{topics: map[topic.ID]*KafkaTopic{}, byName: map[string]topic.ID{}}
}

// Topics returns all topics, sorted by name.
func (k *KRaft) Topics() []KafkaTopic {
	all := make([]KafkaTopic, 0, len(k.topics))
	for _, t := range k.topics {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b KafkaTopic) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Apply folds one record's value. A record about topics in an unknown version is
// fault.UnsupportedFormat, and malformed bytes are fault.CorruptMessage.
func (k *KRaft) Apply(value []byte) error {
	r := wire.NewReader(value)
	r.Uvarint() // version of the frame
	switch key := r.Uvarint(); key {
	case keyTopic, keyPartition, keyConfig, keyRemoveTopic:
	default:
		return r.Err()
	}
	message, err := decode(value)
	if err != nil {
		return err
	}
	switch m := message.(type) {
	case topicRecord:
		if _, ok := k.byName[m.name]; ok {
			return unfit("topic %s is created twice", m.name)
		}
		k.topics[m.id] = &KafkaTopic{Name: m.name, ID: m.id, Settings: map[string]string{}}
		k.byName[m.name] = m.id
	case partitionRecord:
		t := k.topics[m.id]
		if t == nil || m.number < 0 || m.number >= MaxPartitions {
			return unfit("partition %d of topic ID %s, which no topic has", m.number, m.id)
		}
		t.Partitions = max(t.Partitions, int(m.number)+1)
	case configRecord:
		if t := k.topics[k.byName[m.topic]]; m.resource == resourceTopic && t != nil {
			t.configure(m)
		}
	case removeTopicRecord:
		if t := k.topics[m.id]; t != nil {
			delete(k.byName, t.Name)
			delete(k.topics, m.id)
		}
	}
	return nil
}

func (t *KafkaTopic) configure(m configRecord) {
	if m.value == nil {
		delete(t.Settings, m.name)
		return
	}
	t.Settings[m.name] = *m.value
}

// Config returns the topic's settings as far as they exist here, and the names of the
// others, sorted. min.insync.replicas is among the others: it is a number of copies.
func (t *KafkaTopic) Config() (cfg topic.Config, others []string) {
	for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
		next := cfg
		if name == "min.insync.replicas" || next.Set(name, t.Settings[name]) != nil || next.Validate() != nil {
			others = append(others, name)
			continue
		}
		cfg = next
	}
	return cfg, others
}
