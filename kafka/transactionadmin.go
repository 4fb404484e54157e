package kafka

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var _ producer.Admin = (*Cluster)(nil)

// ListTransactions implements producer.Admin.
func (c *Cluster) ListTransactions(ctx context.Context) ([]producer.TransactionListing, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	listed, err := c.admin.ListTransactions(ctx, nil, nil)
	if err != nil {
		return nil, failure(err)
	}
	all := make([]producer.TransactionListing, 0, len(listed))
	for _, l := range listed {
		all = append(all, producer.TransactionListing{TransactionalID: l.TxnID, Coordinator: l.Coordinator, ProducerID: l.ProducerID, State: l.State})
	}
	slices.SortFunc(all, func(a, b producer.TransactionListing) int { return cmp.Compare(a.TransactionalID, b.TransactionalID) })
	return all, nil
}

// DescribeTransactions implements producer.Admin.
func (c *Cluster) DescribeTransactions(ctx context.Context, ids ...string) ([]producer.TransactionDescription, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := c.admin.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, failure(err)
	}
	all := make([]producer.TransactionDescription, len(ids))
	for i, id := range ids {
		d, ok := found[id]
		if !ok {
			d.Err = kerr.TransactionalIDNotFound
		}
		if d.Err != nil {
			return nil, fault.Newf(fault.CodeOf(failure(d.Err)), "%q", id)
		}
		all[i] = producer.TransactionDescription{
			TransactionListing: producer.TransactionListing{TransactionalID: id, Coordinator: d.Coordinator, ProducerID: d.ProducerID, State: d.State},
			Epoch:              d.ProducerEpoch, Timeout: time.Duration(d.TimeoutMillis) * time.Millisecond,
		}
		if has := d.State == producer.TransactionOngoing || strings.HasPrefix(d.State, "Prepare"); has && d.StartTimestamp > 0 {
			all[i].Started = time.UnixMilli(d.StartTimestamp)
		}
		for _, t := range d.Topics.IntoList() {
			for _, n := range t.Partitions {
				all[i].Partitions = append(all[i].Partitions, record.TopicPartition{Topic: t.Topic, Partition: n})
			}
		}
		slices.SortFunc(all[i].Partitions, record.TopicPartition.Compare)
	}
	return all, nil
}

// DescribeProducers implements producer.Admin.
func (c *Cluster) DescribeProducers(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition][]producer.ProducerState, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	all := make(map[record.TopicPartition][]producer.ProducerState, len(partitions))
	if len(partitions) == 0 {
		return all, nil
	}
	set := kadm.TopicsSet{}
	for _, tp := range partitions {
		set.Add(tp.Topic, tp.Partition)
	}
	found, err := c.admin.DescribeProducers(ctx, set)
	if err != nil {
		return nil, failure(err)
	}
	for _, p := range found.SortedPartitions() {
		tp := record.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		if p.Err != nil {
			return nil, failureOf(p.Err, tp)
		}
		all[tp] = nil
		for _, d := range p.ActiveProducers.Sorted() {
			all[tp] = append(all[tp], producer.ProducerState{
				ProducerID: d.ProducerID, Epoch: d.ProducerEpoch, LastSequence: d.LastSequence, LastTimestamp: time.UnixMilli(d.LastTimestamp),
				CoordinatorEpoch: d.CoordinatorEpoch, TransactionStart: d.CurrentTxnStartOffset,
			})
		}
	}
	return all, nil
}

// ForceTerminateTransaction implements producer.Admin, as kafka-transactions.sh does: a new
// producer of the transactional ID fences the one that has it.
func (c *Cluster) ForceTerminateTransaction(ctx context.Context, id string) error {
	all, err := c.DescribeTransactions(ctx, id)
	if err != nil {
		return err
	}
	if state := all[0].State; state != producer.TransactionOngoing {
		return fault.Newf(fault.InvalidTxnState, "%q has no open transaction, it is in state %s", id, state)
	}
	client, err := c.newClient(c.clientID, kgo.TransactionalID(id))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return unsure(ctx, failure(err))
	}
	return nil
}

// AbortTransaction implements producer.Admin.
func (c *Cluster) AbortTransaction(ctx context.Context, tp record.TopicPartition, of producer.ProducerState) error {
	if topic.IsInternal(tp.Topic) {
		return fault.At(fault.InvalidTopic, tp.Topic, tp.Partition, -1).Detailf("the cluster keeps its own state in it")
	}
	if err := c.live(); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	set.Add(tp.Topic, tp.Partition)
	written, err := c.admin.WriteTxnMarkers(ctx, kadm.TxnMarkers{
		ProducerID: of.ProducerID, ProducerEpoch: of.Epoch, CoordinatorEpoch: max(of.CoordinatorEpoch, 0), Topics: set,
	})
	if err != nil {
		return unsure(ctx, failure(err))
	}
	for _, p := range written.SortedPartitions() {
		if p.Err != nil {
			return failureOf(p.Err, tp)
		}
	}
	return nil
}
