package runnel_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkTransactions compares 100 records of 100 bytes in a transaction with as many that
// are sent and flushed without one, in three partitions, at each level of durability.
func BenchmarkTransactions(b *testing.B) {
	for _, level := range []topic.Durability{topic.Memory, topic.OS, topic.Fsync} {
		for _, kind := range []string{"plain", "transaction"} {
			b.Run(level.String()+"/"+kind, func(b *testing.B) {
				broker, err := runnel.Open(b.TempDir(), runnel.DefaultDurability(level), runnel.NoSocket())
				require.NoError(b, err)
				defer broker.Close()
				ctx := context.Background()
				require.NoError(b, broker.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 3}))
				opts := []producer.Option{producer.Partitioner(topic.ManualPartitioner)}
				if kind == "transaction" {
					opts = append(opts, producer.TransactionalID("bench"))
				}
				p, err := producer.New(broker, opts...)
				require.NoError(b, err)
				defer p.Close()
				send := func() error {
					for i := range 100 {
						p.SendAsync(ctx, record.Record{Topic: "orders", Partition: int32(i % 3), Value: make([]byte, 100)}, nil)
					}
					return nil
				}
				for b.Loop() {
					if kind == "transaction" {
						err = producer.Transact(ctx, p, func(*producer.Tx) error { return send() })
					} else if err = send(); err == nil {
						err = p.Flush(ctx)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
