package kafka_test

import (
	"context"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func ExampleConnect() {
	broker := kfake.MustCluster() // a stand-in for a cluster
	defer broker.Close()

	cluster, err := kafka.Connect(broker.ListenAddrs()[0])
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()

	// From here on, everything is as on a broker in the process.
	ctx := context.Background()
	if err := cluster.CreateTopics(ctx, topic.Spec{Name: "quickstart-events", Partitions: 3}); err != nil {
		log.Fatal(err)
	}
	p, err := producer.New(cluster)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	at, err := p.Send(ctx, record.Record{Topic: "quickstart-events", Key: []byte("greeting"), Value: []byte("这是第一条消息")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("written to", at)

	c, err := consumer.New(cluster, consumer.Group("printer"), consumer.Topics("quickstart-events"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for r, err := range c.Records(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", r.Key, r.Value)
		break
	}
	// Output:
	// written to quickstart-events-2@0
	// greeting: 这是第一条消息
}
