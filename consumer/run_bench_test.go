package consumer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkRun measures handlers that wait 1 ms on average, on records of many keys in
// one partition: how much 64 at once are faster than one.
func BenchmarkRun(b *testing.B) {
	for _, workers := range []int{1, 64} {
		b.Run(fmt.Sprintf("workers=%d/work=1ms", workers), func(b *testing.B) {
			benchmarkRun(b, workers, func() { <-time.After(rand.N(2 * time.Millisecond)) })
		})
		b.Run(fmt.Sprintf("workers=%d/work=none", workers), func(b *testing.B) { benchmarkRun(b, workers, func() {}) })
	}
}

func benchmarkRun(b *testing.B, workers int, work func()) {
	broker, err := runnel.OpenMemory()
	require.NoError(b, err)
	defer broker.Close()
	require.NoError(b, broker.CreateTopics(b.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	p, err := producer.New(broker)
	require.NoError(b, err)
	defer p.Close()
	for i := range b.N {
		p.SendAsync(b.Context(), record.Record{Topic: "jobs", Key: fmt.Append(nil, i%5000), Value: make([]byte, 100)}, nil)
	}
	require.NoError(b, p.Flush(b.Context()))
	c, err := consumer.New(broker, consumer.Group("g"), consumer.Topics("jobs"))
	require.NoError(b, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(b.Context())
	var handled atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	err = consumer.Run(ctx, c, func(context.Context, record.Record) error {
		work()
		if handled.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	}, consumer.Concurrency(workers))
	require.NoError(b, err)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
