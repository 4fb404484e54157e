package catalogue

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// MaxPartitions is how many partitions a topic may have. Kafka has no such limit. Here
// each partition is a directory, and a typing error must not create a million of them.
const MaxPartitions = 100_000

// CreateTopics returns the records that create topics. Each spec has its numbers of
// partitions and replicas set. newID returns the topics' IDs, and the replicas go to some of
// these nodes.
// The error reports everything that is wrong with all specs: see
// topic.Admin.CreateTopics.
func (c *Catalogue) CreateTopics(specs []topic.Spec, nodes []topic.Node, newID func() topic.ID) ([][]byte, error) {
	var errs []error
	var values [][]byte
	placer := c.placer(nodes)
	named, ids := make(map[string]string, len(specs)), make(map[topic.ID]bool, len(specs)) // of this call; names by collision key
	for _, s := range specs {
		if err := c.checkCreate(s, named, len(nodes)); err != nil {
			errs = append(errs, err)
			continue
		}
		named[topic.CollisionKey(s.Name)] = s.Name
		id := newID()
		if err := c.checkID(s.Name, id, ids); err != nil {
			errs = append(errs, err)
			continue
		}
		ids[id] = true
		values = append(values, topicRecord{name: s.Name, id: id}.encode())
		values = append(values, configure(s.Name, topic.Config{}, s.Config)...)
		values = append(values, partitions(id, 0, placer.place(s.Partitions, s.Replicas))...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return values, nil
}

// checkCreate checks a topic to be created against the existing topics and those of the
// same call.
func (c *Catalogue) checkCreate(s topic.Spec, named map[string]string, nodes int) error {
	if err := s.Validate(); err != nil {
		return err
	}
	switch {
	case nodes == 1 && s.Replicas != 1:
		return fault.At(fault.InvalidReplication, s.Name, -1, -1).
			Detailf("%d replicas in one process", s.Replicas).Try("give 1, or 0 for the default")
	case s.Replicas < 1 || s.Replicas > nodes:
		return fault.At(fault.InvalidReplication, s.Name, -1, -1).
			Detailf("%d replicas on %d nodes: no node keeps two of one partition", s.Replicas, nodes).
			Try(fmt.Sprintf("give 1 to %d, or 0 for the default", nodes))
	}
	if err := checkPartitions(s.Name, s.Partitions); err != nil {
		return err
	}
	if c.topics[s.Name] != nil {
		return fault.At(fault.TopicExists, s.Name, -1, -1)
	}
	key := topic.CollisionKey(s.Name)
	other := named[key]
	if other == s.Name {
		return fault.At(fault.TopicExists, s.Name, -1, -1).Detailf("it is named twice")
	}
	if other == "" && c.folded[key] > 0 {
		other = c.collision(key)
	}
	if other != "" {
		return fault.At(fault.InvalidTopic, s.Name, -1, -1).
			Detailf("it collides with topic %s, because names must differ in more than dots and underscores", other)
	}
	return nil
}

// checkID checks the ID for a topic to be created against the existing topics, deleted ones
// and those of the same call.
func (c *Catalogue) checkID(name string, id topic.ID, ids map[topic.ID]bool) error {
	_, used := c.ids[id]
	_, removed := c.removed[id]
	if used || removed || ids[id] || id == (topic.ID{}) {
		return fault.At(fault.InvalidRequest, name, -1, -1).Detailf("it cannot have the ID %s, which is another topic's", id)
	}
	return nil
}

// collision returns the name of the topic with that collision key, or "".
func (c *Catalogue) collision(key string) string {
	for name := range c.topics {
		if topic.CollisionKey(name) == key {
			return name
		}
	}
	return ""
}

// DeleteTopics returns the records that delete the named topics. It returns
// fault.UnknownTopic, with similar names, if one doesn't exist.
func (c *Catalogue) DeleteTopics(names []string) ([][]byte, error) {
	var errs []error
	var values [][]byte
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		t := c.topics[name]
		switch {
		case t == nil:
			errs = append(errs, c.unknown(name))
		case topic.IsInternal(name):
			errs = append(errs, internal(name))
		case !seen[name]:
			seen[name] = true
			values = append(values, removeTopicRecord{id: t.ID}.encode())
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return values, nil
}

// AddPartitions returns the records that raise a topic's number of partitions to total,
// with the new ones on some of these nodes. Errors are fault.UnknownTopic and fault.InvalidPartitions.
func (c *Catalogue) AddPartitions(name string, total int, nodes []topic.Node) ([][]byte, error) {
	t := c.topics[name]
	if t == nil {
		return nil, c.unknown(name)
	}
	if topic.IsInternal(name) {
		return nil, internal(name)
	}
	if err := checkPartitions(name, total); err != nil {
		return nil, err
	}
	if total <= len(t.Partitions) {
		return nil, fault.At(fault.InvalidPartitions, name, -1, -1).
			Detailf("it has %d already, and partitions are never taken away", len(t.Partitions))
	}
	replicas := min(len(t.Partitions[0].Replicas), len(nodes))
	return partitions(t.ID, len(t.Partitions), c.placer(nodes).place(total-len(t.Partitions), replicas)), nil
}

// ConfigureTopic returns the records that replace a topic's configuration, or none if it
// is the same. Errors are fault.UnknownTopic and fault.InvalidConfig.
func (c *Catalogue) ConfigureTopic(name string, cfg topic.Config) ([][]byte, error) {
	t := c.topics[name]
	if t == nil {
		return nil, c.unknown(name)
	}
	if topic.IsInternal(name) {
		return nil, internal(name)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fault.At(fault.InvalidConfig, name, -1, -1).Because(err)
	}
	return configure(name, t.Config, cfg), nil
}

// ProducerIDs returns the first of n consecutive producer IDs that were never used, and
// the records that assign them to node.
func (c *Catalogue) ProducerIDs(n int64, node int32) (first int64, values [][]byte, err error) {
	first = c.producerIDs.next
	if first > math.MaxInt64-n {
		return 0, nil, fault.Newf(fault.InvalidRequest, "all producer IDs are assigned")
	}
	return first, [][]byte{producerIDsRecord{node: node, next: first + n}.encode()}, nil
}

// unknown returns the error for a topic that doesn't exist, with names that may have been
// meant.
func (c *Catalogue) unknown(name string) error {
	err := fault.At(fault.UnknownTopic, name, -1, -1)
	if near := topic.Nearest(name, c.Names()); len(near) > 0 {
		return err.Try("did you mean " + strings.Join(near, " or ") + "?")
	}
	return err
}

func internal(name string) error {
	return fault.At(fault.InvalidTopic, name, -1, -1).Detailf("the broker keeps its own state in it")
}

func checkPartitions(name string, n int) error {
	if n < 1 || n > MaxPartitions {
		return fault.At(fault.InvalidPartitions, name, -1, -1).Detailf("%d", n).Try("give 1 to 100000")
	}
	return nil
}

// partitions returns the records of partitions that are numbered from from on.
func partitions(id topic.ID, from int, placed []Partition) [][]byte {
	values := make([][]byte, 0, len(placed))
	for i, p := range placed {
		values = append(values, partitionRecord{number: int32(from + i), id: id, Partition: p}.encode())
	}
	return values
}

// configure returns the records that change one configuration into another.
func configure(name string, from, to topic.Config) [][]byte {
	had := map[string]string{}
	for _, e := range from.Entries() {
		had[e.Name] = e.Value
	}
	var values [][]byte
	for _, e := range to.Entries() {
		if old, ok := had[e.Name]; !ok || old != e.Value {
			values = append(values, configRecord{resourceTopic, name, e.Name, &e.Value}.encode())
		}
		delete(had, e.Name)
	}
	for _, e := range from.Entries() {
		if _, gone := had[e.Name]; gone {
			values = append(values, configRecord{resourceTopic, name, e.Name, nil}.encode())
		}
	}
	return values
}
