package catalogue_test

import (
	"fmt"

	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/topic"
)

// A command returns records; what they do happens when they are applied, live
// and again at every replay.
func Example() {
	var log [][]byte
	live := catalogue.New()
	records, err := live.CreateTopics([]topic.Spec{{Name: "orders", Partitions: 2, Replicas: 1}}, []topic.Node{{ID: 1}},
		func() topic.ID { return topic.ID{1} })
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		log = append(log, r)
		fmt.Println(live.Apply(r))
	}

	replayed := catalogue.New()
	for _, r := range log {
		if err := replayed.Apply(r); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(replayed.Names(), len(replayed.Topic("orders").Partitions), "partitions")
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// [orders] 2 partitions
}
