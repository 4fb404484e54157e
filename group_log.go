package runnel

import (
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// offsetGrace is how long a group whose time was over before has for its members to
// come back: as often as Kafka looks (offsets.retention.check.interval.ms).
const offsetGrace = 10 * time.Minute

// load folds the log into a new coordinator.
func (s *groupShard) load() error {
	retention := s.service.broker.offsetRetention
	c := group.New(group.Limits{Retention: retention, ExpireFrom: time.Now().Add(min(retention, offsetGrace))})
	p, err := s.service.broker.sound(s.topic, s.number)
	if err != nil {
		return err
	}
	err = s.service.broker.scan(p, func(r *record.Record) error { return c.Apply(r.Key, r.Value) })
	if err == nil {
		s.coordinator = c
	}
	return err
}

// scan calls fn for every record of p. The record is valid until fn returns.
func (b *Broker) scan(p *partition.Partition, fn func(*record.Record) error) error {
	var r record.Record
	for offset := p.StartOffset(); offset < p.HighWatermark(); {
		s, err := p.Read(offset, 1<<20, nil)
		if err != nil {
			return err
		}
		for b2 := s.Bytes; len(b2) > 0; {
			h, err := record.ParseHeader(b2)
			if err != nil {
				return err
			}
			batch := record.Batch{BatchHeader: h, Bytes: b2[:h.Size()]}
			b2, offset = b2[h.Size():], h.NextOffset()
			if h.Control() {
				continue
			}
			it, err := batch.Records(b.codec)
			if err != nil {
				return err
			}
			for it.Next(&r) {
				if err := fn(&r); err != nil {
					return err
				}
			}
			if err := it.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// append appends records as one batch and waits until they count.
func (s *groupShard) append(records []group.Record) error {
	if len(records) == 0 {
		return nil
	}
	builder := record.NewBuilder(offsetsSpec.Config.MaxMessageBytes)
	now := time.Now().UnixMilli()
	for _, r := range records {
		if !builder.Add(now, r.Key, r.Value, nil) {
			return fault.At(fault.RecordListTooLarge, offsetsSpec.Name, -1, -1).Detailf("%d records in one command", len(records))
		}
	}
	batch, err := builder.Batch(nil, record.None, 0)
	if err != nil {
		return err
	}
	done := make(outcome, 1)
	s.partition().Append(batch.Bytes, nil, done)
	return <-done
}
