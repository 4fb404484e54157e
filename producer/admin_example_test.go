package producer_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// A transaction that takes too long is aborted: readers of committed records go on.
func ExampleAdmin() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	p, err := producer.New(broker, producer.TransactionalID("shop"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	if err := p.Begin(ctx); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := p.Send(ctx, record.Record{Topic: "greetings", Value: []byte("hello")}); err != nil {
		fmt.Println(err)
		return
	}
	var admin producer.Admin = broker
	show := func() {
		described, err := admin.DescribeTransactions(ctx, "shop")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(described[0].State, described[0].Partitions)
	}
	show()
	fmt.Println(admin.ForceTerminateTransaction(ctx, "shop"))
	show()
	// Output:
	// Ongoing [greetings-0]
	// <nil>
	// CompleteAbort []
}

func ExampleFindHanging() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	partition := record.TopicPartition{Topic: "greetings"}
	hanging, err := producer.FindHanging(ctx, broker, producer.MaxTransactionTimeout, partition)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, h := range hanging {
		err = errors.Join(err, producer.AbortHanging(ctx, broker, h.TopicPartition, h.TransactionStart))
	}
	fmt.Println(len(hanging), err)
	// Output: 0 <nil>
}

func ExampleAbortHanging() {
	broker := exampleBroker()
	defer broker.Close()
	fmt.Println(producer.AbortHanging(context.Background(), broker, record.TopicPartition{Topic: "greetings"}, 7))
	// Output: greetings-0 at offset 7: the transaction's state does not allow this: no open transaction begins there
}
