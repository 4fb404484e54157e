package runnel_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// committedValues reads what is committed of a topic, to the end of its partitions.
func committedValues(t *testing.T, b *runnel.Broker, name string, partitions int) [][]string {
	t.Helper()
	values := make([][]string, partitions)
	var tps []record.TopicPartition
	for n := range partitions {
		tps = append(tps, record.TopicPartition{Topic: name, Partition: int32(n)})
	}
	c, err := consumer.New(b, consumer.Assign(tps...), consumer.ReadCommitted())
	require.NoError(t, err)
	defer c.Close()
	for {
		lag, err := c.Lag(t.Context())
		require.NoError(t, err)
		left := int64(0)
		for _, n := range lag {
			left += n
		}
		if left == 0 {
			return values
		}
		records, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range records {
			values[r.Partition] = append(values[r.Partition], string(r.Value))
		}
	}
}

func transactional(t *testing.T, b *runnel.Broker, id string, opts ...producer.Option) *producer.Producer {
	t.Helper()
	p, err := producer.New(b, append(opts, producer.TransactionalID(id), producer.Partitioner(topic.ManualPartitioner))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.CloseNow() })
	return p
}

func at(name string, partition int32, value string) record.Record {
	return record.Record{Topic: name, Partition: partition, Value: []byte(value)}
}

var errRefused = errors.New("refused by the program")

func TestTransactionsCountAsAWhole(t *testing.T) {
	b := openDir(t, t.TempDir())
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 3}))
	p := transactional(t, b, "shop")
	_, err := p.Send(ctx, at("orders", 0, "outside"))
	require.ErrorIs(t, err, fault.InvalidTxnState)
	for _, value := range []string{"a", "b"} {
		require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
			for n := range int32(2) {
				if _, err := tx.Send(ctx, at("orders", n, value)); err != nil {
					return err
				}
			}
			require.Len(t, committedValues(t, b, "orders", 2)[0], int(value[0]-'a'), "not before the commit")
			return nil
		}))
		require.Equal(t, errRefused, producer.Transact(ctx, p, func(tx *producer.Tx) error {
			tx.SendAsync(ctx, at("orders", 1, "refused"), nil)
			tx.SendAsync(ctx, at("orders", 2, "refused"), nil)
			return errRefused
		}))
	}
	require.Equal(t, [][]string{{"a", "b"}, {"a", "b"}, nil}, committedValues(t, b, "orders", 3))
	require.NoError(t, producer.Transact(ctx, p, func(*producer.Tx) error { return nil }), "a transaction of nothing")
	require.NoError(t, p.Close())
}

func TestFencedProducer(t *testing.T) {
	b := openDir(t, t.TempDir())
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2}))
	zombie := transactional(t, b, "shop")
	require.NoError(t, zombie.Begin(ctx))
	_, err := zombie.Send(ctx, at("orders", 0, "of the zombie"))
	require.NoError(t, err)

	p := transactional(t, b, "shop")
	_, err = zombie.Send(ctx, at("orders", 0, "late"))
	require.ErrorIs(t, err, fault.InvalidProducerEpoch, "into a partition of its transaction")
	require.ErrorIs(t, zombie.Commit(ctx), fault.InvalidTxnState)
	require.ErrorIs(t, zombie.Abort(ctx), fault.ProducerFenced)
	require.ErrorIs(t, zombie.Begin(ctx), fault.ProducerFenced)
	require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
		_, err := tx.Send(ctx, at("orders", 0, "of the new one"))
		return err
	}))
	require.Equal(t, [][]string{{"of the new one"}, nil}, committedValues(t, b, "orders", 2))
}

func TestTransactionTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders"}))
		p := transactional(t, b, "shop", producer.TransactionTimeout(30*time.Second))
		require.NoError(t, p.Begin(ctx))
		_, err = p.Send(ctx, at("orders", 0, "slow"))
		require.NoError(t, err)
		free, err := producer.New(b)
		require.NoError(t, err)
		_, err = free.Send(ctx, at("orders", 0, "behind"))
		require.NoError(t, err)
		require.NoError(t, free.Close())

		// A reader is held up by the transaction, and no longer than its timeout.
		c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}), consumer.ReadCommitted())
		require.NoError(t, err)
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for {
			records, err := c.Poll(bounded)
			require.NoError(t, err)
			if len(records) > 0 {
				require.Equal(t, "behind", string(records[0].Value))
				break
			}
		}
		require.Equal(t, 30*time.Second, time.Since(began))
		require.NoError(t, c.Close())

		_, err = p.Send(ctx, at("orders", 0, "too late"))
		require.ErrorIs(t, err, fault.InvalidProducerEpoch)
		require.ErrorIs(t, p.Commit(ctx), fault.InvalidTxnState)
		require.NoError(t, p.Abort(ctx))
		require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
			_, err := tx.Send(ctx, at("orders", 0, "again"))
			return err
		}))
		require.Equal(t, [][]string{{"behind", "again"}}, committedValues(t, b, "orders", 1))
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())
	})
}

// TestTransactionsOutliveTheProcess: what is committed is there after opening again, and
// what was left open is aborted by the next producer of its transactional ID.
func TestTransactionsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	p := transactional(t, b, "shop")
	require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
		_, err := tx.Send(ctx, at("orders", 0, "committed"))
		return err
	}))
	require.NoError(t, p.Begin(ctx))
	_, err := p.Send(ctx, at("orders", 0, "open"))
	require.NoError(t, err)
	require.NoError(t, b.Close())

	b = openDir(t, dir)
	require.Equal(t, [][]string{{"committed"}}, committedValues(t, b, "orders", 1))
	p = transactional(t, b, "shop")
	require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
		_, err := tx.Send(ctx, at("orders", 0, "next"))
		return err
	}))
	require.Equal(t, [][]string{{"committed", "next"}}, committedValues(t, b, "orders", 1))
}

// TestARecordThatFailedFailsTheTransaction: no transaction is committed without one of
// its records.
func TestARecordThatFailedFailsTheTransaction(t *testing.T) {
	b := openDir(t, t.TempDir())
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Config: topic.Config{MaxMessageBytes: 1000}}))
	p := transactional(t, b, "shop")
	err := producer.Transact(ctx, p, func(tx *producer.Tx) error {
		tx.SendAsync(ctx, at("orders", 0, "small"), nil)
		tx.SendAsync(ctx, at("orders", 0, string(make([]byte, 2000))), func(record.Position, error) {})
		return nil
	})
	require.ErrorIs(t, err, fault.InvalidTxnState)
	require.ErrorIs(t, err, fault.RecordTooLarge)
	require.Equal(t, [][]string{nil}, committedValues(t, b, "orders", 1))
	require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
		_, err := tx.Send(ctx, at("orders", 0, "another"))
		return err
	}))
	require.Equal(t, [][]string{{"another"}}, committedValues(t, b, "orders", 1))
}
