package runnel_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/turns"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkReadCommitted compares what the two levels of isolation take to read a log of
// 200,000 records of 100 bytes to its end: without transactions, in transactions of 100
// records that are all committed, and with every tenth one aborted.
func BenchmarkReadCommitted(b *testing.B) {
	const transactions, each = 2000, 100
	refused := errors.New("aborted by the program")
	for _, kind := range []string{"plain", "committed", "aborted=10%"} {
		b.Run(kind, func(b *testing.B) {
			broker, err := runnel.Open(b.TempDir(), runnel.DefaultDurability(topic.OS), runnel.NoSocket())
			require.NoError(b, err)
			defer broker.Close()
			ctx := b.Context()
			require.NoError(b, broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
			var opts []producer.Option
			if kind != "plain" {
				opts = append(opts, producer.TransactionalID("bench"))
			}
			p, err := producer.New(broker, opts...)
			require.NoError(b, err)
			committed := 0
			for n := range transactions {
				send := func(*producer.Tx) error {
					for range each {
						p.SendAsync(ctx, record.Record{Topic: "orders", Value: make([]byte, 100)}, nil)
					}
					if kind == "aborted=10%" && n%10 == 5 {
						return refused
					}
					return nil
				}
				if kind == "plain" {
					_ = send(nil)
					err = p.Flush(ctx)
				} else {
					err = producer.Transact(ctx, p, send)
				}
				if err == nil {
					committed += each
				} else if !errors.Is(err, refused) {
					b.Fatal(err)
				}
			}
			require.NoError(b, p.Close())
			read := func(want int, opts ...consumer.Option) func() {
				return func() {
					c, err := consumer.New(broker, append(opts, consumer.Assign(record.TopicPartition{Topic: "orders"}))...)
					if err != nil {
						b.Fatal(err)
					}
					defer c.Close()
					for got := 0; got < want; {
						records, err := c.Poll(ctx)
						if err != nil {
							b.Fatal(err)
						}
						got += len(records)
					}
				}
			}
			turns.Run(b,
				turns.Way{Name: "uncommitted", Do: read(transactions * each)},
				turns.Way{Name: "committed", Do: read(committed, consumer.ReadCommitted())})
		})
	}
}
