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
	// CreateTopics creates all topics or none. Zero Partitions or Replicas in a
	// Spec mean the backend's default (1 in one process). It returns
	// fault.TopicExists, fault.InvalidTopic, fault.InvalidPartitions or
	// fault.InvalidConfig. fault.Storage means that the topics exist but some
	// of their files do not; the first use of the topics creates those. A Kafka
	// cluster creates topics one by one. A program that creates its topics when
	// it starts calls Ensure.
	CreateTopics(ctx context.Context, specs ...Spec) error

	// DeleteTopics deletes topics with their records. It returns
	// fault.UnknownTopic.
	DeleteTopics(ctx context.Context, names ...string) error

	// Topics returns the names of all topics except internal ones, sorted.
	Topics(ctx context.Context) ([]string, error)

	// DescribeTopics describes the named topics in that order, or all except
	// the internal ones if none is named. It returns fault.UnknownTopic.
	DescribeTopics(ctx context.Context, names ...string) ([]Description, error)

	// DescribeCluster describes the nodes: one in one process.
	DescribeCluster(ctx context.Context) (Cluster, error)

	// AddPartitions raises a topic's number of partitions to total. Keys then
	// map to other partitions than before. It returns fault.InvalidPartitions
	// if total is not larger than the current number.
	AddPartitions(ctx context.Context, name string, total int) error

	// ConfigureTopic replaces a topic's configuration. A zero field means its
	// default.
	ConfigureTopic(ctx context.Context, name string, cfg Config) error

	// DeleteRecords makes all records before the given offsets unreadable, and
	// returns each partition's new log start offset. An offset of -1 means the
	// high watermark. An offset beyond it is fault.OffsetOutOfRange.
	DeleteRecords(ctx context.Context, before map[record.TopicPartition]int64) (map[record.TopicPartition]int64, error)

	// ListOffsets returns, for each partition, the offset that spec names.
	ListOffsets(ctx context.Context, spec OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]ListedOffset, error)
}

// OffsetSpec names an offset without knowing its number: Earliest, Latest,
// AtTime, Ago, AtOffset or None. The zero value is Earliest.
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

// Latest is the high watermark: the offset of the next record that will be
// readable.
func Latest() OffsetSpec { return OffsetSpec{kind: kindLatest} }

// AtTime is the offset of the first record whose timestamp is t or later, and
// Latest if there is none.
func AtTime(t time.Time) OffsetSpec {
	// Timestamps are 64 bits of milliseconds. Beyond them t.UnixMilli wraps
	// around and would turn a time after all records into one before them.
	switch first, last := time.UnixMilli(math.MinInt64), time.UnixMilli(math.MaxInt64); {
	case t.After(last):
		t = last
	case t.Before(first):
		t = first
	}
	return OffsetSpec{kind: kindTime, time: t}
}

// AtOffset is the given offset.
func AtOffset(offset int64) OffsetSpec { return OffsetSpec{kind: kindOffset, offset: offset} }

// Ago is AtTime of the moment that lies d before the request.
func Ago(d time.Duration) OffsetSpec { return OffsetSpec{kind: kindAgo, ago: d} }

// None names no offset: with it as a consumer's start, a partition without a
// committed offset is an error. Elsewhere it is fault.InvalidRequest.
func None() OffsetSpec { return OffsetSpec{kind: kindNone} }

// IsEarliest reports whether s is Earliest.
func (s OffsetSpec) IsEarliest() bool { return s.kind == kindEarliest }

// IsLatest reports whether s is Latest.
func (s OffsetSpec) IsLatest() bool { return s.kind == kindLatest }

// IsNone reports whether s is None.
func (s OffsetSpec) IsNone() bool { return s.kind == kindNone }

// Time returns the time of AtTime, or that of Ago as of now, and whether s is
// one of them.
func (s OffsetSpec) Time() (time.Time, bool) {
	if s.kind == kindAgo {
		return time.Now().Add(-s.ago), true
	}
	return s.time, s.kind == kindTime
}

// Duration returns the duration of Ago, and whether s is Ago.
func (s OffsetSpec) Duration() (time.Duration, bool) { return s.ago, s.kind == kindAgo }

// Offset returns the offset of AtOffset, and whether s is AtOffset.
func (s OffsetSpec) Offset() (int64, bool) { return s.offset, s.kind == kindOffset }

// ListedOffset is the answer to an OffsetSpec.
type ListedOffset struct {
	Offset      int64
	LeaderEpoch int32     // -1 where unknown
	Timestamp   time.Time // of the record found by AtTime, else zero
}
