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

// sinkhole is a producer that keeps only the batches of one topic.
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

// counting is both tasks of a word count without a broker, and the first one's
// output for the second.
type counting struct {
	split, count *task
	out          *batches
	hole         *sinkhole
	lines        []record.Record
}

const repartitioned = "app-counts-repartition"

func newCounting(t testing.TB, text []string, options ...Option) *counting {
	p, cfg, err := compile("app", func(t *Topology) {
		words := FlatMapValues(Stream(t, serde.For("lines", serde.String, serde.String)), func(line string) []string {
			return strings.Fields(strings.ToLower(line))
		})
		Count(GroupBy(words, func(_, word string) string { return word }), "counts").ToStream().To(serde.For("totals", serde.String, serde.Int64))
	}, options)
	require.NoError(t, err)
	c := &counting{hole: &sinkhole{keep: repartitioned}, lines: make([]record.Record, len(text))}
	c.out = newBatches(context.Background(), c.hole, p, cfg.handling, nil)
	c.split, err = newTask(p, TaskID{0, 0}, c.out, true, cfg.handling)
	require.NoError(t, err)
	c.count, err = newTask(p, TaskID{1, 0}, c.out, true, cfg.handling)
	require.NoError(t, err)
	for i, line := range text {
		c.lines[i] = record.Record{Topic: "lines", Timestamp: time.UnixMilli(int64(i)), Value: []byte(line)}
	}
	return c
}

// words returns what the first task wrote.
func (c *counting) words(t testing.TB) (words []record.Record) {
	for _, batch := range c.hole.kept {
		it, err := batch.Records(nil)
		require.NoError(t, err)
		for r := (record.Record{Topic: repartitioned}); it.Next(&r); {
			words = append(words, r)
		}
	}
	return words
}

// A record that passes through operators, a sink or a store causes no
// allocation except those of the program's functions and serdes, with handlers
// or without.
func TestTheRecordPathAllocatesNothing(t *testing.T) {
	recordPathAllocatesNothing(t)
	recordPathAllocatesNothing(t, OnError(Skip()))
}

func recordPathAllocatesNothing(t *testing.T, options ...Option) {
	c := newCounting(t, benchmarkText(100), options...)
	require.NoError(t, c.split.process("lines", c.lines))
	require.NoError(t, c.out.send(0))
	words := c.words(t)
	require.Len(t, words, 1000)
	c.hole.keep = "" // the next ones are not kept

	perLine := testing.AllocsPerRun(20, func() {
		require.NoError(t, c.split.process("lines", c.lines))
		require.NoError(t, c.out.send(0))
	}) / float64(len(c.lines))
	require.Less(t, perLine, 3.1, "the line, its lower case and its words")

	for range 2 { // the first round creates the entries
		require.NoError(t, c.count.process(repartitioned, words))
		require.NoError(t, c.count.flush())
		require.NoError(t, c.out.send(0))
	}
	perRun := testing.AllocsPerRun(20, func() {
		require.NoError(t, c.count.process(repartitioned, words))
		require.NoError(t, c.count.flush())
		require.NoError(t, c.out.send(0))
	})
	require.Less(t, perRun, 10.0)
}

// BenchmarkWordCountTasks measures the two tasks of a word count without a
// broker, and a plain loop over the same text.
func BenchmarkWordCountTasks(b *testing.B) {
	text := benchmarkText(10_000)
	c := newCounting(b, text)
	const words = 100_000
	perWord := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/words, "ns/word")
	}
	b.Run("loop", func(b *testing.B) {
		for b.Loop() {
			counts := make(map[string]int64)
			for _, line := range text {
				for _, word := range strings.Fields(strings.ToLower(line)) {
					counts[word]++
				}
			}
		}
		perWord(b)
	})
	b.Run("split", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.hole.kept = c.hole.kept[:0]
			require.NoError(b, c.split.process("lines", c.lines))
			require.NoError(b, c.out.send(0))
		}
		perWord(b)
	})
	b.Run("count", func(b *testing.B) {
		b.ReportAllocs()
		records := c.words(b)
		for b.Loop() {
			require.NoError(b, c.count.process(repartitioned, records))
		}
		perWord(b)
	})
}
