// Package quickstart is Kafka's quickstart as one function, on any backend:
// create a topic, write events, read them, count their words with a streams
// application, read the counts, clean up.
package quickstart

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// Backend is what the quickstart runs on: *runnel.Broker or a Kafka cluster.
type Backend interface {
	streams.Backend
	consumer.Admin
}

// Text is Lincoln's address at Gettysburg, a sentence per line: the events that
// are written where no other text is given.
//
//go:embed address.txt
var Text string

// The two topics, with the types of their keys and values.
var (
	events = serde.For("quickstart-events", serde.String, serde.String)
	counts = serde.For("output-topic", serde.String, serde.Int64)
)

// Run goes through the quickstart with the lines of a text, and describes its
// steps on out.
func Run(ctx context.Context, backend Backend, text io.Reader, out io.Writer) error {
	tell := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }

	tell("Create a topic for the events, and one for the results.")
	err := backend.CreateTopics(ctx, topic.Spec{Name: events.Name, Partitions: 1}, topic.Spec{Name: counts.Name, Partitions: 1})
	if err != nil {
		return err
	}
	if err := describe(ctx, backend, out); err != nil {
		return err
	}

	tell("\nWrite some events.")
	written, err := write(ctx, backend, text)
	if err != nil {
		return err
	}
	tell("  %d events, acknowledged", written)

	for _, group := range []string{"first-reader", "second-reader"} {
		tell("\nRead them, as the group %s.", group)
		if err := read(ctx, backend, group, written, out); err != nil {
			return err
		}
	}

	tell("\nCount their words.")
	app, err := streams.New(backend, "wordcount", wordCount)
	if err != nil {
		return err
	}
	tell("%s", strings.TrimSpace(app.Describe()))
	if err := runToEnd(ctx, app); err != nil {
		return err
	}

	tell("\nRead the most frequent ones from %s.", counts.Name)
	if err := readCounts(ctx, backend, out); err != nil {
		return err
	}

	tell("\nClean up.")
	return cleanUp(ctx, backend, app)
}

// wordCount is the application: events in, counts out.
func wordCount(t *streams.Topology) {
	words := streams.FlatMapValues(streams.Stream(t, events), func(line string) []string {
		return strings.Fields(strings.ToLower(line))
	})
	byWord := streams.GroupBy(words, func(_, word string) string { return word })
	streams.Count(byWord, "counts").ToStream().To(counts)
}

// describe prints the topic of the events as kafka-topics.sh --describe does.
func describe(ctx context.Context, backend Backend, out io.Writer) error {
	topics, err := backend.DescribeTopics(ctx, events.Name)
	if err != nil {
		return err
	}
	t := topics[0]
	fmt.Fprintf(out, "  Topic: %s  TopicId: %s  PartitionCount: %d  ReplicationFactor: %d\n",
		t.Name, t.ID, len(t.Partitions), len(t.Partitions[0].Replicas))
	for _, p := range t.Partitions {
		fmt.Fprintf(out, "    Partition: %d  Leader: %d  Replicas: %v  Isr: %v\n", p.Number, p.Leader, p.Replicas, p.ISR)
	}
	return nil
}

// write sends each line as an event and returns how many there were.
func write(ctx context.Context, backend Backend, text io.Reader) (int, error) {
	p, err := producer.New(backend)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	in, n := producer.To(p, events), 0
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		if _, err := in.SendValue(ctx, lines.Text()); err != nil {
			return n, err
		}
	}
	return n, lines.Err()
}

// read prints the events as a group that has not read them yet.
func read(ctx context.Context, backend Backend, group string, n int, out io.Writer) error {
	if n == 0 {
		return nil
	}
	c, err := consumer.New(backend, consumer.Group(group), consumer.Topics(events.Name))
	if err != nil {
		return err
	}
	defer c.Close()
	seen := 0
	for r, err := range consumer.Of(c, events).Records(ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s\n", shorten(r.Value, 76))
		if seen++; seen == n {
			return nil
		}
	}
	return ctx.Err()
}

// shorten cuts a line to at most n characters.
func shorten(line string, n int) string {
	if r := []rune(line); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return line
}

// runToEnd runs an application until it has processed everything there is.
func runToEnd(ctx context.Context, app *streams.App) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- app.Run(running) }()
	err := app.CaughtUp(ctx)
	stop()
	return errors.Join(<-ran, err)
}

// readCounts prints the ten most frequent words. The topic has a record for
// each committed count of a word; the last one is the word's count.
func readCounts(ctx context.Context, backend Backend, out io.Writer) error {
	topics, err := backend.DescribeTopics(ctx, counts.Name)
	if err != nil {
		return err
	}
	c, err := consumer.New(backend, consumer.Assign(topics[0].TopicPartitions()...))
	if err != nil {
		return err
	}
	defer c.Close()
	table := make(map[string]int64)
	for read, end := int64(0), topics[0].Partitions[0].HighWatermark; read < end; {
		batch, err := consumer.Of(c, counts).Poll(ctx)
		if err != nil {
			return err
		}
		for _, r := range batch {
			table[r.Key], read = r.Value, r.Offset+1
		}
	}
	words := slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(table[b], table[a]), cmp.Compare(a, b))
	})
	for _, word := range words[:min(10, len(words))] {
		fmt.Fprintf(out, "  %7d %s\n", table[word], word)
	}
	return nil
}

// cleanUp deletes what the quickstart created: the application's internal
// topics and offsets, the topics, the groups.
func cleanUp(ctx context.Context, backend Backend, app *streams.App) error {
	if err := app.Reset(ctx); err != nil {
		return err
	}
	if err := backend.DeleteTopics(ctx, events.Name, counts.Name); err != nil {
		return err
	}
	groups, err := backend.Groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if slices.Contains([]string{"first-reader", "second-reader", "wordcount"}, g.Name) {
			if err := backend.DeleteGroups(ctx, g.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
