package streams_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/streams"
)

// BenchmarkWordCount counts a million words, through repartition and changelog
// topics, and prints its speed as a share of a plain loop's over the same text.
func BenchmarkWordCount(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 8, 50_000)
	const count, perLine = 1_000_000, 10
	text := make([]string, count/perLine)
	for i := range text {
		words := make([]string, perLine)
		for j := range words {
			words[j] = fmt.Sprintf("Word%d", zipf.Uint64())
		}
		text[i] = strings.Join(words, " ")
	}
	b.ReportAllocs()
	var loop, app time.Duration
	for b.Loop() {
		b.StopTimer()
		began := time.Now()
		want := counted(text)
		loop += time.Since(began)
		broker := openMemory(b)
		create(b, broker, 1, "lines", "totals")
		send(b, broker, text...)
		counting, err := streams.New(broker, "wordcount", wordCount)
		require.NoError(b, err)
		b.StartTimer()

		began = time.Now()
		stop := start(counting)
		require.NoError(b, counting.CaughtUp(context.Background()))
		require.NoError(b, stop())
		app += time.Since(began)

		b.StopTimer()
		require.Equal(b, want, table(b, broker, totals))
		require.NoError(b, broker.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(app.Nanoseconds())/float64(b.N)/count, "ns/word")
	b.ReportMetric(float64(loop.Nanoseconds())/float64(b.N)/count, "loop-ns/word")
	b.ReportMetric(loop.Seconds()/app.Seconds(), "of-loop")
}
