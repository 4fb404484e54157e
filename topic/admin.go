package topic

import (
	"context"
	"math"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Admin creates, changes and describes topics. *runnel.Broker implements it on
// local logs, the kafka module on a Kafka cluster. All methods are safe for
// concurrent use; ctx bounds one call.
type Admin interface {
	// CreateTopics creates all topics or none. A Spec with zero Partitions or
	// Replicas means the backend's default (1 in one process). It fails with
	// fault.TopicExists, fault.InvalidTopic, fault.InvalidPartitions,
	// fault.InvalidConfig. fault.Storage says that they are there, but files of theirs
	// are not; whoever uses them has them made. (A Kafka cluster creates topics one by one.)
	// A program that starts, and wants its topics to be there, calls Ensure.
	CreateTopics(ctx context.Context, specs ...Spec) error

	// DeleteTopics deletes topics with their records; fault.UnknownTopic.
	DeleteTopics(ctx context.Context, names ...string) error

	// Topics returns the names of all topics but internal ones, sorted.
	Topics(ctx context.Context) ([]string, error)

	// DescribeTopics describes the named topics in that order, or all but the
	// internal ones when none is named; fault.UnknownTopic.
	DescribeTopics(ctx context.Context, names ...string) ([]Description, error)

	// AddPartitions raises a topic's number of partitions to total. Keys then
	// go to other partitions than before. fault.InvalidPartitions where total
	// is not larger than what is.
	AddPartitions(ctx context.Context, name string, total int) error

	// ConfigureTopic replaces a topic's configuration; a zero field goes back
	// to its default.
	ConfigureTopic(ctx context.Context, name string, cfg Config) error

	// DeleteRecords makes all records before the given offsets unreadable, and
	// returns each partition's new log start offset. An offset of -1 means the
	// high watermark. fault.OffsetOutOfRange beyond it.
	DeleteRecords(ctx context.Context, before map[record.TopicPartition]int64) (map[record.TopicPartition]int64, error)

	// ListOffsets returns, for each partition, the offset that spec names.
	ListOffsets(ctx context.Context, spec OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]ListedOffset, error)
}

// OffsetSpec names an offset without knowing its number: Earliest, Latest,
// AtTime, Ago or AtOffset; or None. The zero value is Earliest.
type OffsetSpec struct {
	kind   specKind
	time   time.Time
	offset int64
	ago    time.Duration
}

type specKind uint8

const (
	kindEarliest specKind = iota
	kindLatest
	kindTime
	kindOffset
	kindAgo
	kindNone
)

// Earliest is the log start offset.
func Earliest() OffsetSpec { return OffsetSpec{kind: kindEarliest} }

// Latest is the high watermark: the offset of the next record to be readable.
func Latest() OffsetSpec { return OffsetSpec{kind: kindLatest} }

// AtTime is the offset of the first record whose timestamp is t or later, and
// Latest where there is none.
func AtTime(t time.Time) OffsetSpec {
	// Timestamps are 64 bits of milliseconds. Beyond them t.UnixMilli wraps around,
	// so that a time after all records would be one before them.
	switch first, last := time.UnixMilli(math.MinInt64), time.UnixMilli(math.MaxInt64); {
	case t.After(last):
		t = last
	case t.Before(first):
		t = first
	}
	return OffsetSpec{kind: kindTime, time: t}
}

// AtOffset is that very offset.
func AtOffset(offset int64) OffsetSpec { return OffsetSpec{kind: kindOffset, offset: offset} }

// Ago is AtTime of a moment that long before the one at which it is asked for.
func Ago(d time.Duration) OffsetSpec { return OffsetSpec{kind: kindAgo, ago: d} }

// None names no offset: as the start of a consumer it makes an error of a partition
// without a committed offset. Elsewhere it is fault.InvalidRequest.
func None() OffsetSpec { return OffsetSpec{kind: kindNone} }

// IsEarliest reports whether s is Earliest.
func (s OffsetSpec) IsEarliest() bool { return s.kind == kindEarliest }

// IsLatest reports whether s is Latest.
func (s OffsetSpec) IsLatest() bool { return s.kind == kindLatest }

// IsNone reports whether s is None.
func (s OffsetSpec) IsNone() bool { return s.kind == kindNone }

// Time returns the time of AtTime, or that of Ago as of now, and whether s is one.
func (s OffsetSpec) Time() (time.Time, bool) {
	if s.kind == kindAgo {
		return time.Now().Add(-s.ago), true
	}
	return s.time, s.kind == kindTime
}

// Duration returns the duration of Ago, and whether s is one.
func (s OffsetSpec) Duration() (time.Duration, bool) { return s.ago, s.kind == kindAgo }

// Offset returns the offset of AtOffset, and whether s is one.
func (s OffsetSpec) Offset() (int64, bool) { return s.offset, s.kind == kindOffset }

// ListedOffset answers an OffsetSpec.
type ListedOffset struct {
	Offset      int64
	LeaderEpoch int32     // -1 where unknown
	Timestamp   time.Time // of the record found by AtTime, else zero
}
