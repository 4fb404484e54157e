package runnel_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkShare receives and acknowledges records of one partition, with one worker of one
// member, and with 64 members of one worker each.
func BenchmarkShare(b *testing.B) {
	for _, durability := range []topic.Durability{topic.Memory, topic.Fsync} {
		for _, members := range []int{1, 64} {
			b.Run(durability.String()+"/members="+strconv.Itoa(members), func(b *testing.B) { benchmarkShare(b, durability, members) })
		}
	}
}

func benchmarkShare(b *testing.B, durability topic.Durability, members int) {
	broker, err := runnel.Open(b.TempDir(), runnel.DefaultDurability(durability), runnel.NoSocket())
	require.NoError(b, err)
	defer broker.Close()
	require.NoError(b, broker.CreateTopics(b.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	p, err := producer.New(broker)
	require.NoError(b, err)
	defer p.Close()
	value := make([]byte, 100)
	for range b.N {
		p.SendAsync(b.Context(), record.Record{Topic: "jobs", Value: value}, nil)
	}
	require.NoError(b, p.Flush(b.Context()))
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var done atomic.Int64
	finished := make(chan error, members)
	b.ResetTimer()
	for range members {
		c, err := share.New(broker, share.Group("workers"), share.Topics("jobs"), share.Prefetch(16))
		require.NoError(b, err)
		defer c.Close()
		go func() {
			finished <- share.Run(ctx, c, func(context.Context, record.Record) error {
				if done.Add(1) == int64(b.N) {
					stop()
				}
				return nil
			})
		}()
	}
	for range members {
		require.NoError(b, <-finished)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
