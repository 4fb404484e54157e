package producer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// row is a row of a database's outbox: it was inserted by the SQL transaction that changed
// what it tells of.
type row struct {
	id         int64
	key, value string
}

// Each row of an outbox becomes one record, however often a relay meets it. docs/outbox.md
// explains it.
func Example_outbox() {
	ctx := context.Background()
	broker := exampleBroker()
	defer broker.Close()
	changes := serde.For("changes", serde.String, serde.String)
	if err := broker.CreateTopics(ctx, topic.Spec{Name: changes.Name, Config: topic.Config{KeyIndex: true}}); err != nil {
		fmt.Println(err)
		return
	}
	p, err := producer.New(broker)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	publish := func(r row) error {
		for {
			condition, last := producer.IfAbsent(), int64(0)
			for known, err := range consumer.History(ctx, broker, changes, r.key) {
				if err != nil {
					return err
				}
				id, _ := known.Header("outbox-id")
				last, _ = strconv.ParseInt(string(id), 10, 64)
				condition = producer.IfKeyAt(known.Offset)
			}
			if last >= r.id {
				fmt.Println("row", r.id, "was written before")
				return nil
			}
			out, err := producer.To(p, changes).Record(r.key, r.value)
			if err != nil {
				return err
			}
			out.Headers = []record.Header{{Key: "outbox-id", Value: strconv.AppendInt(nil, r.id, 10)}}
			at, err := p.SendIf(ctx, out, condition)
			if errors.Is(err, fault.PreconditionFailed) || errors.Is(err, fault.UnknownOutcome) {
				continue
			}
			fmt.Println("row", r.id, "is", at)
			return err
		}
	}
	rows := []row{{1, "ann", "moved to Oslo"}, {2, "bob", "signed up"}, {2, "bob", "signed up"}, {3, "ann", "moved to Rome"}}
	for _, r := range rows { // the relay ended before it had marked the second one
		if err := publish(r); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// row 1 is changes-0@0
	// row 2 is changes-0@1
	// row 2 was written before
	// row 3 is changes-0@2
}
