package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// Compaction keeps a batch's last offset when the last record of it goes, and a
// batch when all of its records go. The client moves past such offsets, but tells
// only records: behind the last one, the session's position would stay before the
// partition's end, and whoever waits to get there would wait for ever. So where the
// client has brought nothing for as long as a broker waits with its answer, the
// session asks the broker itself what lies at the position.

// passedBytes is how much of a partition is asked for then. A broker returns a whole
// batch, however large it is.
const passedBytes = 64 << 10

// batches notes that the client has read a batch without records. It implements
// kgo.HookFetchBatchRead.
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
			s.wake() // to wait no longer than until the look
		}
	}
}

// look returns when a partition is to be looked at, if any is. s.mu is held.
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

// skip moves a position past offsets without records, where it is time to look for
// them, and reports whether it has.
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
		return got, false // it went on meanwhile
	}
	o.behind = time.Time{}
	if !known || next < high {
		o.behind = time.Now() // what is there comes, or it is looked at once more
	}
	if next == from {
		return got, false
	}
	o.position, o.high = next, high
	return consumer.Fetched{TopicPartition: tp, Records: dst, Next: next, LeaderEpoch: -1, HighWatermark: max(high, next)}, true
}

// behind asks a partition's leader what there is from an offset on, and returns the
// offset of the first record, or that behind the last batch; from where it cannot
// tell.
func (s *consuming) behind(ctx context.Context, tp record.TopicPartition, from int64) (next, high int64, known bool) {
	next = from
	m, err := s.cluster.metadata(ctx, tp.Topic)
	if err != nil || int(tp.Partition) >= len(m.Partitions) {
		return from, 0, false
	}
	leader := s.cluster.client.Broker(int(m.Partitions[tp.Partition].Leader))
	for {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes = passedBytes
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
		high = part.HighWatermark
		options := kgo.ProcessFetchPartitionOpts{KeepControlRecords: true, Offset: next, Topic: tp.Topic, Partition: tp.Partition}
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
