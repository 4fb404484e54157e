package runnel

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/coordinator"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var _ producer.Admin = (*Broker)(nil)

// ListTransactions lists the transactional IDs that are known, sorted. See producer.Admin.
func (b *Broker) ListTransactions(ctx context.Context) ([]producer.TransactionListing, error) {
	all, err := b.transactions.List(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b coordinator.TransactionDescription) int {
		return cmp.Compare(a.TransactionalID, b.TransactionalID)
	})
	listings := make([]producer.TransactionListing, len(all))
	for i, d := range all {
		listings[i] = described(d).TransactionListing
	}
	return listings, nil
}

// DescribeTransactions describes transactional IDs in that order. See producer.Admin.
func (b *Broker) DescribeTransactions(ctx context.Context, ids ...string) ([]producer.TransactionDescription, error) {
	all := make([]producer.TransactionDescription, len(ids))
	for i, id := range ids {
		d, err := b.transactions.Describe(ctx, id)
		if err != nil {
			return nil, err
		}
		all[i] = described(d)
	}
	return all, nil
}

func described(d coordinator.TransactionDescription) producer.TransactionDescription {
	return producer.TransactionDescription{
		TransactionListing: producer.TransactionListing{
			TransactionalID: d.TransactionalID, Coordinator: d.Coordinator, ProducerID: d.ProducerID, State: d.State.String(),
		},
		Epoch: d.Epoch, Timeout: d.Timeout, Started: d.Started, Partitions: d.Partitions,
	}
}

// ForceTerminateTransaction aborts the open transaction of a transactional ID. Its producer
// finds that when it commits, and may begin another one. See producer.Admin.
func (b *Broker) ForceTerminateTransaction(ctx context.Context, id string) error {
	return b.transactions.Abort(ctx, id)
}

// DescribeProducers returns the idempotent producers that the partitions' leaders know. See
// producer.Admin.
func (b *Broker) DescribeProducers(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition][]producer.ProducerState, error) {
	elsewhere := map[int32][]record.TopicPartition{} // by leader
	var own []record.TopicPartition
	for _, tp := range partitions {
		p, err := b.partitionOf(tp)
		if err != nil {
			return nil, err
		}
		switch led, replicated := p.Group(); {
		case !replicated || led.Leader == b.node():
			own = append(own, tp)
		case led.Leader < 0:
			return nil, fault.At(fault.LeaderNotAvailable, tp.Topic, tp.Partition, -1)
		default:
			elsewhere[led.Leader] = append(elsewhere[led.Leader], tp)
		}
	}
	all, err := b.ownProducers(own)
	if err != nil {
		return nil, err
	}
	for node, tps := range elsewhere {
		var w wire.Writer
		attach.WritePartitions(&w, tps)
		fields, err := b.ask(ctx, node, requestProducers, w.B)
		if err != nil {
			return nil, err
		}
		r := wire.NewReader(fields)
		some := attach.ReadProducers(&r)
		if err := r.End(); err != nil {
			return nil, fault.Newf(fault.Unknown, "the answer of node %d", node).Because(err)
		}
		for tp, states := range some {
			all[tp] = states
		}
	}
	return all, nil
}

// ownProducers returns what the copies on this node know.
func (b *Broker) ownProducers(partitions []record.TopicPartition) (map[record.TopicPartition][]producer.ProducerState, error) {
	all := make(map[record.TopicPartition][]producer.ProducerState, len(partitions))
	for _, tp := range partitions {
		p, err := b.partitionOf(tp)
		if err != nil {
			return nil, err
		}
		held := p.Copy()
		if held == nil {
			return nil, fault.At(fault.NotLeader, tp.Topic, tp.Partition, -1)
		}
		known, err := held.Producers()
		if err != nil {
			return nil, err
		}
		states := make([]producer.ProducerState, len(known))
		for i, q := range known {
			states[i] = producer.ProducerState{
				ProducerID: q.ID, Epoch: q.Epoch, LastSequence: q.Last().LastSequence, LastTimestamp: time.UnixMilli(q.Timestamp),
				CoordinatorEpoch: q.CoordinatorEpoch, TransactionStart: q.TxnFirst,
			}
		}
		all[tp] = states
	}
	return all, nil
}

// serveProducers answers another node's DescribeProducers.
func (b *Broker) serveProducers(_ context.Context, fields []byte) ([]byte, error) {
	r := wire.NewReader(fields)
	partitions := attach.ReadPartitions(&r)
	if err := r.End(); err != nil {
		return nil, err
	}
	all, err := b.ownProducers(partitions)
	if err != nil {
		return nil, err
	}
	var w wire.Writer
	attach.WriteProducers(&w, all)
	return w.B, w.Err()
}

// AbortTransaction aborts in one partition the open transaction of a producer. See
// producer.Admin.
func (b *Broker) AbortTransaction(ctx context.Context, tp record.TopicPartition, of producer.ProducerState) error {
	if topic.IsInternal(tp.Topic) {
		return fault.At(fault.InvalidTopic, tp.Topic, tp.Partition, -1).Detailf("the broker keeps its own state in it")
	}
	p, err := b.partitionOf(tp)
	if err != nil {
		return err
	}
	marker := log.Marker{CoordinatorEpoch: max(of.CoordinatorEpoch, 0)}
	told := make(appended, 1)
	p.Append(marker.Batch(of.ProducerID, of.Epoch+1, time.Now().UnixMilli()), nil, told) // a later epoch: nothing of the transaction can follow
	var why error
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
		why = ctx.Err()
	case <-b.host.Closing():
		why = fault.Closed
	}
	return fault.At(fault.UnknownOutcome, tp.Topic, tp.Partition, -1).Because(why)
}

// appended is the Completion of an append.
type appended chan error

// Appended implements partition.Completion.
func (a appended) Appended(_ int64, err error) { a <- err }

// partitionOf returns a partition, open.
func (b *Broker) partitionOf(tp record.TopicPartition) (partition.Opened, error) {
	t, err := b.host.Topic(tp.Topic)
	if err != nil {
		return nil, err
	}
	if _, err := b.host.Sound(t, tp.Partition); err != nil {
		return nil, err
	}
	return t.Partitions()[tp.Partition], nil
}
