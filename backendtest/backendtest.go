package backendtest

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Backend is everything that a backend implements: *runnel.Broker,
// *kafka.Cluster.
type Backend interface {
	producer.Backend
	consumer.Backend
	topic.Admin
	consumer.Admin
	producer.Admin
}

// Features says how a backend differs from others. The zero value claims
// nothing.
type Features struct {
	// AtomicTopics: CreateTopics creates all topics or none.
	AtomicTopics bool

	// Durability: a topic's Durability is kept, and DescribeTopics knows the
	// durable offset and the size of each partition.
	Durability bool

	// AppendTime: records of a topic whose Timestamps are LogAppendTime have
	// the time at which they were appended. (kfake keeps the setting, and the
	// producer's time.)
	AppendTime bool

	// StaticMembers: a static member that returns within its session timeout
	// gets its partitions back, without a change for the others of its group.
	StaticMembers bool

	// Preconditions: SendIf works. Otherwise it is fault.UnsupportedVersion.
	Preconditions bool

	// ShareGroups: package share works. Otherwise opening a consumer of a share group, where
	// the backend has a method for that, is fault.UnsupportedVersion.
	ShareGroups bool

	// FirstOffset is the offset of the first record of every partition. Before it a
	// partition has control records, which take offsets and which no program sees: where
	// partitions are replica groups, the one with which the first leader begins. There the
	// deletion of records takes an offset, too.
	FirstOffset int64

	// Lags: readers see what was acknowledged a moment later, because a node reads the copy
	// that it has itself. Without it, they see it at once.
	Lags bool

	// LeadersMove: partitions get other leaders while the suite runs, each of which takes an
	// offset; but those of topics that are Still do not.
	LeadersMove bool

	// Replicas is how many replicas a partition has where the topic does not say; 0 is 1.
	Replicas int

	// RefusesConsumers is the error for an ordinary consumer that joins the
	// group of a running streams application. If it is nil, the backend may let
	// the consumer in.
	RefusesConsumers error

	// Mark sends a record with the value "marked" to a partition, in a
	// transaction that it then commits. The record is followed by a marker,
	// which takes an offset and which no program sees.
	Mark func(t *testing.T, b Backend, tp record.TopicPartition)
}

// stillPrefix is how the names of topics begin whose offsets a test counts.
const stillPrefix = "still-"

// Still reports whether a topic of the suite's must keep its leaders while it runs, because
// a test counts its offsets. See Features.LeadersMove.
func Still(topic string) bool { return strings.HasPrefix(topic, stillPrefix) }

// Marker returns a transaction's marker as it is stored in a log, for a Mark
// that appends it itself.
func Marker() record.Batch {
	key, value := []byte{0, 0, 0, 1}, make([]byte, 6) // version 0, commit; version 0, coordinator epoch 0
	size := record.Size(0, 0, key, value, nil)
	raw := make([]byte, record.HeaderLen+size)
	record.Put(raw[record.HeaderLen:], 0, 0, key, value, nil)
	return record.Seal(raw, record.BatchHeader{
		Attributes: record.AttrControl | record.AttrTransactional, Count: 1,
		ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
	})
}

// Run runs the whole suite, each test on a backend of its own that open
// returns. open closes it with t.Cleanup; it may also return the same one every
// time.
func Run(t *testing.T, open func(t *testing.T) Backend, features Features) {
	run(t, features, func(t *testing.T, test test) {
		t.Parallel()
		test.run(newSuite(t, open(t), features))
	})
}

// RunInBubble is Run with each test in a testing/synctest bubble, for backends that live in
// one process, of which open returns a new one every time. There a slow machine is no
// reason for a node to take another one for dead.
func RunInBubble(t *testing.T, open func(t *testing.T) Backend, features Features) {
	run(t, features, func(t *testing.T, test test) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test.run(newSuite(t, open(t), features)) })
	})
}

func run(t *testing.T, features Features, do func(t *testing.T, test test)) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"topics", topicTests},
		{"offsets", offsetTests},
		{"records", recordTests},
		{"producing", producingTests},
		{"preconditions", preconditionTests},
		{"history", historyTests},
		{"sharing", sharingTests},
		{"closing a producer", closingProducerTests},
		{"consuming", consumingTests},
		{"waiting", waitingTests},
		{"leasing", leasingTests},
		{"committing", committingTests},
		{"markers", markerTests},
		{"transactions", transactionTests},
		{"offsets in a transaction", transactionOffsetTests},
		{"transaction admin", transactionAdminTests},
		{"groups", groupTests},
		{"starting", startingTests},
		{"closing", closingTests},
		{"when the program does not return,", goexitTests},
		{"group admin", groupAdminTests},
		{"programs", programTests},
		{"running handlers", runningTests},
		{"streams", streamsTests},
	} {
		if group.name == "markers" && features.Mark == nil {
			continue
		}
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) { do(t, test) })
			}
		})
	}
}

// test is one requirement on a backend.
type test struct {
	name string
	run  func(s *suite)
}
