package backendtest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

var features = backendtest.Features{AtomicTopics: true, Durability: true, Preconditions: true, ShareGroups: true, AppendTime: true, StaticMembers: true, Mark: mark, RefusesConsumers: fault.InconsistentProtocol}

func mark(t *testing.T, b backendtest.Backend, tp record.TopicPartition) {
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("marked")})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, fixture.Append(b, tp.Topic, tp.Partition, backendtest.Marker().Bytes))
}

func TestMemory(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}, features)
}

func TestDisk(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		b, err := runnel.Open(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}, features)
}

func TestClosing(t *testing.T) {
	backendtest.RunClosing(t, func(t *testing.T) backendtest.Closer {
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	})
}

// TestReplica runs the suite on partitions that are replicas, each of a group of one.
func TestReplica(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		b, err := runnel.OpenMemory(runnel.Replicated(hosttest.NewReplication()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}, features)
}
