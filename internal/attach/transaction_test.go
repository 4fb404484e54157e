package attach_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func ofTransactions(t *testing.T, b producer.Backend) *producer.Producer {
	t.Helper()
	p, err := producer.New(b, producer.TransactionalID("shop"), producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.CloseNow() })
	return p
}

// committedOf reads what is committed of a partition of orders, up to its end. It waits
// until no transaction is open.
func committedOf(t *testing.T, b *runnel.Broker, partition int32) (values []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	tp := record.TopicPartition{Topic: "orders", Partition: partition}
	c, err := consumer.New(b, consumer.Assign(tp), consumer.ReadCommitted())
	require.NoError(t, err)
	defer c.Close()
	end, err := b.ListOffsets(ctx, topic.Latest(), tp)
	require.NoError(t, err)
	for {
		at, err := c.Position(ctx, tp)
		require.NoError(t, err)
		if at >= end[tp].Offset {
			return values
		}
		records, err := c.Poll(ctx)
		require.NoError(t, err)
		for _, r := range records {
			values = append(values, string(r.Value))
		}
	}
}

// The transaction of a process that was killed is aborted when its time is over, and holds
// up no reader any longer.
func TestTransactionOfAKilledClient(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders"})
	kill(t, child(t, "transaction", dir))
	p := newProducer(t, b)
	_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("behind")})
	require.NoError(t, err)
	require.Equal(t, []string{"behind"}, committedOf(t, b, 0))
}

// A broker closes while a transaction is open: it is not committed, and the next producer of
// its ID aborts it.
func TestBrokerClosesWithinATransaction(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders"})
	ctx := t.Context()
	p := ofTransactions(t, attachTo(t, dir))
	require.NoError(t, p.Begin(ctx))
	_, err := p.Send(ctx, record.Record{Topic: "orders", Value: []byte("open")})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.ErrorIs(t, p.Commit(ctx), fault.Closed)
	require.ErrorIs(t, p.Abort(ctx), fault.Closed)
	require.ErrorIs(t, p.Begin(ctx), fault.Closed)

	b = openBroker(t, dir)
	next := ofTransactions(t, attachTo(t, dir))
	require.NoError(t, producer.Transact(ctx, next, func(tx *producer.Tx) error {
		_, err := tx.Send(ctx, record.Record{Topic: "orders", Value: []byte("after")})
		return err
	}))
	require.Equal(t, []string{"after"}, committedOf(t, b, 0))
}

// A broker closes or goes on while a client commits one transaction after the other: what
// was acknowledged counts, and of the last one all counts, or nothing.
func TestBrokerClosesWhileTransactionsCommit(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders", Partitions: 2})
	ctx := t.Context()
	var acked, unknown []string
	number := 0
	for round := range 12 {
		p := ofTransactions(t, attachTo(t, dir))
		begun := make(chan struct{})
		left := 1 + round%4 // transactions before the broker closes, somewhere within the next one
		var running sync.WaitGroup
		running.Go(func() {
			for {
				value := fmt.Sprint(number)
				number++
				err := producer.Transact(ctx, p, func(tx *producer.Tx) error {
					for n := range int32(2) {
						tx.SendAsync(ctx, record.Record{Topic: "orders", Partition: n, Value: []byte(value)}, nil)
					}
					return nil
				})
				switch fault.CodeOf(err) {
				case fault.UnknownOutcome:
					unknown = append(unknown, value)
				default:
					if err == nil {
						acked = append(acked, value)
					}
				}
				if left--; left == 0 {
					close(begun)
				}
				if err != nil {
					return
				}
			}
		})
		<-begun
		require.NoError(t, b.Close())
		running.Wait()
		b = openBroker(t, dir)
	}
	ofTransactions(t, b) // behind it, nothing is undecided
	first := committedOf(t, b, 0)
	require.Equal(t, first, committedOf(t, b, 1))
	require.Subset(t, first, acked)
	require.Subset(t, append(acked, unknown...), first)
}

// A commit that ends with its context leaves both sides knowing the same: it may be made
// again, and the next transaction begins.
func TestCommitEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders"})
	p := ofTransactions(t, attachTo(t, dir))
	var want []string
	for round := range 60 {
		require.NoError(t, p.Begin(t.Context()))
		value := fmt.Sprint(round)
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(value)})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		early := time.AfterFunc(time.Duration(round)*10*time.Microsecond, cancel)
		err = p.Commit(ctx)
		early.Stop()
		cancel()
		if err != nil && round%2 == 0 { // whether it was decided or not
			err = p.Commit(t.Context())
		} else if fault.CodeOf(err) == fault.UnknownOutcome {
			err = nil // Begin commits it
		} else if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, p.Abort(t.Context()))
			continue
		}
		require.NoError(t, err)
		want = append(want, value)
	}
	require.NoError(t, p.Begin(t.Context()))
	require.NoError(t, p.Abort(t.Context()))
	require.Equal(t, want, committedOf(t, b, 0))
}

// A record that never got to the broker fails the transaction, too.
func TestRecordThatTheClientRefuses(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir, topic.Spec{Name: "orders"})
	p := ofTransactions(t, attachTo(t, dir))
	ctx := t.Context()
	for _, wrong := range []record.Record{
		{Topic: "orders", Value: make([]byte, 65<<20)},
		{Topic: "orders", Timestamp: time.Unix(1<<60, 0)},
	} {
		require.NoError(t, p.Begin(ctx))
		p.SendAsync(ctx, record.Record{Topic: "orders", Value: []byte("right")}, nil)
		_, err := p.Send(ctx, wrong)
		require.Error(t, err)
		require.ErrorIs(t, p.Commit(ctx), fault.InvalidTxnState)
		require.NoError(t, p.Abort(ctx))
	}
	require.NoError(t, producer.Transact(ctx, p, func(tx *producer.Tx) error {
		_, err := tx.Send(ctx, record.Record{Topic: "orders", Value: []byte("next")})
		return err
	}))
	require.Equal(t, []string{"next"}, committedOf(t, b, 0))
}
