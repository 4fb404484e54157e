package runnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
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

	found, err := datadir.Inspect(ctx, dir, nil)
	must(err)
	for _, p := range found.Partitions {
		fmt.Println(p.TopicPartition, p.Batches, "batches,", len(p.Findings), "findings")
	}
	// Output:
	// __cluster_metadata-0 2 batches, 0 findings
	// orders-0 0 batches, 0 findings
}

// A backup is taken while the broker is used, and makes a data directory again.
func ExampleBroker_Backup() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.OpenMemory()
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	p, err := producer.New(broker)
	must(err)
	_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte("first")})
	must(err)

	var backup bytes.Buffer // a file, usually
	must(broker.Backup(ctx, &backup))

	must(datadir.Restore(ctx, dir, &backup))
	restored, err := runnel.Open(dir)
	must(err)
	defer restored.Close()
	described, err := restored.DescribeTopics(ctx, "orders")
	must(err)
	fmt.Println(described[0].Partitions[0].HighWatermark, "record")
	// Output: 1 record
}

// What is not whole is refused, and leaves nothing.
func ExampleRestore() {
	dir, remove := tempDir()
	defer remove()
	err := datadir.Restore(context.Background(), dir, strings.NewReader(""))
	fmt.Println(err)
	// Output: the bytes do not match their checksum or their format: the backup: it ends before its list of contents (nothing was restored; take another backup)
}

// Without damage there is nothing to repair.
func ExampleRepair() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir)
	must(err)
	must(broker.CreateTopics(ctx, topic.Spec{Name: "orders"}))
	must(broker.Close())

	steps, err := datadir.Repair(ctx, dir, datadir.RepairOptions{DryRun: true})
	must(err)
	fmt.Println(len(steps), "steps")
	// Output: 0 steps
}

// What is not a Kafka broker's log directory is refused, and nothing is created.
func ExampleImport() {
	dir, remove := tempDir()
	defer remove()
	_, err := datadir.Import(context.Background(), dir, []string{dir}, datadir.ImportOptions{
		Progress: func(p datadir.ImportProgress) { fmt.Println(p.Partition, p.Done, "of", p.Total, "bytes") },
	})
	fmt.Println(errors.Is(err, fault.InvalidConfig))
	// Output: true
}
