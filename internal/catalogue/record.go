package catalogue

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// frameVersion is the version of the frame around every metadata record.
const frameVersion = 1

// API keys of the messages, KRaft's.
const (
	keyTopic        = 2
	keyPartition    = 3
	keyConfig       = 4
	keyRemoveTopic  = 9
	keyFeatureLevel = 12
	keyProducerIDs  = 15
)

// resourceTopic is the ConfigRecord's resource type for topics.
const resourceTopic = 2

// The messages: one type for each kind of metadata record.
type (
	topicRecord struct {
		name string
		id   topic.ID
	}
	partitionRecord struct {
		number int32
		id     topic.ID
		Partition
	}
	configRecord struct {
		resource    int8
		topic, name string
		value       *string
	}
	removeTopicRecord struct {
		id topic.ID
	}
	featureLevelRecord struct {
		name  string
		level int16
	}
	producerIDsRecord struct {
		node  int32
		epoch int64 // the node's
		next  int64 // the first unused producer ID
	}
)

// header begins a record.
func header(key uint32) wire.Writer {
	var w wire.Writer
	w.Uvarint(frameVersion)
	w.Uvarint(key)
	w.Uvarint(0)
	return w
}

func (m topicRecord) encode() []byte {
	w := header(keyTopic)
	w.CompactString(m.name)
	w.UUID(m.id)
	w.NoTags()
	return w.B
}

func (m partitionRecord) encode() []byte {
	w := header(keyPartition)
	w.Int32(m.number)
	w.UUID(m.id)
	putInts(&w, m.Replicas)
	putInts(&w, m.ISR)
	putInts(&w, nil) // removing
	putInts(&w, nil) // adding
	w.Int32(m.Leader)
	w.Int32(m.LeaderEpoch)
	w.Int32(m.Epoch)
	w.NoTags()
	return w.B
}

func (m configRecord) encode() []byte {
	w := header(keyConfig)
	w.Int8(m.resource)
	w.CompactString(m.topic)
	w.CompactString(m.name)
	w.CompactNullableString(m.value)
	w.NoTags()
	return w.B
}

func (m removeTopicRecord) encode() []byte {
	w := header(keyRemoveTopic)
	w.UUID(m.id)
	w.NoTags()
	return w.B
}

func (m featureLevelRecord) encode() []byte {
	w := header(keyFeatureLevel)
	w.CompactString(m.name)
	w.Int16(m.level)
	w.NoTags()
	return w.B
}

func (m producerIDsRecord) encode() []byte {
	w := header(keyProducerIDs)
	w.Int32(m.node)
	w.Int64(m.epoch)
	w.Int64(m.next)
	w.NoTags()
	return w.B
}

func putInts(w *wire.Writer, ints []int32) {
	w.CompactArrayLen(len(ints))
	for _, v := range ints {
		w.Int32(v)
	}
}

func ints(r *wire.Reader) []int32 {
	n := r.CompactArrayLen(4)
	if n <= 0 {
		return nil
	}
	out := make([]int32, n)
	for i := range out {
		out[i] = r.Int32()
	}
	return out
}

// decode returns the message in a record's value, one of the record types. Bytes that are
// left over are an error.
func decode(value []byte) (message any, err error) {
	r := wire.NewReader(value)
	frame, key, version := r.Uvarint(), r.Uvarint(), r.Uvarint()
	switch {
	case r.Err() != nil:
	case frame != frameVersion:
		return nil, fault.Newf(fault.UnsupportedFormat, "a metadata record in a frame of version %d", frame)
	case version > newest(key):
		return nil, fault.Newf(fault.UnsupportedFormat, "a metadata record with key %d in version %d", key, version)
	}
	switch key {
	case keyTopic:
		message = topicRecord{name: r.CompactString(), id: r.UUID()}
		r.Tags(nil)
	case keyPartition:
		message = decodePartition(&r, version)
	case keyConfig:
		message = configRecord{resource: r.Int8(), topic: r.CompactString(), name: r.CompactString(), value: r.CompactNullableString()}
		r.Tags(nil)
	case keyRemoveTopic:
		message = removeTopicRecord{id: r.UUID()}
		r.Tags(nil)
	case keyFeatureLevel:
		message = featureLevelRecord{name: r.CompactString(), level: r.Int16()}
		r.Tags(nil)
	case keyProducerIDs:
		message = producerIDsRecord{node: r.Int32(), epoch: r.Int64(), next: r.Int64()}
		r.Tags(nil)
	default:
		if r.Err() == nil {
			return nil, fault.Newf(fault.UnsupportedFormat, "a metadata record with key %d", key)
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return message, nil
}

// newest returns the newest version of a message that decode knows.
func newest(key uint32) uint32 {
	if key == keyPartition {
		return 2
	}
	return 0
}

func decodePartition(r *wire.Reader, version uint32) partitionRecord {
	m := partitionRecord{number: r.Int32(), id: r.UUID()}
	m.Replicas, m.ISR = ints(r), ints(r)
	ints(r) // removing
	ints(r) // adding
	m.Leader, m.LeaderEpoch, m.Epoch = r.Int32(), r.Int32(), r.Int32()
	if version >= 1 {
		for n := r.CompactArrayLen(16); n > 0; n-- {
			r.UUID()
		}
	}
	r.Tags(nil)
	return m
}
