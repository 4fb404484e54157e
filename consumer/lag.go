package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// LagBackend is what Lag needs of a backend. All backends have it.
type LagBackend interface {
	Backend
	Admin
	topic.Admin
}

// PartitionLag is how far a group is behind in one partition.
type PartitionLag struct {
	record.TopicPartition

	// Committed is the group's offset. Committed.Offset is -1 if the group has
	// committed nothing.
	Committed Offset

	// Start and End are the offset of the log's first record and the offset after its
	// last one. Both are -1 if the partition no longer exists.
	Start, End int64

	// Records is how many offsets lie between the committed one and End; between Start
	// and End if nothing is committed or the log begins later. Offsets of control
	// records and of compacted records count.
	Records int64

	// Age is how long ago the first record that the group has not consumed was
	// written, by its timestamp: how late the group is. It is 0 if there is none, and
	// UnknownAge if it cannot be read.
	Age time.Duration

	Member Member // that owns the partition; the zero Member if none does
}

// UnknownAge is the Age of a partition whose first unconsumed record could not be read.
const UnknownAge time.Duration = -1

// ageWithin is how long Lag waits for the next partition's record.
const ageWithin = 3 * time.Second

// Lag returns how far a group is behind, sorted by partition. The partitions are all of
// the topics that the group has committed for or that its members subscribe to, so
// partitions that were never committed are among them.
//
// To learn a partition's Age, Lag reads the record at the committed offset, or the next
// one where the log has none there; an Age therefore costs reading one batch for each
// partition in which the group is behind. The lag is as of the committed offsets: what a
// member has read and not committed yet counts as lag.
//
// Lag returns fault.GroupNotFound for an unknown group.
func Lag(ctx context.Context, b LagBackend, group string) ([]PartitionLag, error) {
	described, err := b.DescribeGroups(ctx, group)
	if err != nil {
		return nil, err
	}
	committed, err := b.GroupOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	lags := make(map[record.TopicPartition]*PartitionLag)
	for tp, o := range committed {
		lags[tp] = &PartitionLag{TopicPartition: tp, Committed: o, Start: -1, End: -1}
	}
	owners := make(map[record.TopicPartition]Member)
	names := make(map[string]bool)
	for tp := range committed {
		names[tp.Topic] = true
	}
	for _, m := range described[0].Members {
		for _, name := range m.Topics {
			names[name] = true
		}
		for _, tp := range m.Assigned {
			owners[tp] = m
		}
		for _, tp := range slices.Concat(m.Assigned, m.Target) { // also of a pattern's topics
			names[tp.Topic] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := measure(ctx, b, name, lags); err != nil {
			return nil, err
		}
	}
	all := make([]PartitionLag, 0, len(lags))
	for _, tp := range slices.SortedFunc(maps.Keys(lags), record.TopicPartition.Compare) {
		lags[tp].Member = owners[tp]
		all = append(all, *lags[tp])
	}
	return all, readAges(ctx, b, all)
}

// measure adds the lag in records of all partitions of a topic. A topic that does not
// exist has none.
func measure(ctx context.Context, b topic.Admin, name string, lags map[record.TopicPartition]*PartitionLag) error {
	described, err := b.DescribeTopics(ctx, name)
	var partitions []record.TopicPartition
	if err == nil {
		for _, p := range described[0].Partitions {
			partitions = append(partitions, record.TopicPartition{Topic: name, Partition: p.Number})
		}
	}
	var starts, ends map[record.TopicPartition]topic.ListedOffset
	if err == nil {
		starts, err = b.ListOffsets(ctx, topic.Earliest(), partitions...)
	}
	if err == nil {
		ends, err = b.ListOffsets(ctx, topic.Latest(), partitions...)
	}
	if errors.Is(err, fault.UnknownTopic) {
		return nil // deleted, perhaps just now
	}
	if err != nil {
		return err
	}
	for _, tp := range partitions {
		l := lags[tp]
		if l == nil {
			l = &PartitionLag{TopicPartition: tp, Committed: Offset{Offset: -1, LeaderEpoch: record.NoLeaderEpoch}}
			lags[tp] = l
		}
		l.Start, l.End = starts[tp].Offset, ends[tp].Offset
		l.Records = max(0, l.End-l.next())
	}
	return nil
}

// next returns the offset at which the group continues.
func (l *PartitionLag) next() int64 { return max(l.Committed.Offset, l.Start) }

// readAges sets the Age of partitions in which the group is behind, from the timestamps
// of their first unconsumed records.
func readAges(ctx context.Context, b Backend, all []PartitionLag) error {
	behind := make(map[record.TopicPartition]*PartitionLag)
	for i := range all {
		if l := &all[i]; l.Records > 0 {
			l.Age = UnknownAge
			behind[l.TopicPartition] = l
		}
	}
	if len(behind) == 0 {
		return nil
	}
	s, err := b.OpenConsumer(ctx, Config{
		ClientID: "lag", Start: topic.Earliest(), MaxRecords: 1, MaxBytes: 1,
		SessionTimeout: DefaultSessionTimeout, RebalanceTimeout: DefaultRebalanceTimeout,
	})
	if err != nil {
		return err
	}
	err = fetchAges(ctx, s, behind)
	return errors.Join(err, s.Close())
}

// fetchAges takes each partition from behind once it knows its Age, or that it will not.
func fetchAges(ctx context.Context, s Session, behind map[record.TopicPartition]*PartitionLag) error {
	partitions := slices.SortedFunc(maps.Keys(behind), record.TopicPartition.Compare)
	if err := s.Assign(ctx, partitions); err != nil {
		return err
	}
	for _, tp := range partitions {
		if err := s.Seek(ctx, tp, topic.AtOffset(behind[tp].next())); err != nil {
			return err
		}
	}
	buffer := make([]record.Record, 0, 1)
	for len(behind) > 0 {
		f, err := s.Fetch(ctx, ageWithin, buffer)
		if err == nil && f.IsNone() {
			return nil // the rest does not answer
		}
		tp := f.TopicPartition
		if err != nil {
			if tp = failedIn(err); ctx.Err() != nil || behind[tp] == nil {
				return err
			}
		}
		l := behind[tp]
		switch {
		case l == nil: // it was on its way when its partition was paused
			continue
		case err != nil:
		case len(f.Records) > 0:
			l.Age = max(0, time.Since(f.Records[0].Timestamp))
		case f.Next < l.End:
			continue // no record so far: compacted, or control records
		default:
			l.Age = 0
		}
		delete(behind, tp)
		if err := s.Pause(tp); err != nil && !errors.Is(err, fault.NotAssigned) {
			return err
		}
	}
	return nil
}

// failedIn returns the partition that an error is about; the zero value for none.
func failedIn(err error) record.TopicPartition {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return record.TopicPartition{Topic: f.Topic, Partition: f.Partition}
	}
	if f, ok := errors.AsType[*fault.Corruption](err); ok {
		return record.TopicPartition{Topic: f.Topic, Partition: f.Partition}
	}
	return record.TopicPartition{}
}
