package runnel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Close closes producers and consumers that are still open.
func TestCloseEndsSessions(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		p, err := producer.New(b)
		require.NoError(t, err)
		c, err := consumer.New(b, consumer.Topics("orders"), consumer.Group("g"))
		require.NoError(t, err)
		waiting := make(chan error)
		go func() {
			_, err := c.Poll(t.Context())
			waiting <- err
		}()
		require.NoError(t, b.Close())
		require.ErrorIs(t, <-waiting, fault.Closed)
		_, err = p.Send(t.Context(), record.Record{Topic: "orders"})
		require.ErrorIs(t, err, fault.Closed)
		require.NoError(t, p.Close())
		require.NoError(t, c.Close())
	})
}

// A consumer whose topic is deleted waits for the next one of that name.
func TestDeleteWhileReading(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		tp := record.TopicPartition{Topic: "orders"}
		write(t, b, tp, "a")
		c, err := consumer.New(b, consumer.Assign(tp))
		require.NoError(t, err)
		defer c.Close()
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, batch, 1)
		kept := batch[0]

		brought := make(chan string)
		go func() {
			batch, err := c.Poll(t.Context())
			require.NoError(t, err)
			brought <- string(batch[0].Value)
		}()
		require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		write(t, b, tp, "of its successor")
		require.Equal(t, "of its successor", <-brought)
		require.Equal(t, "a", string(kept.Value), "what was read stays")
	})
}

func TestVerifyFindsWhatAProgramDidToItsRecords(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	tp := record.TopicPartition{Topic: "orders"}
	write(t, b, tp, "read-only")
	require.NoError(t, b.Verify(t.Context()))

	c, err := consumer.New(b, consumer.Assign(tp))
	require.NoError(t, err)
	defer c.Close()
	batch, err := c.Poll(t.Context())
	require.NoError(t, err)
	batch[0].Value[0] = 'R'
	err = b.Verify(t.Context())
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.ErrorContains(t, err, "orders-0")
	batch[0].Value[0] = 'r'
	require.NoError(t, b.Verify(t.Context()))
}
