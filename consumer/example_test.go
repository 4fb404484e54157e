package consumer_test

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
	"github.com/runnel-go/runnel/topic"
)

var greetings = serde.For("greetings", serde.String, serde.String)

// greeted returns a broker with three records in the topic greetings.
func greeted() *runnel.Broker {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	if err != nil {
		log.Fatal(err)
	}
	if err := broker.CreateTopics(ctx, topic.Spec{Name: greetings.Name}); err != nil {
		log.Fatal(err)
	}
	p, err := producer.New(broker)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	for i, word := range []string{"hello", "你好", "hola"} {
		_, err := p.Send(ctx, record.Record{
			Topic: greetings.Name, Key: []byte("world"), Value: []byte(word),
			Timestamp: time.Date(2026, 1, 1, 12, i, 0, 0, time.UTC),
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	return broker
}

// open returns a consumer, or ends the program.
func open(broker *runnel.Broker, opts ...consumer.Option) *consumer.Consumer {
	c, err := consumer.New(broker, opts...)
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func ExampleNew() {
	broker := greeted()
	defer broker.Close()

	c, err := consumer.New(broker, consumer.Group("printer"), consumer.Topics("greetings"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	records, err := c.Poll(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range records {
		fmt.Println(r.Position(), string(r.Value))
	}
	// Output:
	// greetings-0@0 hello
	// greetings-0@1 你好
	// greetings-0@2 hola
}

func ExampleTopicsMatching() {
	broker := greeted()
	defer broker.Close()

	c := open(broker, consumer.Group("printer"), consumer.TopicsMatching("greet.*"))
	defer c.Close()
	if _, err := c.Poll(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Assignment())
	// Output: [greetings-0]
}

func ExampleFromCommitted() {
	broker := greeted()
	defer broker.Close()

	c := open(broker, consumer.Group("printer"), consumer.Topics("greetings"), consumer.FromCommitted())
	defer c.Close()
	_, err := c.Poll(context.Background())
	fmt.Println(errors.Is(err, fault.OffsetOutOfRange))
	if err := c.SeekTo(context.Background(), topic.Latest()); err != nil {
		log.Fatal(err)
	}
	lag, err := c.Lag(context.Background())
	fmt.Println(lag, err)
	// Output:
	// true
	// map[greetings-0:0] <nil>
}

func ExampleConsumer_Records() {
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics("greetings"))
	defer c.Close()

	for r, err := range c.Records(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", r.Value)
		if r.Offset == 1 {
			break // this record is not done
		}
	}
	for r := range c.Records(context.Background()) {
		fmt.Printf("again: %s\n", r.Value)
		break
	}
	// Output:
	// hello
	// 你好
	// again: 你好
}

func ExampleConsumer_Poll() {
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics("greetings"), consumer.MaxRecords(2))
	defer c.Close()

	for range 2 {
		records, err := c.Poll(context.Background()) // marks the records before as done
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(records), "records from offset", records[0].Offset)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Poll(ctx)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// 2 records from offset 0
	// 1 records from offset 2
	// true
}

func ExampleConsumer_Commit() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics("greetings"), consumer.ManualCommit())

	for r, err := range c.Records(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if r.Offset == 1 {
			if err := c.Commit(ctx); err != nil { // including the current record
				log.Fatal(err)
			}
			break
		}
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}

	c = open(broker, consumer.Group("printer"), consumer.Topics("greetings"))
	defer c.Close()
	records, err := c.Poll(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", records[0].Value)
	// Output: hola
}

func ExampleConsumer_SeekTo() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Assign(record.TopicPartition{Topic: "greetings"}))
	defer c.Close()

	if err := c.SeekTo(ctx, topic.AtTime(time.Date(2026, 1, 1, 12, 1, 0, 0, time.UTC))); err != nil {
		log.Fatal(err)
	}
	lag, err := c.Lag(ctx)
	if err != nil {
		log.Fatal(err)
	}
	records, err := c.Poll(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lag, string(records[0].Value))
	// Output: map[greetings-0:2] 你好
}

// How far is the group behind, and since when?
func ExampleLag() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()
	read := map[record.TopicPartition]consumer.Offset{{Topic: greetings.Name}: {Offset: 1, LeaderEpoch: record.NoLeaderEpoch}}
	if err := broker.SetGroupOffsets(ctx, "printer", read); err != nil {
		log.Fatal(err)
	}

	lags, err := consumer.Lag(ctx, broker, "printer")
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range lags {
		written := time.Now().Add(-l.Age).UTC()
		fmt.Printf("%s: %d of %d records are left, the first of %s\n", l.TopicPartition, l.Records, l.End, written.Format("15:04"))
	}
	// Output: greetings-0: 2 of 3 records are left, the first of 12:01
}

func ExampleOnRevoked() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()

	var c *consumer.Consumer
	c = open(broker, consumer.Group("printer"), consumer.Topics("greetings"), consumer.ManualCommit(),
		consumer.OnAssigned(func(partitions []record.TopicPartition) {
			fmt.Println("assigned", partitions)
		}),
		consumer.OnRevoked(func(partitions []record.TopicPartition) {
			fmt.Println("revoked", partitions, c.Commit(ctx)) // the last chance to commit
		}))
	if _, err := c.Poll(ctx); err != nil {
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	offsets, err := broker.GroupOffsets(ctx, "printer")
	fmt.Println(offsets[record.TopicPartition{Topic: "greetings"}].Offset, err)
	// Output:
	// assigned [greetings-0]
	// revoked [greetings-0] <nil>
	// 3 <nil>
}

func ExampleDecodeError() {
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics(greetings.Name))
	defer c.Close()

	numbers := serde.For(greetings.Name, serde.String, serde.JSON[int]())
	for _, err := range consumer.Of(c, numbers).Records(context.Background()) {
		var failed *consumer.DecodeError
		if errors.As(err, &failed) {
			fmt.Println(failed.Raw.Position(), string(failed.Raw.Value)) // store such records somewhere
		}
		if failed == nil || failed.Raw.Offset == 2 {
			break
		}
	}
	// Output:
	// greetings-0@0 hello
	// greetings-0@1 你好
	// greetings-0@2 hola
}

