package attach

import (
	"context"

	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

var _ producer.Admin = (*Client)(nil)

// ListTransactions implements producer.Admin.
func (c *Client) ListTransactions(ctx context.Context) (all []producer.TransactionListing, err error) {
	err = c.control.call(ctx, listTransactions, none, func(c *coder) { list(c, 20, &all, (*coder).transactionListing) })
	return all, err
}

// DescribeTransactions implements producer.Admin.
func (c *Client) DescribeTransactions(ctx context.Context, ids ...string) (all []producer.TransactionDescription, err error) {
	err = c.control.call(ctx, describeTransactions, func(c *coder) { c.texts(&ids) }, func(c *coder) {
		list(c, 43, &all, (*coder).transactionDescription)
	})
	return all, err
}

// DescribeProducers implements producer.Admin.
func (c *Client) DescribeProducers(ctx context.Context, partitions ...record.TopicPartition) (all map[record.TopicPartition][]producer.ProducerState, err error) {
	err = c.control.call(ctx, describeProducers, func(c *coder) { c.partitions(&partitions) }, func(c *coder) { c.producers(&all) })
	return all, err
}

// ForceTerminateTransaction implements producer.Admin.
func (c *Client) ForceTerminateTransaction(ctx context.Context, id string) error {
	return c.control.changeGroup(ctx, forceTerminateTransaction, func(c *coder) { text(c, &id) })
}

// AbortTransaction implements producer.Admin.
func (c *Client) AbortTransaction(ctx context.Context, tp record.TopicPartition, of producer.ProducerState) error {
	return c.control.changeGroup(ctx, abortTransaction, func(c *coder) {
		c.partition(&tp)
		c.producerState(&of)
	})
}

// handleTransactionAdmin runs the calls about transactions that belong to no session.
func (v *visit) handleTransactionAdmin(ctx context.Context, m method, args func(fields) error) (fields, error) {
	b := v.server.backend
	switch m {
	case listTransactions:
		if err := args(none); err != nil {
			return nil, err
		}
		all, err := b.ListTransactions(ctx)
		return func(c *coder) { list(c, 20, &all, (*coder).transactionListing) }, err
	case describeTransactions:
		var ids []string
		if err := args(func(c *coder) { c.texts(&ids) }); err != nil {
			return nil, err
		}
		all, err := b.DescribeTransactions(ctx, ids...)
		return func(c *coder) { list(c, 43, &all, (*coder).transactionDescription) }, err
	case describeProducers:
		var partitions []record.TopicPartition
		if err := args(func(c *coder) { c.partitions(&partitions) }); err != nil {
			return nil, err
		}
		all, err := b.DescribeProducers(ctx, partitions...)
		return func(c *coder) { c.producers(&all) }, err
	case forceTerminateTransaction:
		var id string
		if err := args(func(c *coder) { text(c, &id) }); err != nil {
			return nil, err
		}
		return none, b.ForceTerminateTransaction(ctx, id)
	case abortTransaction:
		var tp record.TopicPartition
		var of producer.ProducerState
		err := args(func(c *coder) {
			c.partition(&tp)
			c.producerState(&of)
		})
		if err != nil {
			return nil, err
		}
		return none, b.AbortTransaction(ctx, tp, of)
	}
	return nil, unknownMethod(m)
}

func (c *coder) transactionListing(v *producer.TransactionListing) {
	text(c, &v.TransactionalID)
	int32s(c, &v.Coordinator)
	int64s(c, &v.ProducerID)
	text(c, &v.State)
}

func (c *coder) transactionDescription(v *producer.TransactionDescription) {
	c.transactionListing(&v.TransactionListing)
	int16s(c, &v.Epoch)
	int64s(c, &v.Timeout)
	c.milliseconds(&v.Started)
	c.partitions(&v.Partitions)
}

func (c *coder) producerState(v *producer.ProducerState) {
	int64s(c, &v.ProducerID)
	int16s(c, &v.Epoch)
	int32s(c, &v.LastSequence)
	c.milliseconds(&v.LastTimestamp)
	int32s(c, &v.CoordinatorEpoch)
	int64s(c, &v.TransactionStart)
}

func (c *coder) producers(all *map[record.TopicPartition][]producer.ProducerState) {
	table(c, 4, all, func(c *coder, states *[]producer.ProducerState) { list(c, 35, states, (*coder).producerState) })
}

// WriteProducers appends the producers that partitions know.
func WriteProducers(w *wire.Writer, all map[record.TopicPartition][]producer.ProducerState) {
	write(w, func(c *coder) { c.producers(&all) })
}

// ReadProducers reads what WriteProducers wrote. The map is never nil.
func ReadProducers(r *wire.Reader) (all map[record.TopicPartition][]producer.ProducerState) {
	read(r, func(c *coder) { c.producers(&all) })
	return all
}
