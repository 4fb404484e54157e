package runnel_test

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A second program works on the directory that the first one holds.
func ExampleAttach() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir) // in one process
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))

	remote, err := runnel.Attach(dir) // in another one
	must(err)
	defer remote.Close()
	p, err := producer.New(remote)
	must(err)
	defer p.Close()
	at, err := p.Send(ctx, record.Record{Topic: "orders", Value: []byte("one tea")})
	must(err)
	fmt.Println("sent", at)

	c, err := consumer.New(broker, consumer.Group("kitchen"), consumer.Topics("orders"))
	must(err)
	defer c.Close()
	batch, err := c.Poll(ctx)
	must(err)
	fmt.Println("read", string(batch[0].Value))
	groups, err := remote.DescribeGroups(ctx, "kitchen")
	must(err)
	fmt.Println("assigned", groups[0].Members[0].Assigned)
	// Output:
	// sent orders-0@0
	// read one tea
	// assigned [orders-0]
}

func ExampleBroker_Socket() {
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir)
	must(err)
	defer broker.Close()
	path, err := broker.Socket()
	fmt.Println(filepath.Base(path), err)
	// Output: .runnel.sock <nil>
}

func ExampleNoSocket() {
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir, runnel.NoSocket())
	must(err)
	defer broker.Close()
	_, err = runnel.Attach(dir)
	fmt.Println(err != nil)
	// Output: true
}
