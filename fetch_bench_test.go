package runnel

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// replayRecords is how many records of a 16-byte key and a 100-byte value the
// benchmarks of replay read.
const replayRecords = 2_000_000

// replayDir writes them to one partition.
func replayDir(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	broker, err := Open(dir, DefaultDurability(topic.OS))
	require.NoError(b, err)
	require.NoError(b, broker.CreateTopics(b.Context(), topic.Spec{Name: "a", Partitions: 1}))
	p, err := producer.New(broker)
	require.NoError(b, err)
	key, value := make([]byte, 16), make([]byte, 100)
	for i := range replayRecords {
		binary.BigEndian.PutUint64(key, uint64(i))
		binary.BigEndian.PutUint64(value, uint64(i))
		p.SendAsync(b.Context(), record.Record{Topic: "a", Key: key, Value: value}, nil)
	}
	require.NoError(b, p.Flush(b.Context()))
	require.NoError(b, p.Close())
	require.NoError(b, broker.Close())
	return dir
}

// BenchmarkReplay reads a partition from its file through Poll, beside reading
// and checksumming the same bytes with one goroutine and calls of 1 MiB.
func BenchmarkReplay(b *testing.B) {
	dir := replayDir(b)
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 1<<20)
		table := crc32.MakeTable(crc32.Castagnoli)
		best := time.Hour
		for b.Loop() {
			began := time.Now()
			segments, err := filepath.Glob(filepath.Join(dir, "a-0", "*.log"))
			require.NoError(b, err)
			for _, name := range segments {
				f, err := os.Open(name)
				require.NoError(b, err)
				sum := uint32(0)
				for err == nil {
					var n int
					n, err = f.Read(buf)
					sum = crc32.Update(sum, table, buf[:n])
				}
				require.ErrorIs(b, err, io.EOF)
				require.NoError(b, f.Close())
			}
			best = min(best, time.Since(began))
		}
		report(b, best)
	})
	for _, mode := range []struct {
		name string
		opts []consumer.Option
	}{
		{"fresh", nil},
		{"reused", []consumer.Option{consumer.ReuseBuffers()}},
	} {
		b.Run(mode.name, func(b *testing.B) {
			broker, err := Open(dir)
			require.NoError(b, err)
			defer broker.Close()
			best := time.Hour
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				c, err := consumer.New(broker, append(mode.opts, consumer.Assign(record.TopicPartition{Topic: "a"}))...)
				require.NoError(b, err)
				for n := 0; n < replayRecords; {
					records, err := c.Poll(b.Context())
					require.NoError(b, err)
					n += len(records)
				}
				require.NoError(b, c.Close())
				best = min(best, time.Since(began))
			}
			report(b, best)
		})
	}
}

// report adds the rate of the fastest run, which is what another program on the
// same machine disturbs least.
func report(b *testing.B, best time.Duration) {
	b.ReportMetric(replayRecords/best.Seconds()/1e6, "best-Mrec/s")
	b.ReportMetric(replayRecords*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}

// BenchmarkPingPong sends a record to a waiting consumer and waits for one that
// comes back, beside the same with unbuffered channels.
func BenchmarkPingPong(b *testing.B) {
	b.Run("channel", func(b *testing.B) {
		ping, pong := make(chan int), make(chan int)
		go func() {
			for n := range ping {
				pong <- n
			}
			close(pong)
		}()
		var times []time.Duration
		for b.Loop() {
			began := time.Now()
			ping <- 1
			<-pong
			times = append(times, time.Since(began))
		}
		close(ping)
		median(b, times)
	})
	b.Run("records", func(b *testing.B) {
		broker, err := OpenMemory()
		require.NoError(b, err)
		defer broker.Close()
		ctx := context.Background()
		require.NoError(b, broker.CreateTopics(ctx, topic.Spec{Name: "ping"}, topic.Spec{Name: "pong"}))
		p, err := producer.New(broker)
		require.NoError(b, err)
		open := func(name string) *consumer.Consumer {
			c, err := consumer.New(broker, consumer.Assign(record.TopicPartition{Topic: name}))
			require.NoError(b, err)
			return c
		}
		there, back := open("ping"), open("pong")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				records, err := there.Poll(ctx)
				if err != nil {
					return
				}
				for range records {
					_, _ = p.Send(ctx, record.Record{Topic: "pong", Value: []byte("pong")})
				}
			}
		}()
		value := make([]byte, 100)
		var times []time.Duration
		b.ReportAllocs()
		for b.Loop() {
			began := time.Now()
			if _, err := p.Send(ctx, record.Record{Topic: "ping", Value: value}); err != nil {
				b.Fatal(err)
			}
			if _, err := back.Poll(ctx); err != nil {
				b.Fatal(err)
			}
			times = append(times, time.Since(began))
		}
		median(b, times)
		require.NoError(b, there.Close())
		<-done
		require.NoError(b, back.Close())
		require.NoError(b, p.Close())
	})
}

// median reports the time of the middle round trip.
func median(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "median-ns")
}
