package runnel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestReplicatedBroker has a broker whose partitions are replicas: what the group has
// not committed is neither acknowledged nor read, and a follower takes nothing.
func TestReplicatedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		b, err := runnel.OpenMemory(runnel.Replicated(r))
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.CloseNow()
		c, err := consumer.New(b, consumer.Group("printer"), consumer.Topics("orders"))
		require.NoError(t, err)
		defer c.Close()

		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("first")})
		require.NoError(t, err)
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)

		release := r.Group("orders-0").Hold()
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = p.Send(soon, record.Record{Topic: "orders", Value: []byte("second")})
		require.ErrorIs(t, err, fault.UnknownOutcome, "no majority has it yet")
		d := ordersNow(t, b)
		require.EqualValues(t, 1, d.HighWatermark)
		require.EqualValues(t, 2, d.EndOffset)
		require.EqualValues(t, 7, d.Leader)
		require.Equal(t, []int32{7}, d.Replicas)
		require.Equal(t, []int32{7}, d.ISR)
		release()
		batch, err = c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)
		require.Equal(t, "second", string(batch[0].Value))

		r.Group("orders-0").Depose()
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("third")})
		require.ErrorIs(t, err, fault.NotLeader)
		require.True(t, fault.Retriable(err))
		require.EqualValues(t, -1, ordersNow(t, b).Leader)
		r.Group("orders-0").Elect()
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("third")})
		require.NoError(t, err)
		require.EqualValues(t, 3, ordersNow(t, b).HighWatermark)
	})
}

func ordersNow(t *testing.T, b *runnel.Broker) topic.PartitionDescription {
	d, err := b.DescribeTopics(t.Context(), "orders")
	require.NoError(t, err)
	return d[0].Partitions[0]
}

func TestANodesNumberIsPositive(t *testing.T) {
	_, err := runnel.OpenMemory(runnel.Replicated(unnumbered{hosttest.NewReplication()}))
	require.ErrorIs(t, err, fault.InvalidConfig)
}

type unnumbered struct{ *hosttest.Replication }

func (unnumbered) Node() int32 { return 0 }
