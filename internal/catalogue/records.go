package catalogue

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/topic"
)

// Records returns records from which Apply makes, in a new Catalogue, what c is.
// Topics that were deleted come first, created and removed again, because Kafka
// has no other record that says so.
func (c *Catalogue) Records() [][]byte {
	var values [][]byte
	for _, name := range slices.Sorted(maps.Keys(c.levels)) {
		values = append(values, featureLevelRecord{name: name, level: c.levels[name]}.encode())
	}
	for _, id := range slices.SortedFunc(maps.Keys(c.removed), func(a, b topic.ID) int { return slices.Compare(a[:], b[:]) }) {
		values = append(values, topicRecord{name: c.removed[id], id: id}.encode(), removeTopicRecord{id: id}.encode())
	}
	for _, name := range c.Names() {
		t := c.topics[name]
		values = append(values, topicRecord{name: name, id: t.ID}.encode())
		values = append(values, configure(name, topic.Config{}, t.Config)...)
		for n, p := range t.Partitions {
			values = append(values, partitionRecord{number: int32(n), id: t.ID, Partition: p}.encode())
		}
	}
	return values
}
