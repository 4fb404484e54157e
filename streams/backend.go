package streams

import (
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/topic"
)

// Backend is what topologies run on: *runnel.Broker in this process, the kafka
// module on a Kafka cluster.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
}
