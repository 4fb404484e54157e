package replica_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/replica/transporttest"
	"github.com/runnel-go/runnel/topic"
)

// two opens two nodes that reach each other over TCP on loopback, with TLS unless config is nil,
// each with a broker in memory.
func two(b *testing.B, config *tls.Config) (nodes [2]*replica.Node, brokers [2]*runnel.Broker) {
	security := tcp.Plaintext()
	if config != nil {
		security = tcp.TLS(config)
	}
	var transports [2]*tcp.Transport
	peers := map[replica.NodeID]string{}
	for i := range transports {
		t, err := tcp.New("bench", "127.0.0.1:0", security)
		require.NoError(b, err)
		transports[i], peers[replica.NodeID(i+1)] = t, t.Addr()
	}
	for i, t := range transports {
		n, err := replica.StartNode(replica.NodeConfig{ID: replica.NodeID(i + 1), Transport: t, Peers: peers})
		require.NoError(b, err)
		b.Cleanup(func() { _ = n.Close() })
		nodes[i] = n
		brokers[i], err = runnel.OpenMemory(runnel.Replicated(n))
		require.NoError(b, err)
		b.Cleanup(func() { _ = brokers[i].Close() })
	}
	return nodes, brokers
}

// securities runs a benchmark without TLS and with it.
func securities(b *testing.B, run func(*testing.B, *tls.Config)) {
	b.Run("plaintext", func(b *testing.B) { run(b, nil) })
	config := transporttest.Certificate(b)
	b.Run("TLS", func(b *testing.B) { run(b, config) })
}

// senders runs a benchmark's body on one goroutine and on 64.
func senders(b *testing.B, body func() error) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint("senders=", n), func(b *testing.B) {
			if n == 1 {
				for b.Loop() {
					require.NoError(b, body())
				}
				return
			}
			b.SetParallelism(max(1, n/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := body(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkCall asks another node's broker, as a commit does of a group that is coordinated there.
func BenchmarkCall(b *testing.B) {
	securities(b, func(b *testing.B, config *tls.Config) {
		nodes, _ := two(b, config)
		nodes[1].Serve(func(_ context.Context, request []byte) []byte { return request })
		request := make([]byte, 100)
		senders(b, func() error {
			_, err := nodes[0].Call(b.Context(), 2, request)
			return err
		})
	})
}

// BenchmarkProduce sends records of 100 bytes, each of which waits for its acknowledgement, on the node that leads the
// partition, and through the other one.
func BenchmarkProduce(b *testing.B) {
	securities(b, func(b *testing.B, config *tls.Config) {
		_, brokers := two(b, config)
		require.NoError(b, brokers[0].CreateTopics(b.Context(), topic.Spec{Name: "orders", Partitions: 1, Replicas: 1}))
		d, err := brokers[0].DescribeTopics(b.Context(), "orders")
		require.NoError(b, err)
		leads := d[0].Partitions[0].Replicas[0] - 1
		for name, broker := range map[string]*runnel.Broker{"leader": brokers[leads], "other": brokers[1-leads]} {
			b.Run(name, func(b *testing.B) {
				p, err := producer.New(broker)
				require.NoError(b, err)
				defer p.Close()
				senders(b, func() error {
					_, err := p.Send(b.Context(), record.Record{Topic: "orders", Value: make([]byte, 90)})
					return err
				})
			})
		}
	})
}
