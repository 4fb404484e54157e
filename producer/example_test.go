package producer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// exampleBroker is a broker in memory with the topics of the examples.
func exampleBroker() *runnel.Broker {
	broker, err := runnel.OpenMemory()
	if err != nil {
		panic(err)
	}
	err = broker.CreateTopics(context.Background(),
		topic.Spec{Name: "greetings"}, topic.Spec{Name: "totals"})
	if err != nil {
		panic(err)
	}
	return broker
}

func Example() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()

	p, err := producer.New(broker, producer.Compression(record.Zstd), producer.Linger(5*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	at, err := p.Send(ctx, record.Record{Topic: "greetings", Key: []byte("world"), Value: []byte("hello")})
	fmt.Println(at, err)
	// Output: greetings-0@0 <nil>
}

func ExampleProducer_SendAsync() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	acknowledged := 0 // callbacks of a partition run one at a time
	for n := range 1000 {
		p.SendAsync(ctx, record.Record{Topic: "greetings", Value: fmt.Append(nil, n)}, func(_ record.Position, err error) {
			if err == nil {
				acknowledged++
			}
		})
	}
	err = p.Flush(ctx)
	fmt.Println(acknowledged, err)
	// Output: 1000 <nil>
}

func ExampleProducer_SendAll() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	at, err := p.SendAll(ctx,
		record.Record{Topic: "greetings", Value: []byte("hello")},
		record.Record{Topic: "greetings", Value: []byte("world")},
	)
	fmt.Println(at, err)
	// Output: [greetings-0@0 greetings-0@1] <nil>
}

func ExampleTo() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	totals := producer.To(p, serde.For("totals", serde.String, serde.Int64))
	at, err := totals.Send(ctx, "words", 42)
	fmt.Println(at, err)
	at, err = totals.Delete(ctx, "words") // a tombstone
	fmt.Println(at, err)
	// Output:
	// totals-0@0 <nil>
	// totals-0@1 <nil>
}

func ExampleTyped_Record() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	r, err := producer.To(p, serde.For("greetings", serde.String, serde.String)).Record("world", "hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Headers = []record.Header{{Key: "trace", Value: []byte("17")}}
	r.Timestamp = time.UnixMilli(0)
	at, err := p.Send(ctx, r)
	fmt.Println(at, err)
	// Output: greetings-0@0 <nil>
}

func ExampleProducer_Close() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker, producer.Linger(time.Minute), producer.CloseTimeout(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	for n := range 1000 {
		p.SendAsync(ctx, record.Record{Topic: "greetings", Value: fmt.Append(nil, n)}, nil)
	}
	fmt.Println(p.Close()) // nothing is lost; Close would return a failure
	// Output: <nil>
}

