package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// must ends an example on an error.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// tempDir returns a directory and what removes it.
func tempDir() (dir string, remove func()) {
	parent, err := os.MkdirTemp("", "runnel")
	must(err)
	return filepath.Join(parent, "data"), func() { _ = os.RemoveAll(parent) }
}

// What was acknowledged is on disk, and there when the directory is opened
// again.
func ExampleOpen() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()

	broker, err := runnel.Open(dir)
	must(err)
	must(broker.CreateTopics(ctx, topic.Spec{Name: "quickstart-events", Partitions: 3}))
	p, err := producer.New(broker)
	must(err)
	at, err := p.Send(ctx, record.Record{Topic: "quickstart-events", Key: []byte("k"), Value: []byte("This is my first event")})
	must(err)
	fmt.Println(at)
	must(broker.Close()) // and with it the producer

	broker, err = runnel.Open(dir)
	must(err)
	defer broker.Close()
	c, err := consumer.New(broker, consumer.Group("printer"), consumer.Topics("quickstart-events"))
	must(err)
	for r, err := range c.Records(ctx) {
		must(err)
		fmt.Println(string(r.Value))
		break
	}
	// Output:
	// quickstart-events-2@0
	// This is my first event
}

// A directory belongs to one broker at a time.
func ExampleOpen_locked() {
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir)
	must(err)
	defer broker.Close()

	_, err = runnel.Open(dir)
	fmt.Println(errors.Is(err, fault.Locked))
	// Output: true
}

func ExampleOpenMemory() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))

	p, err := producer.New(broker)
	must(err)
	for _, v := range []string{"one tea", "two coffees"} {
		at, err := p.Send(ctx, record.Record{Topic: "orders", Value: []byte(v)})
		must(err)
		fmt.Println(at)
	}
	// Output:
	// orders-0@0
	// orders-0@1
}

func ExampleDefaultPartitions() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory(runnel.DefaultPartitions(6))
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	d, err := broker.DescribeTopics(ctx, "orders")
	must(err)
	fmt.Println(len(d[0].Partitions), "partitions")
	// Output: 6 partitions
}

// Records that may be lost with the power are acknowledged without waiting for
// the disk.
func ExampleDefaultDurability() {
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	must(err)
	defer broker.Close()
	// A topic that must not lose any says so itself.
	must(broker.CreateTopics(context.Background(),
		topic.Spec{Name: "clicks"}, topic.Spec{Name: "payments", Config: topic.Config{Durability: topic.Fsync}}))
	// Output:
}

func ExampleBroker_CreateTopics() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{
		Name: "prices", Partitions: 2, Config: topic.Config{Cleanup: topic.Compact},
	}))
	fmt.Println(broker.CreateTopics(ctx, topic.Spec{Name: "prices"}))
	fmt.Println(broker.CreateTopics(ctx, topic.Spec{Name: "pri/ces"}))
	// Output:
	// prices: a topic of this name exists already
	// the topic's name is not valid: "pri/ces": a name consists of a-z, A-Z, 0-9, '.', '_' and '-'
}

func ExampleBroker_DescribeTopics() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2, Config: topic.Config{Cleanup: topic.Compact}}))
	topics, err := broker.DescribeTopics(ctx, "orders")
	must(err)
	for _, d := range topics {
		fmt.Println(d.Name, d.Config.Entries())
		for _, p := range d.Partitions {
			fmt.Println(p.Number, p.Leader, p.Replicas, p.ISR, p.StartOffset, p.HighWatermark)
		}
	}
	_, err = broker.DescribeTopics(ctx, "order")
	fmt.Println(err)
	// Output:
	// orders [cleanup.policy=compact]
	// 0 1 [1] [1] 0 0
	// 1 1 [1] [1] 0 0
	// order: there is no such topic or partition (did you mean orders? Otherwise create it with CreateTopics(ctx, topic.Spec{Name: "order"}))
}

func ExampleBroker_Cleanup() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "visits", Config: topic.Config{Retention: 24 * time.Hour}}))
	p, err := producer.New(broker)
	must(err)
	defer p.Close()
	_, err = p.Send(ctx, record.Record{Topic: "visits", Value: []byte("long ago"), Timestamp: time.Now().Add(-48 * time.Hour)})
	must(err)
	cleaned, err := broker.Cleanup(ctx)
	must(err)
	for _, c := range cleaned {
		fmt.Println(c.TopicPartition, "gave back", c.Bytes, "bytes")
	}
	topics, err := broker.DescribeTopics(ctx, "visits")
	must(err)
	fmt.Println("it starts at", topics[0].Partitions[0].StartOffset)
	// Output:
	// visits-0 gave back 76 bytes
	// it starts at 1
}

