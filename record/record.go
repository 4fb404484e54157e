package record

import (
	"slices"
	"strconv"
	"time"
)

// Header is one entry of a record's headers. Keys may repeat and order counts.
// A nil Value is null, an empty one is not.
type Header struct {
	Key   string
	Value []byte
}

// Record is one event.
//
// To send one, set Topic, Value and whatever else you need. Partition counts
// only with the manual partitioner. Offset and LeaderEpoch are ignored. A zero
// Timestamp means the time at which the batch was opened. The caller may reuse
// the slices when the sending call returns.
//
// In a received record, Key, Value and the headers' values point into the
// fetched buffer. They are read-only, stay valid for as long as the program
// holds them (unless the consumer reuses buffers), and keep that buffer in
// memory. A Clone does not.
//
// Nil bytes are null, empty ones are not: a record with a key and a nil Value
// is a tombstone.
type Record struct {
	Topic       string
	Partition   int32
	LeaderEpoch int32
	Offset      int64
	Timestamp   time.Time // millisecond precision; the epoch itself is a valid time
	Key         []byte
	Value       []byte
	Headers     []Header
}

// Clone returns a copy of r that shares no bytes with it.
func (r Record) Clone() Record {
	r.Key = slices.Clone(r.Key)
	r.Value = slices.Clone(r.Value)
	if r.Headers != nil {
		hs := make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			hs[i] = Header{Key: string([]byte(h.Key)), Value: slices.Clone(h.Value)}
		}
		r.Headers = hs
	}
	return r
}

// Header returns the value of the last header with this key, as Kafka's
// lastHeader does, and whether there is one.
func (r Record) Header(key string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// Position returns the record's position.
func (r Record) Position() Position {
	return Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns Kafka's spelling, such as orders-3.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// Compare orders by topic, then by partition.
func (tp TopicPartition) Compare(other TopicPartition) int {
	switch {
	case tp.Topic < other.Topic:
		return -1
	case tp.Topic > other.Topic:
		return 1
	}
	return int(tp.Partition) - int(other.Partition)
}

// Position is where a record is stored: topic, partition and offset. Offset is
// -1 if the record was sent without asking for an acknowledgement.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
}

// TopicPartition returns the partition that the position is in.
func (p Position) TopicPartition() TopicPartition {
	return TopicPartition{Topic: p.Topic, Partition: p.Partition}
}

// String returns the position as orders-3@1042.
func (p Position) String() string {
	return p.TopicPartition().String() + "@" + strconv.FormatInt(p.Offset, 10)
}
