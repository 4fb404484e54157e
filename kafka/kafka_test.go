package kafka_test

import (
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// fake starts a Kafka cluster of one broker in the process, and returns its
// address.
func fake(t testing.TB) string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1), kfake.BrokerConfigs(map[string]string{
		"group.consumer.heartbeat.interval.ms": "100",
		"group.min.session.timeout.ms":         "100",
	}))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}

// connect connects to a cluster until the test ends.
func connect(t testing.TB, seeds string, opts ...kafka.Option) *kafka.Cluster {
	t.Helper()
	cluster, err := kafka.Connect(seeds, append([]kafka.Option{kafka.MetadataMaxAge(500 * time.Millisecond), kafka.Timeout(time.Minute)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Close()) })
	return cluster
}

// mark sends a record in a transaction.
func mark(t testing.TB, seeds string, tp record.TopicPartition) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds), kgo.TransactionalID(rand.Text()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.BeginTransaction())
	r := &kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("marked")}
	require.NoError(t, client.ProduceSync(t.Context(), r).FirstErr())
	require.NoError(t, client.EndTransaction(t.Context(), kgo.TryCommit))
}

// TestBackend runs on a cluster in the process, or on the real one that
// KAFKA_SEEDS names.
func TestBackend(t *testing.T) {
	for name, opts := range map[string][]kafka.Option{
		"server-side groups": nil,
		"classic groups":     {kafka.ClassicGroups()},
	} {
		t.Run(name, func(t *testing.T) {
			features := backendtest.Features{StaticMembers: true, AppendTime: true}
			if opts != nil {
				features.RefusesConsumers = fault.InconsistentProtocol
			}
			seeds := os.Getenv("KAFKA_SEEDS")
			if seeds == "" {
				seeds, features.AppendTime = fake(t), false
				if opts == nil { // Kafka 4 may turn the group into one of KIP-848 instead
					features.RefusesConsumers = fault.GroupNotFound
				}
			}
			features.Mark = func(t *testing.T, _ backendtest.Backend, tp record.TopicPartition) { mark(t, seeds, tp) }
			cluster := connect(t, seeds, opts...)
			open := func(*testing.T) backendtest.Backend { return cluster }
			backendtest.Run(t, open, features)
		})
	}
}

func TestClosing(t *testing.T) {
	seeds := os.Getenv("KAFKA_SEEDS")
	if seeds == "" {
		seeds = fake(t)
	}
	backendtest.RunClosing(t, func(t *testing.T) backendtest.Closer { return connect(t, seeds) })
}
