package streams

import (
	"errors"
	"time"

	"github.com/runnel-go/runnel/record"
)

// SourceOption is an option of an operator that reads a topic with keys of type K
// and values of type V.
type SourceOption[K, V any] interface{ source(*sourceConfig[K, V]) }

type sourceConfig[K, V any] struct {
	extract func(Incoming[K, V]) (time.Time, bool)
}

type sourceOption[K, V any] func(*sourceConfig[K, V])

func (o sourceOption[K, V]) source(c *sourceConfig[K, V]) { o(c) }

func sourceOptions[K, V any](options []SourceOption[K, V]) (c sourceConfig[K, V]) {
	for _, o := range options {
		o.source(&c)
	}
	return c
}

// Incoming is a record that a source has read and decoded.
type Incoming[K, V any] struct {
	Key      K
	Value    V
	HasKey   bool // false: the key is null
	HasValue bool // false: the value is null

	// Record is the record as it was read. It must not be changed, nor used after
	// the function returns that got it.
	Record *record.Record

	// PartitionTime is the largest time that was returned for a record of this
	// partition; zero before the first.
	PartitionTime time.Time
}

// EventTime takes the time of each record of a source from what f returns, not from
// the record's own timestamp: from a field of its value, for one. It is Kafka's
// TimestampExtractor. If f returns false the record is skipped, and counted by
// App.ErrorCounts. A time before 1970, or a panic, is a deserialization error.
//
// f may be called more than once for a record, because a task that reads several
// partitions asks for the times of records before it chooses the next one.
func EventTime[K, V any](f func(r Incoming[K, V]) (at time.Time, ok bool)) SourceOption[K, V] {
	return sourceOption[K, V](func(c *sourceConfig[K, V]) { c.extract = f })
}

var errNoTimestamp = errors.New("EventTime found no time in it")
