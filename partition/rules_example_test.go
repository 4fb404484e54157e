package partition_test

import (
	"fmt"

	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
)

// A node without a copy of a partition refuses what the partition's leader would refuse.
func ExampleNewRules() {
	rules := partition.NewRules(partition.Config{
		Log:      log.Config{Topic: "orders", Partition: 3},
		Settings: partition.Settings{MaxMessageBytes: 1 << 20},
	})
	fmt.Println(rules.CheckSize(1000))
	fmt.Println(rules.CheckSize(2 << 20))
	// Output:
	// <nil>
	// orders-3: the record is larger than max.message.bytes: 2097152 bytes, at most 1048576 are allowed
}
