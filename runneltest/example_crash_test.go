package runneltest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// till takes orders. It has a bug: it says that an order is taken before that is
// so. Every test without a crash passes.
type till struct{ p *producer.Producer }

func (s *till) take(ctx context.Context, order string) (receipt string) {
	s.p.SendAsync(ctx, record.Record{Topic: "orders", Value: []byte(order)}, nil)
	return "taken: " + order
}

// takeSafely takes an order without that bug: it waits until the order is on disk.
func (s *till) takeSafely(ctx context.Context, order string) (receipt string) {
	if _, err := s.p.Send(ctx, record.Record{Topic: "orders", Value: []byte(order)}); err != nil {
		return "not taken: " + order
	}
	return "taken: " + order
}

// A service that acknowledges too early is found by a disk that does not keep up,
// and a power loss. One that waits for Send gives no receipt for what is not
// there afterwards.
func ExampleBroker_Crash() {
	t := &recorder{}
	ctx := context.Background()
	for _, take := range []func(*till, context.Context, string) string{(*till).take, (*till).takeSafely} {
		broker := runneltest.New(t)
		if err := broker.CreateTopics(ctx, topic.Spec{Name: "orders"}); err != nil {
			t.Fatalf("%v", err)
		}
		p, err := producer.New(broker)
		if err != nil {
			t.Fatalf("%v", err)
		}

		broker.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders"}) // no sync gets through any more
		fmt.Println(take(&till{p}, ctx, "one tea"))

		broker = broker.Crash()

		d, err := broker.DescribeTopics(ctx, "orders")
		if err != nil {
			t.Fatalf("%v", err)
		}
		fmt.Println("orders after the crash:", d[0].Partitions[0].EndOffset)
	}
	t.end()
	// Output:
	// taken: one tea
	// orders after the crash: 0
	// not taken: one tea
	// orders after the crash: 0
}

func ExampleBroker_Inject() {
	t := &recorder{}
	ctx := context.Background()
	broker := runneltest.New(t)
	if err := broker.CreateTopics(ctx, topic.Spec{Name: "orders"}); err != nil {
		t.Fatalf("%v", err)
	}
	p, err := producer.New(broker)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer p.Close()

	broker.LimitSpace(0)
	_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte("one tea")})
	fmt.Println(errors.Is(err, fault.DiskFull), fault.Retriable(err))

	broker.LimitSpace(-1) // by itself it goes on when there is space again
	_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte("one tea")})
	fmt.Println(err)

	c, err := consumer.New(broker, consumer.Assign(record.TopicPartition{Topic: "orders"}))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer c.Close()
	batch, err := c.Poll(ctx)
	fmt.Println(len(batch), err)
	// Output:
	// true true
	// <nil>
	// 1 <nil>
}