func ExampleOf() {
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics(greetings.Name))
	defer c.Close()

	for r, err := range consumer.Of(c, greetings).Records(context.Background()) {
		if errors.Is(err, fault.Serialization) {
			log.Print(err)
			continue // skips the record
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Value, r.Key, r.HasKey)
		if r.Offset == 2 {
			break
		}
	}
	// Output:
	// hello world true
	// 你好 world true
	// hola world true
}

func ExampleRecords() {
	broker := greeted()
	defer broker.Close()

	for r, err := range consumer.Records(context.Background(), broker, greetings, consumer.Group("printer")) {
		if err != nil {
			log.Fatal(err)
		}
		if r.Offset == 2 {
			break // this record is not done
		}
		fmt.Println(r.Key, r.Value)
	}
	for r := range consumer.Records(context.Background(), broker, greetings, consumer.Group("printer")) {
		fmt.Println("next time:", r.Value)
		break
	}
	// Output:
	// world hello
	// world 你好
	// next time: hola
}

func ExampleDecode() {
	broker := greeted()
	defer broker.Close()
	visits := serde.For("visits", serde.String, serde.Int64)
	if _, err := topic.Ensure(context.Background(), broker, topic.Spec{Name: visits.Name}); err != nil {
		log.Fatal(err)
	}
	if _, err := producer.Send(context.Background(), broker, visits, "world", 3); err != nil {
		log.Fatal(err)
	}

	c := open(broker, consumer.Group("both"), consumer.Topics(greetings.Name, visits.Name))
	defer c.Close()
	hello, visited := 0, int64(0)
	for r, err := range c.Records(context.Background()) {
		switch {
		case err != nil:
			log.Fatal(err)
		case r.Topic == greetings.Name:
			g, err := consumer.Decode(greetings, r)
			if err != nil {
				log.Fatal(err)
			}
			hello += len(g.Key)
		case r.Topic == visits.Name:
			v, err := consumer.Decode(visits, r)
			if err != nil {
				log.Fatal(err)
			}
			visited = v.Value
		}
		if hello == 15 && visited == 3 {
			break
		}
	}
	fmt.Println(hello, visited)
	// Output: 15 3
}

func ExampleRecord_Header() {
	broker := greeted()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	r, err := producer.To(p, greetings).Record("world", "ciao")
	if err != nil {
		log.Fatal(err)
	}
	r.Headers = append(r.Headers, record.Header{Key: "language", Value: []byte("it")})
	if _, err := p.Send(context.Background(), r); err != nil {
		log.Fatal(err)
	}

	for r, err := range consumer.Records(context.Background(), broker, greetings, consumer.Group("printer")) {
		if err != nil {
			log.Fatal(err)
		}
		if language, found := r.Header("language"); found {
			fmt.Printf("%s: %s\n", language, r.Value)
			break
		}
	}
	// Output: it: ciao
}