func ExampleProducer_CloseNow() {
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker, producer.Linger(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	p.SendAsync(context.Background(), record.Record{Topic: "greetings", Value: []byte("hello")}, nil)

	fmt.Println(p.CloseNow())
	// Output: greetings-0: it is closed
}

func ExampleSend() {
	broker := exampleBroker()
	defer broker.Close()

	at, err := producer.Send(context.Background(), broker, serde.For("totals", serde.String, serde.Int64), "words", 42)
	fmt.Println(at, err)
	// Output: totals-0@0 <nil>
}

// Both records of a transaction count, or none: one whose function fails is aborted, and
// readers of committed records pass over what it had sent.
func ExampleTransact() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker, producer.TransactionalID("transfers"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	transfer := func(value string, failure error) error {
		return producer.Transact(ctx, p, func(tx *producer.Tx) error {
			for _, name := range []string{"greetings", "totals"} {
				if _, err := tx.Send(ctx, record.Record{Topic: name, Value: []byte(value)}); err != nil {
					return err
				}
			}
			return failure
		})
	}
	fmt.Println(transfer("one", nil))
	fmt.Println(transfer("two", errors.New("changed my mind")))
	fmt.Println(transfer("three", nil))

	c, err := consumer.New(broker, consumer.ReadCommitted(), consumer.Assign(record.TopicPartition{Topic: "greetings"}, record.TopicPartition{Topic: "totals"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	committed := map[string]int{}
	for len(committed) < 2 || committed["three"] < 2 {
		records, err := c.Poll(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, r := range records {
			committed[string(r.Value)]++
		}
	}
	fmt.Println(committed)
	// Output:
	// <nil>
	// changed my mind
	// <nil>
	// map[one:2 three:2]
}

// Transform writes the length of each greeting exactly once: the consumer's offsets are part
// of the transaction that has the lengths.
func ExampleTransform() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	broker := exampleBroker()
	defer broker.Close()
	greetings := serde.For("greetings", serde.String, serde.String)
	for _, greeting := range []string{"hello", "good morning"} {
		if _, err := producer.Send(ctx, broker, greetings, "", greeting); err != nil {
			fmt.Println(err)
			return
		}
	}

	c, err := consumer.New(broker, consumer.Group("lengths"), consumer.Topics("greetings"), consumer.ReadCommitted(), consumer.ManualCommit())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	p, err := producer.New(broker, producer.TransactionalID("lengths-1")) // of this instance of the program
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	totals := producer.To(p, serde.For("totals", serde.String, serde.Int64))
	done := make(chan error)
	go func() {
		done <- producer.Transform(ctx, p, c, func(_ *producer.Tx, records []record.Record) error {
			for _, r := range records {
				totals.SendAsync(ctx, string(r.Value), int64(len(r.Value)), nil)
			}
			return nil
		})
	}()

	results, err := consumer.New(broker, consumer.ReadCommitted(), consumer.Assign(record.TopicPartition{Topic: "totals"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer results.Close()
	n := 0
	for r, err := range results.Records(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		length, _ := serde.Int64.Decode(r.Value)
		fmt.Printf("%s: %d\n", r.Key, length)
		if n++; n == 2 {
			break
		}
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// hello: 5
	// good morning: 12
	// <nil>
}

// Of two programs that read the same end and append to it, one is refused, and told what is
// there now.
func ExampleProducer_SendIf() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	greet := func(value string, end int64) {
		at, err := p.SendIf(ctx, record.Record{Topic: "greetings", Value: []byte(value)}, producer.IfEndAt(end))
		if conflict, ok := errors.AsType[*producer.Conflict](err); ok {
			fmt.Println("there is more to read, up to offset", conflict.Have)
			return
		}
		fmt.Println(at, err)
	}
	greet("hello", 0)
	greet("hi", 0)
	greet("hi", 1)
	// Output:
	// greetings-0@0 <nil>
	// there is more to read, up to offset 1
	// greetings-0@1 <nil>
}

func ExampleIfEndAt() {
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	_, err = p.SendIf(context.Background(), record.Record{Topic: "greetings", Value: []byte("hello")}, producer.IfEndAt(7))
	fmt.Println(err)
	// Output: greetings-0: what is there is not what the append demands: the partition ends at offset 0, not at 7
}

func ExampleTyped_SendIf() {
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	totals := producer.To(p, serde.For("totals", serde.String, serde.Int64))
	fmt.Println(totals.SendIf(context.Background(), "words", 42, producer.IfEndAt(0)))
	// Output: totals-0@0 <nil>
}

// A reminder that share groups deliver tomorrow.
func ExampleAt() {
	tomorrow := time.Date(2030, 1, 2, 9, 0, 0, 0, time.UTC)
	r := record.Record{Topic: "reminders", Value: []byte("water the plants"), Headers: []record.Header{producer.At(tomorrow)}}
	t, ok := producer.DeliverAt(r)
	fmt.Println(t.UTC(), ok)
	// Output:
	// 2030-01-02 09:00:00 +0000 UTC true
}

// indexedBroker is a broker in memory with a topic that has an index of keys.
func indexedBroker() *runnel.Broker {
	broker := exampleBroker()
	err := broker.CreateTopics(context.Background(), topic.Spec{Name: "accounts", Config: topic.Config{KeyIndex: true}})
	if err != nil {
		panic(err)
	}
	return broker
}

// An account is opened once, and a program that changes it must have read its last event.
func ExampleIfKeyAt() {
	ctx := context.Background()
	broker := indexedBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	accounts := producer.To(p, serde.For("accounts", serde.String, serde.String))
	opened, err := accounts.SendIf(ctx, "alice", "opened", producer.IfAbsent())
	fmt.Println(opened, err)
	paid, err := accounts.SendIf(ctx, "alice", "12 paid in", producer.IfKeyAt(opened.Offset))
	fmt.Println(paid, err)
	_, err = accounts.SendIf(ctx, "alice", "7 paid out", producer.IfKeyAt(opened.Offset)) // it has read too little
	if conflict, ok := errors.AsType[*producer.Conflict](err); ok {
		fmt.Println("read on, up to offset", conflict.Have)
	}
	// Output:
	// accounts-0@0 <nil>
	// accounts-0@1 <nil>
	// read on, up to offset 1
}

func ExampleIfAbsent() {
	ctx := context.Background()
	broker := indexedBroker()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	accounts := producer.To(p, serde.For("accounts", serde.String, serde.String))
	for range 2 {
		_, err := accounts.SendIf(ctx, "alice", "opened", producer.IfAbsent())
		fmt.Println(errors.Is(err, fault.PreconditionFailed), err)
	}
	// Output:
	// false <nil>
	// true accounts-0: what is there is not what the append demands: the key has a record, at offset 0
}
