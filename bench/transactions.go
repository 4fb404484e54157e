package main

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

const (
	transactionRecords = 100 // in each transaction
	shopPartitions     = 3   // over which they are spread
	shop               = "shop"
)

// errRefused aborts a transaction.
var errRefused = errors.New("refused by the program")

// openShop opens a broker with a topic of several partitions.
func openShop(ctx context.Context, w *Work, d topic.Durability, partitions int) (*runnel.Broker, error) {
	broker, err := openRunnel(ctx, place(w, d), d)
	if err == nil {
		err = broker.CreateTopics(ctx, topic.Spec{Name: shop, Partitions: partitions})
	}
	return broker, err
}

// sell sends records, a hundred at a time, and waits for each hundred: for its
// acknowledgement, or until its transaction is committed, or aborted if refuse says so.
func sell(ctx context.Context, broker *runnel.Broker, w *Work, n, partitions int, transactions bool, refuse func(hundred int) bool) (kept int, err error) {
	opts := []producer.Option{producer.Partitioner(topic.ManualPartitioner)}
	if transactions {
		opts = append(opts, producer.TransactionalID("bench"))
	}
	p, err := producer.New(broker, opts...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for from := 0; from < n; from += transactionRecords {
		send := func(*producer.Tx) error {
			for i := from; i < from+transactionRecords; i++ {
				p.SendAsync(ctx, record.Record{Topic: shop, Partition: int32(i % partitions), Key: w.key(i), Value: w.value(i)}, nil)
			}
			if refuse(from / transactionRecords) {
				return errRefused
			}
			return nil
		}
		if transactions {
			err = producer.Transact(ctx, p, send)
		} else if err = send(nil); err == nil {
			err = p.Flush(ctx)
		}
		switch {
		case err == nil:
			kept += transactionRecords
		case !errors.Is(err, errRefused):
			return kept, err
		}
	}
	return kept, nil
}

// runnelHundreds sends records a hundred at a time, plain or in transactions.
func runnelHundreds(d topic.Durability, transactions bool, slow int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		broker, err := openShop(ctx, w, d, shopPartitions)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		n := max(w.records/slow/transactionRecords, 1) * transactionRecords
		m := w.start()
		kept, err := sell(ctx, broker, w, n, shopPartitions, transactions, func(int) bool { return false })
		if err != nil {
			return Sample{}, err
		}
		return m.done(int64(n), payloadBytes(n)), checkCount(int64(kept), n)
	}
}

// runnelIsolation reads a log of transactions of which every tenth is aborted.
func runnelIsolation(committed bool) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		broker, err := openShop(ctx, w, topic.OS, 1)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		n := max(w.records/2/transactionRecords, 1) * transactionRecords
		kept, err := sell(ctx, broker, w, n, 1, true, func(hundred int) bool { return hundred%10 == 5 })
		if err != nil {
			return Sample{}, err
		}
		opts, want := []consumer.Option{consumer.Assign(record.TopicPartition{Topic: shop})}, n
		if committed {
			opts, want = append(opts, consumer.ReadCommitted()), kept
		}
		c, err := consumer.New(broker, opts...)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		m, got := w.start(), 0
		for got < want {
			records, err := c.Poll(ctx)
			if err != nil {
				return Sample{}, err
			}
			got += len(records)
		}
		return m.done(int64(n), payloadBytes(n)), checkCount(int64(got), want)
	}
}
