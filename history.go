package runnel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/wire"
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
	p, err := b.partitionOf(q.TopicPartition)
	if err != nil {
		return consumer.KeyPage{}, err
	}
	if led, replicated := p.Group(); replicated && p.Copy() == nil {
		return b.readKeyElsewhere(ctx, led.Leader, q)
	}
	return readKey(ctx, p, q)
}

func readKey(ctx context.Context, p partition.Opened, q consumer.KeyQuery) (consumer.KeyPage, error) {
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

// copyFor is how long one node may take to read a key's records, where there are others to ask.
const copyFor = 10 * time.Second

// readKeyElsewhere has one of the nodes with a copy read the records: the leader's, and if that does not answer, one
// after the other.
func (b *Broker) readKeyElsewhere(ctx context.Context, leader int32, q consumer.KeyQuery) (page consumer.KeyPage, err error) {
	t, err := b.host.Topic(q.Topic)
	if err != nil {
		return page, err
	}
	nodes := slices.Clone(t.Placement()[q.Partition].Replicas)
	if i := slices.Index(nodes, leader); i > 0 {
		nodes[0], nodes[i] = nodes[i], nodes[0]
	}
	for _, node := range nodes {
		page, err = b.readKeyOn(ctx, node, q)
		if _, silent := errors.AsType[unanswered](err); !silent && !errors.Is(err, fault.NotLeader) || ctx.Err() != nil {
			return page, err
		}
	}
	return page, fault.At(fault.NetworkException, q.Topic, q.Partition, -1).Detailf("no node with a copy answers").Because(err)
}

// readKeyOn has another node read the records.
func (b *Broker) readKeyOn(ctx context.Context, node int32, q consumer.KeyQuery) (page consumer.KeyPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, copyFor)
	defer cancel()
	var w wire.Writer
	attach.WriteKeyQuery(&w, &q)
	fields, err := b.ask(ctx, node, requestKey, w.B)
	if err != nil {
		return page, err
	}
	r := wire.NewReader(fields)
	page = attach.ReadKeyPage(&r, &q)
	if err := r.End(); err != nil {
		return consumer.KeyPage{}, fault.Newf(fault.Unknown, "the answer of node %d", node).Because(err)
	}
	return page, nil
}

// serveKey answers another node's ReadKey.
func (b *Broker) serveKey(ctx context.Context, fields []byte) ([]byte, error) {
	r := wire.NewReader(fields)
	q := attach.ReadKeyQuery(&r)
	if err := r.End(); err != nil {
		return nil, err
	}
	p, err := b.partitionOf(q.TopicPartition)
	if err != nil {
		return nil, err
	}
	if p.Copy() == nil { // otherwise the two might ask each other
		return nil, fault.At(fault.NotLeader, q.Topic, q.Partition, -1).Detailf("node %d has no copy", b.node())
	}
	page, err := readKey(ctx, p, q)
	if err != nil {
		return nil, err
	}
	var w wire.Writer
	attach.WriteKeyPage(&w, &page, &q)
	return w.B, w.Err()
}
