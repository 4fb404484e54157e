package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// Compaction preserves a batch's last offset when it removes the batch's last
// record, and removes a batch without records. The client skips such offsets,
// but it reports its position only with records. After the last record the
// session's position would therefore stay below the partition's end, and a
// caller that waits until the position reaches the end would wait forever.
//
// So if the client has returned nothing for as long as a broker holds a fetch
// open (fetchWait), the session itself fetches at its position from the broker,
// and moves past the offsets that hold no records.

// passedBytes is how much of a partition such a fetch asks for. A broker
// returns at least one whole batch, however large it is.
const passedBytes = 64 << 10

// batches records that the client has read a batch without records. It
// implements kgo.HookFetchBatchRead.
type batches struct{ s *consuming }

// OnFetchBatchRead implements kgo.HookFetchBatchRead.
func (b batches) OnFetchBatchRead(_ kgo.BrokerMetadata, name string, partition int32, m kgo.FetchBatchMetrics) {
	if m.NumRecords > 0 {
		return
	}
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owned[record.TopicPartition{Topic: name, Partition: partition}]; o != nil && o.behind.IsZero() {
		o.behind = time.Now()
		if s.wake != nil {
			s.wake() // the wait now ends when the look is due
		}
	}
}

// look returns the partition whose look is due first, and when, if there is
// one. The caller holds s.mu.
func (s *consuming) look() (tp record.TopicPartition, at time.Time) {
	for candidate, o := range s.owned {
		if o.behind.IsZero() || o.paused || o.unplaced || !o.live || len(o.records) > 0 {
			continue
		}
		if due := o.behind.Add(fetchWait); at.IsZero() || due.Before(at) {
			tp, at = candidate, due
		}
	}
	return tp, at
}

// skip moves a position past offsets without records if a look is due, and
// reports whether it has.
func (s *consuming) skip(ctx context.Context, dst []record.Record) (got consumer.Fetched, ok bool) {
	s.mu.Lock()
	tp, due := s.look()
	o := s.owned[tp]
	s.mu.Unlock()
	if due.IsZero() || time.Now().Before(due) || ctx.Err() != nil {
		return got, false
	}
	from, err := s.Position(ctx, tp)
	if err != nil {
		return got, false
	}
	next, high, known := s.behind(ctx, tp, from)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owned[tp] != o || o.position != from || len(o.records) > 0 {
		return got, false // the client has returned records in the meantime
	}
	o.behind = time.Time{}
	if !known || next < high {
		o.behind = time.Now() // records will arrive, or the next look checks again
	}
	if next == from {
		return got, false
	}
	o.position, o.high = next, high
	return consumer.Fetched{TopicPartition: tp, Records: dst, Next: next, LeaderEpoch: -1, HighWatermark: max(high, next)}, true
}

// behind asks a partition's leader for the offset of the first record at or
// after from. If there is none, it returns the offset after the last batch. If
// the leader's answer does not say, known is false.
func (s *consuming) behind(ctx context.Context, tp record.TopicPartition, from int64) (next, high int64, known bool) {
	next = from
	m, err := s.cluster.metadata(ctx, tp.Topic)
	if err != nil || int(tp.Partition) >= len(m.Partitions) {
		return from, 0, false
	}
	isolation := kgo.ReadUncommitted()
	if s.cfg.ReadCommitted {
		isolation = kgo.ReadCommitted()
	}
	leader := s.cluster.client.Broker(int(m.Partitions[tp.Partition].Leader))
	for {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes = passedBytes
		req.IsolationLevel = s.level()
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = tp.Topic, m.TopicID
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = tp.Partition, next, passedBytes
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, leader)
		if err != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			return next, high, false
		}
		part := &resp.Topics[0].Partitions[0]
		if high = part.HighWatermark; s.cfg.ReadCommitted {
			high = part.LastStableOffset
		}
		options := kgo.ProcessFetchPartitionOpts{KeepControlRecords: true, IsolationLevel: isolation, Offset: next, Topic: tp.Topic, Partition: tp.Partition}
		fetched, after := kgo.ProcessFetchPartition(options, part, kgo.DefaultDecompressor(), nil)
		if len(fetched.Records) > 0 {
			return fetched.Records[0].Offset, high, true
		}
		if fetched.Err != nil || after <= next {
			return next, high, fetched.Err == nil
		}
		next = after
	}
}