func ExampleRun() {
	broker := greeted()
	defer broker.Close()
	p, err := producer.New(broker)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics(greetings.Name))
	defer c.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	handler := func(ctx context.Context, r consumer.Record[string, string]) error {
		fmt.Println(r.Key, r.Value)
		if r.Value == "hola" {
			cancel() // the record is finished and committed nevertheless
		}
		return nil
	}
	// All three records have one key, so they are handled in their order.
	err = consumer.Run(ctx, c, consumer.Handle(greetings, handler),
		consumer.Concurrency(64), consumer.DeadLetters(p, "greetings-dead"))
	committed, _ := c.Committed(context.Background())
	fmt.Println(committed[record.TopicPartition{Topic: "greetings"}].Offset, err)
	// Output:
	// world hello
	// world 你好
	// world hola
	// 3 <nil>
}

func ExampleDeadLetters() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := greeted()
	defer broker.Close()
	dead := topic.Spec{Name: "greetings-dead"}
	if err := broker.CreateTopics(ctx, dead); err != nil {
		log.Fatal(err)
	}
	p, err := producer.New(broker)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics(greetings.Name))
	defer c.Close()

	err = consumer.Run(ctx, c, func(_ context.Context, r record.Record) error {
		switch string(r.Value) {
		case "你好":
			return errors.New("no font")
		case "hola":
			cancel()
		}
		return nil
	}, consumer.DeadLetters(p, dead.Name), consumer.Attempts(3), consumer.Backoff(time.Millisecond, time.Second))
	if err != nil {
		log.Fatal(err)
	}

	for r := range open(broker, consumer.Assign(record.TopicPartition{Topic: dead.Name})).Records(context.Background()) {
		for _, name := range []string{consumer.HeaderOffset, consumer.HeaderAttempts, consumer.HeaderMessage} {
			value, _ := r.Header(name)
			fmt.Printf("%s = %s\n", name, value)
		}
		break
	}
	// Output:
	// __consumer.errors.offset = 1
	// __consumer.errors.attempts = 3
	// __consumer.errors.message = no font
}

func ExamplePermanent() {
	broker := greeted()
	defer broker.Close()
	c := open(broker, consumer.Group("printer"), consumer.Topics(greetings.Name))
	defer c.Close()

	err := consumer.Run(context.Background(), c, func(context.Context, record.Record) error {
		return consumer.Permanent(errors.New("the printer has no paper tray"))
	})
	var given *consumer.HandlerError
	fmt.Println(errors.As(err, &given), given)
	// Output:
	// true greetings-0@0: handling it failed, attempt 1 was the last: the printer has no paper tray
}

// A dead letter, for programs that write their own.
func ExampleHandlerError_DeadLetter() {
	failed := &consumer.HandlerError{
		Raw:      record.Record{Topic: "orders", Partition: 2, Offset: 7, Value: []byte("12 tons")},
		Attempts: 5, Err: consumer.Permanent(errors.New("too heavy")),
	}
	letter := failed.DeadLetter("orders.dead", "shipping")
	offset, _ := letter.Header(consumer.HeaderOffset)
	message, _ := letter.Header(consumer.HeaderMessage)
	fmt.Printf("%s: %s, offset %s: %s\n", letter.Topic, letter.Value, offset, message)
	fmt.Println(consumer.IsPermanent(failed.Err))
	// Output:
	// orders.dead: 12 tons, offset 7: too heavy
	// true
}

// The records of one key, without reading those of others.
func ExampleHistory() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()
	if err := broker.ConfigureTopic(ctx, greetings.Name, topic.Config{KeyIndex: true}); err != nil {
		fmt.Println(err)
		return
	}
	for r, err := range consumer.History(ctx, broker, greetings, "world", consumer.ReadCommitted()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.Position(), r.Value)
	}
	// Output:
	// greetings-0@0 hello
	// greetings-0@1 你好
	// greetings-0@2 hola
}

// Where a snapshot has everything before an offset, the rest is enough.
func ExampleSince() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()
	for r, err := range consumer.History(ctx, broker, greetings, "world", consumer.Scanning(), consumer.Since(2)) {
		fmt.Println(r.Value, err)
	}
	// Output: hola <nil>
}

// A topic without an index of keys is read as a whole, if the program says so.
func ExampleScanning() {
	ctx := context.Background()
	broker := greeted()
	defer broker.Close()
	for _, err := range consumer.History(ctx, broker, greetings, "world") {
		fmt.Println(err)
	}
	for r, err := range consumer.History(ctx, broker, greetings, "world", consumer.Scanning(), consumer.OfPartition(0)) {
		fmt.Println(r.Value, err)
	}
	// Output:
	// greetings-0: the configuration is not valid: the topic has no index of keys (set runnel.key.index=true, or read the whole partition with consumer.Scanning)
	// hello <nil>
	// 你好 <nil>
	// hola <nil>
}
