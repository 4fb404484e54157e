package host_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

var orders = record.TopicPartition{Topic: "orders", Partition: 0}

func batchOf(value string) []byte {
	b := record.NewBuilder(1 << 10)
	b.Add(1000, nil, []byte(value), nil)
	batch, _ := b.Batch(nil, record.None, 0)
	return append([]byte(nil), batch.Bytes...)
}

// read returns how many bytes a handle shows from an offset on.
func read(t *testing.T, p host.Partition, offset int64) int {
	s, err := p.Read(offset, 1<<10, nil)
	require.NoError(t, err)
	return len(s.Bytes)
}

func TestWithoutReplicasAHandleIsThePartition(t *testing.T) {
	h := hosttest.New(t, "orders")
	p, err := h.Partition(orders)
	require.NoError(t, err)
	require.IsType(t, (*partition.Partition)(nil), p)
}

func TestAReplicationOpensPartitions(t *testing.T) {
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, "orders")
	p, err := h.Partition(orders)
	require.NoError(t, err)
	require.Same(t, r.Group("orders-0"), p)
	placed := r.Placed()
	require.Len(t, placed, 1)
	topic, err := h.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, orders, placed[0].TopicPartition)
	require.Equal(t, topic.ID, placed[0].ID)
	require.Equal(t, []int32{7}, placed[0].Replicas)
}

func TestRecordsShowWhenTheGroupHasCommittedThem(t *testing.T) {
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, "orders")
	p, err := h.Partition(orders)
	require.NoError(t, err)
	require.NoError(t, p.AppendAwait(batchOf("a")))
	release := r.Group("orders-0").Hold()
	told := make(chan error, 1)
	go func() { told <- p.AppendAwait(batchOf("b")) }()
	woken := make(waker, 1)
	require.True(t, p.Wait(1, woken))
	require.Zero(t, read(t, p, 1))
	require.Empty(t, told)
	for r.Group("orders-0").EndOffset() < 2 { // stored, and not committed
		select {
		case err := <-told:
			t.Fatalf("acknowledged: %v", err)
		default:
		}
	}
	require.EqualValues(t, 1, p.HighWatermark())
	release()
	require.NoError(t, <-told)
	<-woken
	require.NotZero(t, read(t, p, 1))
}

type waker chan struct{}

func (w waker) Wake() { w <- struct{}{} }

func TestAFollowersHandleReadsAndRefusesAppends(t *testing.T) {
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, "orders")
	p, err := h.Partition(orders)
	require.NoError(t, err)
	require.NoError(t, p.AppendAwait(batchOf("a")))
	r.Group("orders-0").Depose()
	require.ErrorIs(t, p.AppendAwait(batchOf("b")), fault.NotLeader)
	require.NotZero(t, read(t, p, 0))
	require.NoError(t, p.Err(), "a partition that another node leads is not broken")
	r.Group("orders-0").Elect()
	require.NoError(t, p.AppendAwait(batchOf("b")))
}

func TestADeletedTopicsGroupIsGone(t *testing.T) {
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, "orders")
	p, err := h.Partition(orders)
	require.NoError(t, err)
	require.NoError(t, h.Remove("orders"))
	require.ErrorIs(t, p.AppendAwait(batchOf("a")), fault.UnknownTopic)
}
