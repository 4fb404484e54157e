package consumer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A loop is closed by another goroutine at any moment. Its body and the callbacks
// share variables that nothing guards, so the race detector sees it when they run
// beside each other. Together, the consumers get every record once: each record
// whose body returned is committed.
func TestCloseBesideALoopAtAnyMoment(t *testing.T) {
	const records = 2_000
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	require.NoError(t, broker.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	p, err := producer.New(broker)
	require.NoError(t, err)
	for i := range records {
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Key: fmt.Append(nil, i)}, nil)
	}
	require.NoError(t, p.Close())

	seen := map[string]int{}
	for cycle := 0; len(seen) < records && cycle < 10*records; cycle++ {
		owned, revoked := 0, 0
		c, err := consumer.New(broker, consumer.Group("g"), consumer.Topics("orders"), consumer.MaxRecords(7),
			consumer.OnAssigned(func(ps []record.TopicPartition) { owned += len(ps) }),
			consumer.OnRevoked(func(ps []record.TopicPartition) { revoked += len(ps) }))
		require.NoError(t, err)
		closed := make(chan error, 1)
		time.AfterFunc(time.Duration(rand.IntN(500))*time.Microsecond, func() { closed <- c.Close() })
		for r, err := range c.Records(t.Context()) {
			if err != nil {
				require.ErrorIs(t, err, fault.Closed)
				continue
			}
			require.Positive(t, owned-revoked, "the body runs while the partition is owned")
			seen[string(r.Key)]++
		}
		require.NoError(t, <-closed)
		require.Equal(t, owned, revoked)
	}
	require.Len(t, seen, records)
	for key, n := range seen {
		require.Equal(t, 1, n, "record %s", key)
	}
}
