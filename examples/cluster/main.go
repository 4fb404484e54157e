// Command cluster runs three copies of a program, kills one, and shows that nothing is lost:
//
//	go run ./examples/cluster
//
// It starts itself three times. Each of the three processes opens a broker in a directory of
// its own; together they keep a topic in three copies, over TCP with mutual TLS. The program
// sends records through one of them, kills the process that leads the topic with SIGKILL,
// goes on through another one, starts the killed one again, and reads on it what was
// acknowledged.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	work := func() error { return run(ctx, os.Stdout) }
	if isNode() {
		work = func() error { return runNode(ctx) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		stop()
		os.Exit(1)
	}
}

// orders is the topic, with one partition.
var orders = record.TopicPartition{Topic: "orders"}

// perPhase is how many records are sent before the kill, and after it.
const perPhase = 500

func run(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c, err := newCluster()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.start(0, 1, 2); err != nil {
		return err
	}
	fmt.Fprintln(out, "started 3 processes, each with a broker; they reach each other over TLS")

	broker, err := c.attach(ctx, 0)
	if err != nil {
		return err
	}
	defer broker.Close()
	if err := broker.CreateTopics(ctx, topic.Spec{Name: orders.Topic, Partitions: 1, Replicas: 3}); err != nil {
		return err
	}
	if err := send(ctx, broker, 0, perPhase); err != nil {
		return err
	}
	leader, err := leaderOf(ctx, broker)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "sent %d records; node %d leads the topic\n", perPhase, leader+1)

	c.kill(leader)
	killed := time.Now()
	other, err := c.attach(ctx, (leader+1)%len(c.processes))
	if err != nil {
		return err
	}
	defer other.Close()
	if err := send(ctx, other, perPhase, 1); err != nil {
		return err
	}
	fmt.Fprintf(out, "killed node %d with SIGKILL; the next record was acknowledged by the others %v later\n", leader+1, time.Since(killed).Round(10*time.Millisecond))
	if err := send(ctx, other, perPhase+1, perPhase-1); err != nil {
		return err
	}

	if err := c.start(leader); err != nil {
		return err
	}
	back, err := c.attach(ctx, leader)
	if err != nil {
		return err
	}
	defer back.Close()
	started := time.Now()
	n, err := read(ctx, back, 2*perPhase)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "node %d is back, and has all %d acknowledged records, each once, %v later\n", leader+1, n, time.Since(started).Round(10*time.Millisecond))
	return nil
}

// send sends so many records, numbered from a number on, and waits for each: it has been
// acknowledged when a majority has it on disk.
func send(ctx context.Context, b *runnel.Remote, from, n int) error {
	p, err := producer.New(b)
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range n {
		value := fmt.Append(nil, "order ", from+i)
		if _, err := p.Send(ctx, record.Record{Topic: orders.Topic, Value: value}); err != nil {
			return err
		}
	}
	return nil
}

// leaderOf returns the node that leads the topic, counted from 0. While another one is being
// elected, none does.
func leaderOf(ctx context.Context, b *runnel.Remote) (int, error) {
	for {
		d, err := b.DescribeTopics(ctx, orders.Topic)
		if err != nil {
			return 0, err
		}
		if leader := d[0].Partitions[0].Leader; leader > 0 {
			return int(leader) - 1, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// read reads so many records on one node, and checks that they are those that were sent.
func read(ctx context.Context, b *runnel.Remote, n int) (int, error) {
	c, err := consumer.New(b, consumer.Assign(orders))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	seen := 0
	for r, err := range c.Records(ctx) {
		if err != nil {
			return seen, err
		}
		if want := fmt.Sprint("order ", seen); string(r.Value) != want {
			return seen, fmt.Errorf("%s came at offset %d, where %s was expected", r.Value, r.Offset, want)
		}
		if seen++; seen == n {
			return seen, nil
		}
	}
	return seen, ctx.Err()
}
