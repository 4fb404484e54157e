// Package activity tracks what visitors of a site do, the original use of
// Kafka: every kind of activity has its own topic, and each interested reader
// reads the topics it needs, at its own pace.
package activity

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// Backend is what the example runs on: *runnel.Broker or a Kafka cluster.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}

// Run publishes the lines of an access log, and runs three readers, each with
// its own groups: a dashboard of everything, the trending searches, and a
// monitor that looks for visitors in trouble. It prints what they found in
// events that were new to them on out.
func Run(ctx context.Context, backend Backend, accessLog io.Reader, out io.Writer) error {
	if _, err := topic.Ensure(ctx, backend, specs()...); err != nil {
		return err
	}
	published, err := publish(ctx, backend, accessLog)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d events published\n", published)

	dashboard, trends, monitor := count{}, count{}, count{}
	readers := []struct {
		group  string
		topics []serde.Topic[string, Event]
		see    func(consumer.Record[string, Event])
	}{
		{"dashboard", []serde.Topic[string, Event]{Views, Searches, Orders, Errors}, func(r consumer.Record[string, Event]) { dashboard[r.Topic]++ }},
		{"trends", []serde.Topic[string, Event]{Searches}, func(r consumer.Record[string, Event]) { trends[query(r.Value)]++ }},
		{"monitor", []serde.Topic[string, Event]{Errors}, func(r consumer.Record[string, Event]) { monitor[r.Key]++ }},
	}
	var wg sync.WaitGroup
	errs := make([]error, len(readers))
	for i, r := range readers {
		wg.Go(func() {
			for _, t := range r.topics {
				errs[i] = errors.Join(errs[i], read(ctx, backend, r.group, t, r.see))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	dashboard.print(out, "events by topic", 1)
	trends.print(out, "searched for", 1)
	monitor.print(out, "visitors with two errors or more", 2)
	return nil
}

// publish sends each line of an access log to the topic of its kind, and returns
// how many there were once all are acknowledged.
func publish(ctx context.Context, backend producer.Backend, accessLog io.Reader) (int, error) {
	p, err := producer.New(backend)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	lines, n := bufio.NewScanner(accessLog), 0
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		visitor, e, err := parseLine(lines.Text())
		if err != nil {
			return n, err
		}
		producer.To(p, kind(e)).SendAsync(ctx, visitor, e, nil)
		n++
	}
	return n, errors.Join(lines.Err(), p.Flush(ctx))
}

// read calls see for every event of a topic that the group has not seen, and
// marks them as seen.
func read(ctx context.Context, backend Backend, group string, t serde.Topic[string, Event], see func(consumer.Record[string, Event])) error {
	// One group for each topic: they advance independently of each other.
	c, err := consumer.New(backend, consumer.Group(group+"-of-"+t.Name), consumer.Topics(t.Name), consumer.ManualCommit())
	if err != nil {
		return err
	}
	defer c.Close()
	left, err := unseen(ctx, backend, c, t.Name)
	if err != nil {
		return err
	}
	for typed := consumer.Of(c, t); left > 0; {
		events, err := typed.Poll(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			see(e)
		}
		left -= int64(len(events))
		if err := c.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// unseen returns how many records of a topic the consumer's group has not read.
func unseen(ctx context.Context, admin topic.Admin, c *consumer.Consumer, name string) (int64, error) {
	described, err := admin.DescribeTopics(ctx, name)
	if err != nil {
		return 0, err
	}
	all := described[0].TopicPartitions()
	ends, err := c.Offsets(ctx, topic.Latest(), all...)
	if err != nil {
		return 0, err
	}
	committed, err := c.Committed(ctx, all...)
	if err != nil {
		return 0, err
	}
	left := int64(0)
	for tp, end := range ends {
		left += end - committed[tp].Offset
	}
	return left, nil
}

// count counts things.
type count map[string]int

// print prints the entries with at least that count, the most frequent first.
func (c count) print(out io.Writer, title string, least int) {
	fmt.Fprintf(out, "\n%s\n", title)
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a, b)) })
	for _, name := range names {
		if c[name] >= least {
			fmt.Fprintf(out, "%7d %s\n", c[name], name)
		}
	}
}
