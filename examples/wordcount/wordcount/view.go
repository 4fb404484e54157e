package wordcount

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// How often the progress is written, to a terminal and to other outputs.
const (
	liveEvery  = 200 * time.Millisecond
	plainEvery = 2 * time.Second
)

// view reads the totals as they change.
type view struct {
	job    Job
	pieces atomic.Int64 // read from the text

	in     *consumer.Consumer
	totals *consumer.Typed[string, int64]
	counts map[string]int64
	words  int64 // the sum of counts
	shown  time.Time
}

func openView(backend streams.Backend, job Job) (*view, error) {
	in, err := consumer.New(backend, consumer.Assign(partitionsOf(totals.Name, partitions)...), consumer.MaxRecords(4096))
	if err != nil {
		return nil, err
	}
	return &view{
		job: job, in: in, totals: consumer.Of(in, totals),
		counts: make(map[string]int64), shown: time.Now(),
	}, nil
}

func partitionsOf(topic string, n int) []record.TopicPartition {
	tps := make([]record.TopicPartition, n)
	for i := range tps {
		tps[i] = record.TopicPartition{Topic: topic, Partition: int32(i)}
	}
	return tps
}

func (v *view) close() { v.in.Close() }

// follow reads totals until ctx ends, and writes progress.
func (v *view) follow(ctx context.Context) error {
	every := plainEvery
	if v.job.Live {
		every = liveEvery
	}
	for ctx.Err() == nil {
		wait, cancel := context.WithDeadline(ctx, v.shown.Add(every))
		err := v.read(wait)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return err
		}
		if now := time.Now(); now.Sub(v.shown) >= every {
			v.shown = now
			v.show()
		}
	}
	return nil
}

// finish reads the totals to their end and writes the result.
func (v *view) finish(ctx context.Context) error {
	ends, err := v.in.Offsets(ctx, topic.Latest())
	if err != nil {
		return err
	}
	if err := toEnd(ctx, v.in, ends, v.read); err != nil {
		return err
	}
	v.show()
	if v.job.Live {
		fmt.Fprintln(v.job.Progress)
	}
	out := bufio.NewWriter(v.job.Counts)
	for _, word := range slices.Sorted(maps.Keys(v.counts)) {
		fmt.Fprintf(out, "%7d %s\n", v.counts[word], word)
	}
	return out.Flush()
}

// read processes the next totals.
func (v *view) read(ctx context.Context) error {
	batch, err := v.totals.Poll(ctx)
	for _, r := range batch {
		v.words += r.Value - v.counts[r.Key]
		v.counts[r.Key] = r.Value
	}
	return err
}

// show writes one line of progress; on a terminal it replaces the previous one.
func (v *view) show() {
	if v.job.Progress == nil {
		return
	}
	line := fmt.Sprintf("%d lines, %d words, %d different: %s", v.pieces.Load(), v.words, len(v.counts), strings.Join(v.top(5), ", "))
	if v.job.Live {
		io.WriteString(v.job.Progress, "\r\x1b[K"+line)
		return
	}
	fmt.Fprintln(v.job.Progress, line)
}

// top returns the n most frequent words with their counts.
func (v *view) top(n int) []string {
	var best []string
	less := func(a, b string) int { return cmp.Or(cmp.Compare(v.counts[b], v.counts[a]), cmp.Compare(a, b)) }
	for word := range v.counts {
		if at, _ := slices.BinarySearchFunc(best, word, less); at < n {
			best = slices.Insert(best, at, word)
			best = best[:min(n, len(best))]
		}
	}
	for i, word := range best {
		best[i] = fmt.Sprintf("%s %d", word, v.counts[word])
	}
	return best
}

// toEnd calls read until the consumer's positions are where its partitions end. The last
// offsets may be of no record: what a cluster writes for itself into a topic takes offsets,
// too, and is not delivered. So read gets only a moment at a time.
func toEnd(ctx context.Context, in *consumer.Consumer, ends map[record.TopicPartition]int64, read func(context.Context) error) error {
	for tp, end := range ends {
		for {
			at, err := in.Position(ctx, tp)
			if err != nil {
				return err
			}
			if at >= end {
				break
			}
			soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			err = read(soon)
			cancel()
			if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
				return err
			}
		}
	}
	return nil
}

// readLines returns how many records a partition of the lines' topic has, and the last one.
func readLines(ctx context.Context, backend streams.Backend, partition int32) (w written, err error) {
	tp := record.TopicPartition{Topic: lines.Name, Partition: partition}
	in, err := consumer.New(backend, consumer.Assign(tp), consumer.MaxRecords(4096))
	if err != nil {
		return w, err
	}
	defer in.Close()
	ends, err := in.Offsets(ctx, topic.Latest())
	if err != nil {
		return w, err
	}
	err = toEnd(ctx, in, ends, func(ctx context.Context) error {
		batch, err := consumer.Of(in, lines).Poll(ctx)
		for _, r := range batch {
			w.records, w.last = w.records+1, r.Value
		}
		return err
	})
	return w, err
}
