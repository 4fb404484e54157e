package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

var (
	linesTopic  = serde.For("lines", serde.String, serde.String)
	totalsTopic = serde.For("totals", serde.String, serde.Int64)
)

func wordCount(t *streams.Topology) {
	split := streams.FlatMapValues(streams.Stream(t, linesTopic), words)
	byWord := streams.GroupBy(split, func(_, word string) string { return word })
	streams.Count(byWord, "counts").ToStream().To(totalsTopic)
}

// runnelWordCount counts the words of a topic's lines, through a repartition
// topic and a changelog, into another topic. Writing the lines into the first
// topic is not measured.
func runnelWordCount(ctx context.Context, w *Work) (_ Sample, err error) {
	want, total, bytes := countWords(w.text)
	broker, err := openRunnel(ctx, inMemory, topic.Memory, linesTopic.Name, totalsTopic.Name)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	if err := sendLines(ctx, broker, w.text); err != nil {
		return Sample{}, err
	}

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m := w.start()
	app, err := streams.New(broker, "wordcount", wordCount)
	if err != nil {
		return Sample{}, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	err = app.CaughtUp(ctx)
	sample := m.done(total, bytes)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return Sample{}, err
	}
	got, err := readTotals(ctx, broker)
	if err == nil && !maps.Equal(got, want) {
		err = fmt.Errorf("%d words are counted otherwise than a plain loop counts %d", len(got), len(want))
	}
	return sample, err
}

func sendLines(ctx context.Context, broker *runnel.Broker, lines []string) error {
	p, err := producer.New(broker)
	if err != nil {
		return err
	}
	for _, line := range lines {
		p.SendAsync(ctx, record.Record{Topic: linesTopic.Name, Value: []byte(line)}, nil)
	}
	return errors.Join(p.Flush(ctx), p.Close())
}

// readTotals returns the last count of every word.
func readTotals(ctx context.Context, broker *runnel.Broker) (_ map[string]int64, err error) {
	tp := record.TopicPartition{Topic: totalsTopic.Name}
	c, err := consumer.New(broker, consumer.Assign(tp))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	typed := consumer.Of(c, totalsTopic)
	totals := map[string]int64{}
	for {
		lag, err := c.Lag(ctx)
		if err != nil || lag[tp] == 0 {
			return totals, err
		}
		records, err := typed.Poll(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			totals[r.Key] = r.Value
		}
	}
}
