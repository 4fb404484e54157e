package runnel

import (
	"github.com/runnel-go/runnel/fault"
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
	return ms, nil
}