func ExampleBroker_AddPartitions() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2}))
	must(broker.AddPartitions(ctx, "orders", 3))
	fmt.Println(broker.AddPartitions(ctx, "orders", 3))
	// Output: orders: the number of partitions is not valid: it has 3 already, and partitions are never taken away
}

func ExampleBroker_ConfigureTopic() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	must(broker.ConfigureTopic(ctx, "orders", topic.Config{MaxMessageBytes: 100}))

	p, err := producer.New(broker)
	must(err)
	_, err = p.Send(ctx, record.Record{Topic: "orders", Value: make([]byte, 200)})
	fmt.Println(errors.Is(err, fault.RecordTooLarge))
	// Output: true
}

func ExampleBroker_DeleteTopics() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
	must(broker.DeleteTopics(ctx, "orders"))
	names, err := broker.Topics(ctx)
	must(err)
	fmt.Println(names)
	// Output: [visits]
}

func ExampleBroker_ListOffsets() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	p, err := producer.New(broker)
	must(err)
	for range 3 {
		_, err := p.Send(ctx, record.Record{Topic: "orders", Value: []byte("tea")})
		must(err)
	}

	tp := record.TopicPartition{Topic: "orders", Partition: 0}
	_, err = broker.DeleteRecords(ctx, map[record.TopicPartition]int64{tp: 1})
	must(err)
	for _, spec := range []topic.OffsetSpec{topic.Earliest(), topic.Latest()} {
		offsets, err := broker.ListOffsets(ctx, spec, tp)
		must(err)
		fmt.Println(offsets[tp].Offset)
	}
	// Output:
	// 1
	// 3
}

// byWeight gives a member twice as many partitions whose client ID says that it is large.
type byWeight struct{}

func (byWeight) Name() string { return "weight" }

func (byWeight) Assign(group consumer.GroupSpec) (map[string][]record.TopicPartition, error) {
	var turns []string // of members: a large one has two
	for _, m := range group.Members {
		turns = append(turns, m.ID)
		if m.ClientID == "large" {
			turns = append(turns, m.ID)
		}
	}
	given, turn := map[string][]record.TopicPartition{}, 0
	for _, name := range slices.Sorted(maps.Keys(group.Topics)) {
		for n := range group.Topics[name] {
			id := turns[turn%len(turns)]
			given[id] = append(given[id], record.TopicPartition{Topic: name, Partition: int32(n)})
			turn++
		}
	}
	return given, nil
}

func ExampleAssignors() {
	ctx := context.Background()
	broker, err := runnel.OpenMemory(runnel.Assignors(byWeight{}))
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 6}))
	for _, size := range []string{"small", "large"} {
		c, err := broker.OpenConsumer(ctx, consumer.Config{ // as consumer.New does, with consumer.Assignor("weight")
			Group: "kitchen", Topics: []string{"orders"}, Assignor: "weight", ClientID: size, MaxRecords: 1, MaxBytes: 1,
			SessionTimeout: consumer.DefaultSessionTimeout, RebalanceTimeout: consumer.DefaultRebalanceTimeout,
		})
		must(err)
		defer c.Close()
		_, err = c.Fetch(ctx, 0, nil) // joins
		must(err)
	}
	groups, err := broker.DescribeGroups(ctx, "kitchen")
	must(err)
	shares := map[string]int{}
	for _, m := range groups[0].Members {
		shares[m.ClientID] = len(m.Target)
	}
	fmt.Println(groups[0].Assignor, shares)
	// Output: weight map[large:4 small:2]
}

func ExampleBroker_Recovery() {
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir)
	must(err)
	defer broker.Close()
	r := broker.Recovery()
	fmt.Println("clean:", r.Clean)
	for _, p := range r.Partitions {
		fmt.Println(p.TopicPartition, p.Batches, p.Cut, p.Err)
	}
	// Output: clean: true
}

func ExampleBroker_Verify() {
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	fmt.Println(broker.Verify(context.Background()))
	// Output: <nil>
}

func ExampleBroker_Sessions() {
	broker, err := runnel.OpenMemory()
	must(err)
	p, err := producer.New(broker)
	must(err)
	fmt.Println(broker.Sessions())
	must(p.Close())
	fmt.Println(broker.Sessions())
	must(broker.Close())
	// Output:
	// 1
	// 0
}
