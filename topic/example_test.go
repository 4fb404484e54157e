package topic_test

import (
	"fmt"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func ExampleConfig() {
	cfg := topic.Config{Cleanup: topic.Compact, Retention: 24 * time.Hour}
	for _, e := range cfg.Entries() {
		fmt.Println(e)
	}
	// Output:
	// cleanup.policy=compact
	// retention.ms=86400000
}

func ExampleConfig_Set() {
	var cfg topic.Config
	fmt.Println(cfg.Set("segment.bytes", "1048576"), cfg.SegmentBytes)
	fmt.Println(cfg.Set("segment.byte", "1048576"))
	// Output:
	// <nil> 1048576
	// the configuration is not valid: there is no setting "segment.byte" (did you mean segment.bytes or segment.ms?)
}

func ExampleConfig_Validate() {
	fmt.Println(topic.Config{SegmentBytes: 1, MinReplicas: -1}.Validate())
	// Output:
	// the configuration is not valid: segment.bytes must be from 14 to 2147483647: 1
	// the configuration is not valid: min.insync.replicas must be positive: -1
}

func ExampleValidateName() {
	fmt.Println(topic.ValidateName("orders"))
	fmt.Println(topic.ValidateName("../orders"))
	// Output:
	// <nil>
	// the topic's name is not valid: "../orders": a name consists of a-z, A-Z, 0-9, '.', '_' and '-'
}

func ExampleDefaultPartitioner() {
	choose := topic.DefaultPartitioner("orders", 16384)
	for _, key := range []string{"alice", "bob", "alice"} {
		fmt.Println(key, choose(record.Record{Key: []byte(key)}, 6))
	}
	// Output:
	// alice 3
	// bob 0
	// alice 3
}

func ExampleCustomPartitioner() {
	vip := topic.CustomPartitioner(func(r record.Record, partitions int32) int32 {
		if string(r.Key) == "vip" {
			return 0
		}
		return 1 + topic.PartitionForKey(r.Key, partitions-1)
	})
	choose := vip("orders", 16384)
	fmt.Println(choose(record.Record{Key: []byte("vip")}, 6))
	// Output: 0
}

func ExampleNearest() {
	fmt.Println(topic.Nearest("ordres", []string{"orders", "visits"}))
	// Output: [orders]
}
