package runneltest_test

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// What a test does that sends to a topic and reads from it. In a real one, t is
// the *testing.T, and the broker is closed when the test ends.
func ExampleNew() {
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
	if _, err := p.Send(ctx, record.Record{Topic: "orders", Value: []byte("one tea")}); err != nil {
		t.Fatalf("%v", err)
	}

	c, err := consumer.New(broker, consumer.Group("kitchen"), consumer.Topics("orders"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	for r, err := range c.Records(ctx) {
		if err != nil {
			t.Fatalf("%v", err)
		}
		fmt.Println(string(r.Value))
		break
	}

	c.Close() // and not p, which the fixture notices
	t.end()
	fmt.Println(t.errors)
	// Output:
	// one tea
	// [runneltest: producers and consumers still open at the end of the test: 1]
}
