package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// sinkhole is a producer that keeps nothing but the batches of one topic.
type sinkhole struct {
	producer.Session
	keep string
	kept []record.Batch
}

func (s *sinkhole) Topic(_ context.Context, name string) (producer.Writer, error) {
	return &hole{to: s, keep: name == s.keep}, nil
}

type hole struct {
	producer.Writer
	to   *sinkhole
	keep bool
}

func (*hole) Partitions() int32 { return 1 }

func (h *hole) Append(_ context.Context, _ int32, b *record.Batch, _ producer.Callback) {
	if h.keep {
		kept := *b
		kept.Bytes = append([]byte(nil), b.Bytes...)
		h.to.kept = append(h.to.kept, kept)
	}
}

// benchmarkText returns lines of ten words, frequent ones and rare ones.
func benchmarkText(lines int) []string {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 8, 50_000)
	text := make([]string, lines)
	for i := range text {
		words := make([]string, 10)
		for j := range words {
			words[j] = fmt.Sprintf("Word%d", zipf.Uint64())
		}
		text[i] = strings.Join(words, " ")
	}
	return text
}

// BenchmarkWordCountTasks is both tasks of a word count without a broker: lines
// to the batches of the repartition topic, and those to counts.
func BenchmarkWordCountTasks(b *testing.B) {
	p, _, err := compile("app", func(t *Topology) {
		words := FlatMapValues(Stream(t, text("lines")), func(line string) []string { return strings.Fields(strings.ToLower(line)) })
		Count(GroupBy(words, func(_, word string) string { return word }), "counts").ToStream().To(serde.For("totals", serde.String, serde.Int64))
	}, nil)
	require.NoError(b, err)
	hole := &sinkhole{keep: "app-counts-repartition"}
	out := &batches{ctx: context.Background(), session: hole, topics: make(map[string]*topicBatches)}
	split, err := newTask(p, TaskID{0, 0}, out, true)
	require.NoError(b, err)
	count, err := newTask(p, TaskID{1, 0}, out, true)
	require.NoError(b, err)

	text := benchmarkText(10_000)
	lines := make([]record.Record, len(text))
	for i, line := range text {
		lines[i] = record.Record{Topic: "lines", Timestamp: time.UnixMilli(int64(i)), Value: []byte(line)}
	}
	const words = 100_000
	b.Run("loop", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			counts := make(map[string]int64)
			for _, line := range text {
				for _, word := range strings.Fields(strings.ToLower(line)) {
					counts[word]++
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/words, "ns/word")
	})
	b.Run("split", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			hole.kept = hole.kept[:0]
			require.NoError(b, split.process("lines", lines))
			require.NoError(b, out.send(0))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/words, "ns/word")
	})
	b.Run("count", func(b *testing.B) {
		b.ReportAllocs()
		records := make([]record.Record, fetchRecords)
		for b.Loop() {
			for _, batch := range hole.kept {
				it, err := batch.Records(nil)
				require.NoError(b, err)
				for more := true; more; {
					n := 0
					for n < len(records) {
						if more = it.Next(&records[n]); !more {
							break
						}
						n++
					}
					require.NoError(b, count.process("app-counts-repartition", records[:n]))
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/words, "ns/word")
	})
}
