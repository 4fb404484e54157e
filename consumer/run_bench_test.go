package consumer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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

// BenchmarkRun measures handlers without work, and how many times as fast as one worker 64
// are with handlers that wait 1 ms on average: in turns, so that what else the machine does
// slows down both. The records of one partition have many keys.
func BenchmarkRun(b *testing.B) {
	for _, workers := range []int{1, 64} {
		b.Run(fmt.Sprintf("workers=%d/work=none", workers), func(b *testing.B) {
			broker := brokerWithJobs(b, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			runJobs(b, broker, "g", workers, b.N, func() {})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
	b.Run("work=1ms", func(b *testing.B) {
		const workers, each = 64, 200
		broker := brokerWithJobs(b, workers*each)
		work := func() { <-time.After(rand.N(2 * time.Millisecond)) }
		var speedups []float64
		for n := 0; b.Loop(); n++ {
			began := time.Now()
			runJobs(b, broker, fmt.Sprint("one-", n), 1, each, work)
			one := time.Since(began)
			began = time.Now()
			runJobs(b, broker, fmt.Sprint("many-", n), workers, workers*each, work)
			speedups = append(speedups, workers*one.Seconds()/time.Since(began).Seconds())
		}
		slices.Sort(speedups)
		b.ReportMetric(speedups[len(speedups)/2], "x-one-worker")
	})
}

// brokerWithJobs returns a broker with a topic of so many records.
func brokerWithJobs(b *testing.B, records int) *runnel.Broker {
	broker, err := runnel.OpenMemory()
	require.NoError(b, err)
	b.Cleanup(func() { _ = broker.Close() })
	require.NoError(b, broker.CreateTopics(b.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	p, err := producer.New(broker)
	require.NoError(b, err)
	defer p.Close()
	for i := range records {
		p.SendAsync(b.Context(), record.Record{Topic: "jobs", Key: fmt.Append(nil, i%5000), Value: make([]byte, 100)}, nil)
	}
	require.NoError(b, p.Flush(b.Context()))
	return broker
}

// runJobs has workers handle the first so many records.
func runJobs(b *testing.B, broker *runnel.Broker, group string, workers, records int, work func()) {
	c, err := consumer.New(broker, consumer.Group(group), consumer.Topics("jobs"))
	require.NoError(b, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var handled atomic.Int64
	err = consumer.Run(ctx, c, func(context.Context, record.Record) error {
		work()
		if handled.Add(1) == int64(records) {
			cancel()
		}
		return nil
	}, consumer.Concurrency(workers))
	require.NoError(b, err)
}
