package produce

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// check checks a record as the partition would, before it shares a batch with others: one
// invalid record must not fail their batch. It returns the record's time, or
// record.NoTimestamp if it has none.
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

// checkReplicas returns an error if the topic wants more copies of a record than there
// are.
func (l *lane) checkReplicas() error {
	if min := l.partition.MinReplicas(); min <= 1 || l.session.cfg.Acks != producer.AcksAll || min <= l.partition.Replicas() {
		return nil
	}
	return fault.At(fault.NotEnoughReplicas, l.topic, l.number, -1).ForGood().
		Detailf("min.insync.replicas is %d, and the partition has %d", l.partition.MinReplicas(), l.partition.Replicas()).
		Try("set it lower, or send with AcksLeader")
}
