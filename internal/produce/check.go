package produce

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// check returns a record's time, or record.NoTimestamp where it brings none, or
// what the partition would say against it: that must concern no other record of its
// batch.
func (l *lane) check(r *record.Record) (ms int64, err error) {
	if err := l.checkReplicas(); err != nil {
		return 0, err
	}
	if r.Key == nil && l.partition.Settings().Keyed {
		return 0, fault.At(fault.InvalidRecord, l.topic, l.number, -1).
			Detailf("the record has no key, and the topic is compacted by key")
	}
	if ms, err = record.Milliseconds(r.Timestamp, l.topic, l.number); err != nil || ms == record.NoTimestamp {
		return ms, err
	}
	return ms, l.partition.CheckTime(ms)
}

// checkReplicas refuses what wants more copies than there are.
func (l *lane) checkReplicas() error {
	if l.session.cfg.Acks != producer.AcksAll || l.partition.MinReplicas() <= l.partition.Replicas() {
		return nil
	}
	return fault.At(fault.NotEnoughReplicas, l.topic, l.number, -1).ForGood().
		Detailf("min.insync.replicas is %d, and the partition has %d", l.partition.MinReplicas(), l.partition.Replicas()).
		Try("set it lower, or send with AcksLeader")
}
