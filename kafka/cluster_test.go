package kafka_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func TestConnect(t *testing.T) {
	seeds := fake(t)
	for _, s := range []string{seeds, "kafka://" + seeds, "kafka://" + seeds + "/", " " + seeds + " , " + seeds} {
		names, err := connect(t, s, kafka.ClientID("test")).Topics(t.Context())
		require.NoError(t, err, s)
		require.Empty(t, names)
	}
	for _, s := range []string{"", "kafka://", " , "} {
		_, err := kafka.Connect(s)
		require.ErrorIs(t, err, fault.InvalidConfig, "%q", s)
		require.ErrorContains(t, err, "localhost:9092")
	}
	_, err := kafka.Connect(seeds, kafka.Client(kgo.MetadataMinAge(time.Hour), kgo.MetadataMaxAge(time.Second)))
	require.ErrorIs(t, err, fault.InvalidConfig)
}

func TestConnectToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	_, err = kafka.Connect(address, kafka.Timeout(50*time.Millisecond))
	require.ErrorIs(t, err, fault.TimedOut)
	require.ErrorContains(t, err, "no Kafka broker answers at "+address)
}

// Closing the cluster closes its sessions, and nothing works afterwards.
func TestCloseClosesSessions(t *testing.T) {
	cluster := connect(t, fake(t))
	ctx := t.Context()
	require.NoError(t, cluster.CreateTopics(ctx, topic.Spec{Name: "events", Partitions: 1}))
	p, err := producer.New(cluster, producer.Linger(time.Hour))
	require.NoError(t, err)
	told := make(chan error, 1)
	p.SendAsync(ctx, record.Record{Topic: "events"}, func(_ record.Position, err error) { told <- err })
	c, err := consumer.New(cluster, consumer.Group("g"), consumer.Topics("events"))
	require.NoError(t, err)
	polled := make(chan error, 1)
	go func() {
		_, err := c.Poll(ctx)
		polled <- err
	}()

	require.NoError(t, cluster.Close())
	require.ErrorIs(t, <-told, fault.Closed)
	require.ErrorIs(t, <-polled, fault.Closed)
	require.NoError(t, cluster.Close())
	_, err = cluster.Topics(ctx)
	require.ErrorIs(t, err, fault.Closed)
	_, err = cluster.OpenProducer(ctx, producer.Config{})
	require.ErrorIs(t, err, fault.Closed)
	_, err = cluster.OpenConsumer(ctx, consumer.Config{})
	require.ErrorIs(t, err, fault.Closed)
	require.NoError(t, c.Close())
	require.NoError(t, p.Close())
}

// A change made elsewhere reaches open sessions: with server-side groups at
// once, and a writer when it needs a partition that it does not know.
func TestTwoClustersAreOne(t *testing.T) {
	seeds := fake(t)
	one, two := connect(t, seeds), connect(t, seeds)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, one.CreateTopics(ctx, topic.Spec{Name: "events", Partitions: 1}))
	p, err := producer.New(one, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Send(ctx, record.Record{Topic: "events"})
	require.NoError(t, err)
	require.NoError(t, two.AddPartitions(ctx, "events", 2))
	session, err := one.OpenProducer(ctx, producer.Config{BatchBytes: 1 << 20, BufferBytes: 1 << 20})
	require.NoError(t, err)
	defer session.Close()
	w, err := session.Topic(ctx, "events")
	require.NoError(t, err)
	at, err := w.Send(ctx, record.Record{Topic: "events", Partition: 1})
	require.NoError(t, err)
	require.Equal(t, record.Position{Topic: "events", Partition: 1}, at)
}

// A producer whose cluster has gone closes within its bound, and reports what
// it has lost.
func TestCloseWithoutCluster(t *testing.T) {
	fakes, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	require.NoError(t, err)
	defer fakes.Close()
	cluster := connect(t, fakes.ListenAddrs()[0])
	p, err := producer.New(cluster, producer.CloseTimeout(50*time.Millisecond))
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
	fakes.Close()
	told := make(chan error, 1)
	p.SendAsync(t.Context(), record.Record{Topic: "orders"}, func(_ record.Position, err error) { told <- err })
	err = p.Close()
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorContains(t, err, "within 50ms")
	require.ErrorIs(t, <-told, fault.Closed)
}
