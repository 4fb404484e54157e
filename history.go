package runnel

import (
	"context"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/topic"
)

var (
	_ consumer.KeyReader = (*Broker)(nil)
	_ consumer.KeyReader = (*Remote)(nil)
)

// maxKeyPage is how many records ReadKey returns at the most.
const maxKeyPage = 1 << 12

// ReadKey implements consumer.KeyReader. Programs call consumer.History.
func (b *Broker) ReadKey(ctx context.Context, q consumer.KeyQuery) (consumer.KeyPage, error) {
	if topic.IsInternal(q.Topic) {
		return consumer.KeyPage{}, fault.At(fault.InvalidTopic, q.Topic, -1, -1).Detailf("the broker keeps its own state in it")
	}
	p, err := b.host.Partition(q.TopicPartition)
	if err != nil {
		return consumer.KeyPage{}, err
	}
	level := partition.ReadUncommitted
	if q.ReadCommitted {
		level = partition.ReadCommitted
	}
	records, next, end, err := p.ReadKey(ctx, q.Key, q.From, level, min(max(q.Max, 1), maxKeyPage))
	return consumer.KeyPage{Records: records, Next: next, End: end}, err
}

// ReadKey implements consumer.KeyReader. Programs call consumer.History.
func (r *Remote) ReadKey(ctx context.Context, q consumer.KeyQuery) (consumer.KeyPage, error) {
	return r.client.ReadKey(ctx, q)
}
