package runnel_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/internal/turns"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkTransactions compares 100 records of 100 bytes in a transaction with as many that
// are sent and flushed without one, in three partitions, at each level of durability, with
// one producer and with several at once.
func BenchmarkTransactions(b *testing.B) {
	for _, level := range []topic.Durability{topic.Memory, topic.OS, topic.Fsync} {
		for _, producers := range []int{1, 16} {
			b.Run(level.String()+"/producers="+strconv.Itoa(producers), func(b *testing.B) {
				broker, err := runnel.Open(b.TempDir(), runnel.DefaultDurability(level), runnel.NoSocket())
				require.NoError(b, err)
				defer broker.Close()
				ctx := b.Context()
				require.NoError(b, broker.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 3}))
				plain := sendHundreds(b, broker, producers, false)
				transaction := sendHundreds(b, broker, producers, true)
				turns.Run(b, turns.Way{Name: "plain", Do: plain}, turns.Way{Name: "transaction", Do: transaction})
			})
		}
	}
}

// sendHundreds returns a function in which each of some producers sends a hundred records a
// few times.
func sendHundreds(b *testing.B, broker *runnel.Broker, producers int, transactions bool) func() {
	const times = 4
	ctx := context.Background()
	var rounds []func() error
	for n := range producers {
		opts := []producer.Option{producer.Partitioner(topic.ManualPartitioner)}
		if transactions {
			opts = append(opts, producer.TransactionalID("bench-"+strconv.Itoa(n)))
		}
		p, err := producer.New(broker, opts...)
		require.NoError(b, err)
		b.Cleanup(func() { _ = p.CloseNow() })
		send := func() error {
			for i := range 100 {
				p.SendAsync(ctx, record.Record{Topic: "orders", Partition: int32(i % 3), Value: make([]byte, 100)}, nil)
			}
			return nil
		}
		rounds = append(rounds, func() error {
			for range times {
				var err error
				if transactions {
					err = producer.Transact(ctx, p, func(*producer.Tx) error { return send() })
				} else if err = send(); err == nil {
					err = p.Flush(ctx)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return func() {
		var all sync.WaitGroup
		for _, round := range rounds[1:] {
			all.Go(func() {
				if err := round(); err != nil {
					b.Error(err)
				}
			})
		}
		if err := rounds[0](); err != nil {
			b.Error(err)
		}
		all.Wait()
	}
}
