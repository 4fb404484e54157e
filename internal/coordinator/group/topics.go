package group

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/runnel-go/runnel/topic"
)

// Topic is a topic as a coordinator needs it.
type Topic struct {
	Name       string
	ID         topic.ID
	Partitions int32
}

// Topics are the topics that exist. It is immutable.
type Topics struct {
	byName map[string]Topic
	byID   map[topic.ID]Topic
}

// NewTopics returns Topics that consist of all.
func NewTopics(all []Topic) *Topics {
	t := &Topics{byName: make(map[string]Topic, len(all)), byID: make(map[topic.ID]Topic, len(all))}
	for _, one := range all {
		t.byName[one.Name] = one
		t.byID[one.ID] = one
	}
	return t
}

// Name returns the name of the topic with that ID, and whether there is one.
func (t *Topics) Name(id topic.ID) (string, bool) {
	one, ok := t.byID[id]
	return one.Name, ok
}

// hash returns a number that changes when one of the named topics is created,
// deleted, created again, or gets more partitions. names are sorted.
func (t *Topics) hash(names []string) int64 {
	h := fnv.New64a()
	for _, name := range names {
		if one, ok := t.byName[name]; ok {
			_, _ = h.Write([]byte(name))
			_, _ = h.Write(one.ID[:])
			_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(one.Partitions)))
		}
	}
	return int64(h.Sum64())
}

// OffsetsTopic is the specification with which __consumer_offsets is created at its
// first use. One process needs few partitions; Kafka's 50 spread over many brokers.
var OffsetsTopic = topic.Spec{
	Name: topic.ConsumerOffsets, Partitions: 4,
	Config: topic.Config{Cleanup: topic.Compact, SegmentBytes: 100 << 20, MaxMessageBytes: 64 << 20},
}
