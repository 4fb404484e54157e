package runnel_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// benchRecord has the payload that the figures in the README are about.
func benchRecord(name string) record.Record {
	return record.Record{Topic: name, Key: make([]byte, 16), Value: make([]byte, 100)}
}

func openBench(b *testing.B, d topic.Durability) *runnel.Broker {
	b.Helper()
	var broker *runnel.Broker
	var err error
	if d == topic.Memory {
		broker, err = runnel.OpenMemory()
	} else {
		broker, err = runnel.Open(b.TempDir(), runnel.DefaultDurability(d))
	}
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, broker.Close()) })
	require.NoError(b, broker.CreateTopics(context.Background(), topic.Spec{Name: "bench", Partitions: 1}))
	return broker
}

func BenchmarkProduceAsync(b *testing.B) {
	for _, d := range []topic.Durability{topic.Memory, topic.OS} {
		for _, goroutines := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%v/%d", d, goroutines), func(b *testing.B) {
				broker := openBench(b, d)
				p, err := producer.New(broker)
				require.NoError(b, err)
				defer p.Close()
				ctx := context.Background()
				var acked atomic.Int64
				var failed error // callbacks of a partition run one at a time
				fn := func(_ record.Position, err error) {
					if err != nil {
						failed = err
					}
					acked.Add(1)
				}
				r := benchRecord("bench")
				b.SetBytes(int64(len(r.Key) + len(r.Value)))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for g := range goroutines {
					n := b.N / goroutines
					if g == 0 {
						n = b.N - n*(goroutines-1)
					}
					wg.Go(func() {
						for range n {
							p.SendAsync(ctx, r, fn)
						}
					})
				}
				wg.Wait()
				require.NoError(b, p.Flush(ctx))
				b.StopTimer()
				require.NoError(b, failed)
				require.EqualValues(b, b.N, acked.Load())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
			})
		}
	}
}

// BenchmarkRawWrite writes as many encoded bytes in 1 MiB calls.
func BenchmarkRawWrite(b *testing.B) {
	const size = 125
	f, err := os.Create(b.TempDir() + "/raw")
	require.NoError(b, err)
	defer f.Close()
	buf := make([]byte, 1<<20)
	b.ResetTimer()
	for left := b.N * size; left > 0; left -= len(buf) {
		_, err := f.Write(buf[:min(left, len(buf))])
		require.NoError(b, err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}

func BenchmarkProduceSync(b *testing.B) {
	for _, d := range []topic.Durability{topic.Memory, topic.OS, topic.Fsync} {
		for _, goroutines := range []int{1, 64} {
			b.Run(fmt.Sprintf("%v/%d", d, goroutines), func(b *testing.B) {
				broker := openBench(b, d)
				p, err := producer.New(broker)
				require.NoError(b, err)
				defer p.Close()
				ctx := context.Background()
				r := benchRecord("bench")
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for g := range goroutines {
					n := b.N / goroutines
					if g == 0 {
						n = b.N - n*(goroutines-1)
					}
					wg.Go(func() {
						for range n {
							if _, err := p.Send(ctx, r); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
