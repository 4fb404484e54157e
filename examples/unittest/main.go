// Command unittest runs a service whose tests are the point of the example; see
// package reminder:
//
//	go run ./examples/unittest [--after 5s] [FILE]
//
// Each line of the input, or of standard input, is an order's number and its
// status, placed or paid. Orders that are not paid in time are printed. The
// command ends when the input has ended and every reminder was due.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/examples/unittest/reminder"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "unittest:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	flags := flag.NewFlagSet("unittest", flag.ContinueOnError)
	after := flags.Duration("after", 5*time.Second, "how long a customer may take to pay")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		f, err := os.Open(flags.Arg(0))
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	broker, err := runnel.OpenMemory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	if err := reminder.CreateTopics(ctx, broker); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	service := make(chan error, 1)
	printed := make(chan error, 1)
	go func() { service <- reminder.Run(ctx, broker, *after) }()
	go func() { printed <- printReminders(ctx, broker, out) }()
	err = sendOrders(ctx, broker, in)
	if err == nil {
		select {
		case <-time.After(*after + *after/10):
		case <-ctx.Done():
		}
	}
	stop()
	return errors.Join(err, <-service, <-printed)
}

// sendOrders sends a record for every line.
func sendOrders(ctx context.Context, broker *runnel.Broker, in io.Reader) error {
	p, err := producer.New(broker)
	if err != nil {
		return err
	}
	defer p.Close()
	orders := producer.To(p, reminder.Orders)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			return fmt.Errorf("%q is not a number and a status", lines.Text())
		}
		if _, err := orders.Send(ctx, fields[0], reminder.Status(fields[1])); err != nil {
			return err
		}
	}
	return lines.Err()
}

// printReminders prints reminders until ctx ends.
func printReminders(ctx context.Context, broker *runnel.Broker, out io.Writer) error {
	c, err := consumer.New(broker, consumer.Assign(record.TopicPartition{Topic: reminder.Reminders.Name}))
	if err != nil {
		return err
	}
	defer c.Close()
	for r, err := range consumer.Of(c, reminder.Reminders).Records(ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "order %s is not paid\n", r.Value)
	}
	return nil
}
