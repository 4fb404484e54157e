package runnel

import (
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// check returns a record's time, or record.NoTimestamp where it brings none, or
// what the partition would say against it: that must concern no other record of its
// batch.
func (l *lane) check(r *record.Record) (ms int64, err error) {
	if r.Key == nil && l.partition.Settings().Keyed {
		return 0, fault.At(fault.InvalidRecord, l.topic, l.number, -1).
			Detailf("the record has no key, and the topic is compacted by key")
	}
	if r.Timestamp.IsZero() {
		return record.NoTimestamp, nil
	}
	if ms = r.Timestamp.UnixMilli(); ms < 0 {
		return 0, fault.At(fault.InvalidTimestamp, l.topic, l.number, -1).Detailf("%v is before 1970", r.Timestamp)
	}
	if l.isAhead(ms) && !l.partition.Settings().AppendTime {
		return 0, fault.At(fault.InvalidTimestamp, l.topic, l.number, -1).
			Detailf("%v is more than %v from now", r.Timestamp, partition.MaxAhead)
	}
	return ms, nil
}

// isAhead reports whether a time is too far from now. The clock is only looked at
// when it would be too far from when that was done last.
func (l *lane) isAhead(ms int64) bool {
	if ms <= l.clock.Load()+partition.MaxAhead.Milliseconds() {
		return false
	}
	now := time.Now().UnixMilli()
	l.clock.Store(now)
	return ms > now+partition.MaxAhead.Milliseconds()
}
