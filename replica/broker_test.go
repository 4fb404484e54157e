package replica_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// A broker whose partitions are replica groups does what every backend does.
func TestBrokerOnReplicas(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Backend {
		n, err := replica.StartNode(replica.NodeConfig{ID: 1, Transport: memory.New().Node("1"), Tick: 2 * time.Millisecond})
		require.NoError(t, err)
		b, err := runnel.OpenMemory(runnel.Replicated(n))
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, b.Close())
			require.NoError(t, n.Close())
		})
		return b
	}, backendtest.Features{
		AtomicTopics: true, Durability: true, Preconditions: true, ShareGroups: true, AppendTime: true, StaticMembers: true, RefusesConsumers: fault.InconsistentProtocol,
		FirstOffset: 1,
	})
}

// The only voter of a group has no other leader to wait for.
func TestOnlyVoterLeadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := replica.StartNode(replica.NodeConfig{ID: 1, Transport: memory.New().Node("1")})
		require.NoError(t, err)
		began := time.Now()
		r, err := n.Add(replica.GroupConfig{
			Group: orders, Members: replica.Membership{Voters: []replica.ID{replica.NewID(1, 0)}},
			Disk: replica.DiskConfig{Log: log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"}, ID: replica.NewID(1, 0)},
		})
		require.NoError(t, err)
		require.NoError(t, r.AppendAwait(one(t, "a")))
		require.Zero(t, time.Since(began))
		slice, err := r.Read(0, 1<<20, nil)
		require.NoError(t, err)
		h, err := record.ParseHeader(slice.Bytes)
		require.NoError(t, err)
		require.True(t, h.Control())
		require.Equal(t, began.UnixMilli(), h.MaxTimestamp, "when it began to lead")
		require.NoError(t, n.Close())
	})
}
