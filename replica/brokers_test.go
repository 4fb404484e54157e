package replica_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/topic"
)

// brokers are three brokers, each on a node of one cluster.
type brokers struct {
	t       *testing.T
	nodes   [3]*replica.Node
	brokers [3]*runnel.Broker // nil once closed
}

func startBrokers(t *testing.T) *brokers {
	t.Helper()
	c, network := &brokers{t: t}, memory.New()
	peers := map[replica.NodeID]string{1: "a", 2: "b", 3: "c"}
	for i := range c.nodes {
		id := replica.NodeID(i + 1)
		n, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: network.Node(peers[id]), Peers: peers})
		require.NoError(t, err)
		b, err := runnel.OpenMemory(runnel.Replicated(n))
		require.NoError(t, err)
		c.nodes[i], c.brokers[i] = n, b
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	return c
}

// stop closes a broker with its node.
func (c *brokers) stop(i int) {
	if c.brokers[i] == nil {
		return
	}
	require.NoError(c.t, c.brokers[i].Close())
	require.NoError(c.t, c.nodes[i].Close())
	c.brokers[i] = nil
}

// alive returns a broker that is open.
func (c *brokers) alive() *runnel.Broker {
	for _, b := range c.brokers {
		if b != nil {
			return b
		}
	}
	return nil
}

// TestThreeBrokersKeepATopicAlive has three brokers of one program's copies. A topic
// that one creates is on all of them; what is sent by any can be read on each; and when
// the leader of its partition goes, the others go on with all that was acknowledged.
func TestThreeBrokersKeepATopicAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startBrokers(t)
		require.NoError(t, c.brokers[1].CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1, Replicas: 3}))
		var sent []string
		send := func(b *runnel.Broker, n int) {
			t.Helper()
			p, err := producer.New(b)
			require.NoError(t, err)
			for range n {
				v := fmt.Sprint("record ", len(sent))
				_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(v)})
				require.NoError(t, err)
				sent = append(sent, v)
			}
			require.NoError(t, p.Close())
		}
		same := func() {
			t.Helper()
			time.Sleep(time.Second) // until followers know what is committed
			for i, b := range c.brokers {
				if b == nil {
					continue
				}
				require.Equal(t, sent, valuesOn(t, b, len(sent)), "broker %d", i)
			}
		}
		time.Sleep(time.Second) // until all have followed the catalogue
		for _, b := range c.brokers {
			d, err := b.DescribeTopics(t.Context(), "orders")
			require.NoError(t, err)
			require.ElementsMatch(t, []int32{1, 2, 3}, d[0].Partitions[0].Replicas)
			send(b, 5)
		}
		same()

		d, err := c.alive().DescribeTopics(t.Context(), "orders")
		require.NoError(t, err)
		leader := d[0].Partitions[0].Leader
		require.Positive(t, leader)
		c.stop(int(leader - 1))
		send(c.alive(), 5)
		same()
		require.NoError(t, c.alive().CreateTopics(t.Context(), topic.Spec{Name: "visits", Partitions: 2, Replicas: 3}))
	})
}

// valuesOn reads n records of partition 0 of orders on one broker.
func valuesOn(t *testing.T, b *runnel.Broker, n int) (values []string) {
	t.Helper()
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}), consumer.FromStart())
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(values) < n {
		batch, err := c.Poll(ctx)
		require.NoError(t, err, "after %d records", len(values))
		for _, r := range batch {
			values = append(values, string(r.Value))
		}
	}
	return values
}
