package replica_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/topic"
)

// BenchmarkRead reads records of 100 bytes on the node that has the only copy, and on one
// that has none.
func BenchmarkRead(b *testing.B) {
	peers, network := map[replica.NodeID]string{1: "a", 2: "b"}, memory.New()
	var brokers []*runnel.Broker
	for id := replica.NodeID(1); id <= 2; id++ {
		n, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: network.Node(peers[id]), Peers: peers})
		require.NoError(b, err)
		defer n.Close()
		broker, err := runnel.OpenMemory(runnel.Replicated(n))
		require.NoError(b, err)
		defer broker.Close()
		brokers = append(brokers, broker)
	}
	require.NoError(b, brokers[0].CreateTopics(b.Context(), topic.Spec{Name: "orders", Partitions: 1, Replicas: 1}))
	p, err := producer.New(brokers[0])
	require.NoError(b, err)
	const count = 200_000
	for range count {
		p.SendAsync(b.Context(), record.Record{Topic: "orders", Value: make([]byte, 90)}, nil)
	}
	require.NoError(b, p.Close())
	at := record.TopicPartition{Topic: "orders"}
	d, err := brokers[0].DescribeTopics(b.Context(), "orders")
	require.NoError(b, err)
	keeps := d[0].Partitions[0].Replicas[0]
	for name, broker := range map[string]*runnel.Broker{"copy": brokers[keeps-1], "none": brokers[2-keeps]} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(100 * count)
			for b.Loop() {
				c, err := consumer.New(broker, consumer.Assign(at))
				require.NoError(b, err)
				for n := 0; n < count; {
					batch, err := c.Poll(b.Context())
					require.NoError(b, err)
					n += len(batch)
				}
				require.NoError(b, c.Close())
			}
		})
	}
}
