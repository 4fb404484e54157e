package share_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// jobs opens a broker with a topic of jobs, and one of dead letters.
func jobs(values ...string) (*runnel.Broker, *producer.Producer) {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	if err != nil {
		log.Fatal(err)
	}
	if err := broker.CreateTopics(ctx, topic.Spec{Name: "jobs", Partitions: 1}, topic.Spec{Name: "jobs.dead", Partitions: 1}); err != nil {
		log.Fatal(err)
	}
	p, err := producer.New(broker)
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range values {
		if _, err := p.Send(ctx, record.Record{Topic: "jobs", Value: []byte(v)}); err != nil {
			log.Fatal(err)
		}
	}
	return broker, p
}

// Two consumers share one partition. What one releases, the other gets.
func Example() {
	broker, p := jobs("wash", "dry")
	defer broker.Close()
	defer p.Close()
	ctx := context.Background()
	ann, err := share.New(broker, share.Group("kitchen"), share.Topics("jobs"), share.Prefetch(1))
	if err != nil {
		log.Fatal(err)
	}
	defer ann.Close()
	bob, err := share.New(broker, share.Group("kitchen"), share.Topics("jobs"), share.Prefetch(1))
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()

	wash, err := ann.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	dry, err := bob.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("ann: %s, bob: %s\n", wash.Record.Value, dry.Record.Value)
	if err := wash.Release(ctx); err != nil {
		log.Fatal(err)
	}
	if err := dry.Ack(ctx); err != nil {
		log.Fatal(err)
	}
	again, err := bob.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("bob: %s, attempt %d\n", again.Record.Value, again.Attempt)
	// Output:
	// ann: wash, bob: dry
	// bob: wash, attempt 2
}

// Workers handle jobs side by side. What fails is tried again, and becomes a dead letter in
// the end.
func ExampleRun() {
	broker, p := jobs(`mow`, `paint`, `dig`)
	defer broker.Close()
	defer p.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := share.New(broker, share.Group("garden"), share.Topics("jobs"),
		share.LockTime(time.Minute), share.Attempts(2), share.DeadLetters(p, "jobs.dead"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	typed := serde.For("jobs", serde.String, serde.String)
	err = share.Run(ctx, c, consumer.Handle(typed, func(_ context.Context, r consumer.Record[string, string]) error {
		if r.Value == "paint" {
			return errors.New("no paint")
		}
		return nil
	}), share.Workers(4), share.Backoff(time.Millisecond, time.Second), share.DrainTimeout(10*time.Second),
		share.OnGivenUp(func(e *consumer.HandlerError) {
			fmt.Printf("%s: %v, attempt %d\n", e.Raw.Value, e.Err, e.Attempts)
			stop()
		}))
	fmt.Println(err)
	// Output:
	// paint: no paint, attempt 2
	// <nil>
}

// A loop over deliveries, without workers.
func ExampleConsumer_Deliveries() {
	broker, p := jobs("a", "b", "c")
	defer broker.Close()
	defer p.Close()
	ctx := context.Background()
	c, err := share.New(broker, share.Group("letters"), share.Topics("jobs"),
		share.From(topic.Earliest()), share.ReadCommitted(), share.Locks(100), share.MaxBytes(1<<16))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for d, err := range c.Deliveries(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if err := d.Ack(ctx); err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.Record.Position(), string(d.Record.Value))
		if string(d.Record.Value) == "c" {
			break
		}
	}
	// Output:
	// jobs-0@0 a
	// jobs-0@1 b
	// jobs-0@2 c
}

// A record is rejected, another one later.
func ExampleDelivery() {
	broker, p := jobs("impossible", "not now")
	defer broker.Close()
	defer p.Close()
	ctx := context.Background()
	c, err := share.New(broker, share.Group("desk"), share.Topics("jobs"), share.DeadLetters(p, "jobs.dead"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	impossible, err := c.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := impossible.Reject(ctx, errors.New("cannot be done")); err != nil {
		log.Fatal(err)
	}
	notNow, err := c.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := notNow.Renew(ctx); err != nil { // for another LockTime
		log.Fatal(err)
	}
	if err := notNow.ReleaseAfter(ctx, 10*time.Millisecond); err != nil {
		log.Fatal(err)
	}
	fmt.Println(errors.Is(notNow.Ack(ctx), fault.InvalidRecordState)) // it is not ours any more
	again, err := c.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, attempt %d\n", again.Record.Value, again.Attempt)
	// Output:
	// true
	// not now, attempt 2
}

// What a group has of its records, and another start for it.
func ExampleAdmin() {
	broker, p := jobs("a", "b", "c")
	defer broker.Close()
	defer p.Close()
	ctx := context.Background()
	c, err := share.New(broker, share.Group("letters"), share.Topics("jobs"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Receive(ctx); err != nil {
		log.Fatal(err)
	}
	d, err := broker.DescribeShareGroup(ctx, "letters")
	if err != nil {
		log.Fatal(err)
	}
	for _, one := range d.Partitions {
		fmt.Printf("%v: %d acquired, %d new\n", one.TopicPartition, one.Acquired, one.New)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	if err := broker.ResetShareGroup(ctx, "letters", topic.Latest(), record.TopicPartition{Topic: "jobs"}); err != nil {
		log.Fatal(err)
	}
	groups, err := broker.ShareGroups(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(groups)
	fmt.Println(broker.DeleteShareGroup(ctx, "letters"))
	// Output:
	// jobs-0: 1 acquired, 2 new
	// [letters]
	// <nil>
}
