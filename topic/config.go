package topic

import "time"

// Config is a topic's configuration. The zero value of each field means its
// default, so the zero Config works. Names in parentheses are Kafka's, which
// Set and Entries use and under which a Config is stored and sent.
type Config struct {
	// Durability is what each copy must do before a record counts as written
	// (runnel.durability). DefaultDurability is the broker's: Fsync for Open,
	// Memory for OpenMemory.
	Durability Durability

	Cleanup           Cleanup       // what happens to old records (cleanup.policy): Delete
	Retention         time.Duration // how long they are kept (retention.ms): 7 days; Forever: no limit
	RetentionBytes    int64         // how much of a partition is kept (retention.bytes): no limit
	SegmentBytes      int64         // a segment is closed at this size (segment.bytes): 1 GiB
	SegmentAge        time.Duration // or at this age (segment.ms): 7 days
	MaxMessageBytes   int           // the largest batch accepted (max.message.bytes): 1 MiB + 12
	Timestamps        TimestampType // whose clock sets timestamps (message.timestamp.type): CreateTime
	TimestampBefore   time.Duration // how far before the broker's clock a record's time may lie (message.timestamp.before.max.ms): Forever
	TimestampAfter    time.Duration // and how far after it (message.timestamp.after.max.ms): Forever, where Kafka 4 has 1 h
	MinReplicas       int           // copies that AcksAll waits for (min.insync.replicas): 1
	MinCompactionLag  time.Duration // (min.compaction.lag.ms): 0
	MaxCompactionLag  time.Duration // (max.compaction.lag.ms): Forever
	DeleteRetention   time.Duration // how long tombstones are kept (delete.retention.ms): 24 h
	MinCleanableRatio float64       // (min.cleanable.dirty.ratio): 0.5

	// KeyIndex lets each partition find the records of a key (runnel.key.index): for
	// producer.IfKeyAt, producer.IfAbsent and consumer.History. The index is in files of
	// 16 bytes for each record. The zero value is no index.
	KeyIndex bool
}

// Forever is a duration without an end; Kafka's -1.
const Forever = time.Duration(-1)

// Durability is what a copy of a partition must do before a record counts as
// written.
type Durability int8

// Each level includes the ones before it.
const (
	DefaultDurability Durability = iota
	Memory                       // the record is in memory
	OS                           // written to the operating system: survives kill -9, not power loss
	Fsync                        // on disk; appends that wait share one fsync
)

// String returns default, memory, os or fsync.
func (d Durability) String() string {
	switch d {
	case Memory:
		return "memory"
	case OS:
		return "os"
	case Fsync:
		return "fsync"
	}
	return "default"
}

// Cleanup is what happens to old records.
type Cleanup int8

// The zero value is DefaultCleanup, which is Delete.
const (
	DefaultCleanup Cleanup = iota
	Delete                 // whole segments are deleted when they are too old or the log is too large
	Compact                // the last record of each key is kept
	CompactDelete          // both
)

// String returns Kafka's value, such as compact,delete.
func (c Cleanup) String() string {
	switch c {
	case Compact:
		return "compact"
	case CompactDelete:
		return "compact,delete"
	}
	return "delete"
}

// TimestampType says whose clock a record's timestamp is.
type TimestampType int8

// The zero value is CreateTime.
const (
	CreateTime    TimestampType = iota // the producer's
	LogAppendTime                      // the broker's, when the batch is appended
)

// String returns Kafka's value.
func (t TimestampType) String() string {
	if t == LogAppendTime {
		return "LogAppendTime"
	}
	return "CreateTime"
}
