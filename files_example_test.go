package runnel_test

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/topic"
)

// A directory that was closed is read through: nothing is wrong with it.
func ExampleInspect() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir)
	must(err)
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	must(broker.Close())

	found, err := runnel.Inspect(ctx, dir, nil)
	must(err)
	for _, p := range found.Partitions {
		fmt.Println(p.TopicPartition, p.Batches, "batches,", len(p.Findings), "findings")
	}
	// Output:
	// __cluster_metadata-0 2 batches, 0 findings
	// orders-0 0 batches, 0 findings
}
