package replica_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/topic"
)

// Racks are for nodes of the cluster; what has none is in none.
func TestRacks(t *testing.T) {
	network := memory.New()
	peers := map[replica.NodeID]string{1: "a", 2: "b"}
	_, err := replica.StartNode(replica.NodeConfig{ID: 1, Transport: network.Node("a"), Peers: peers, Racks: map[replica.NodeID]string{3: "x"}})
	require.ErrorIs(t, err, fault.InvalidConfig)
	n, err := replica.StartNode(replica.NodeConfig{ID: 1, Transport: network.Node("a"), Peers: peers, Racks: map[replica.NodeID]string{2: "x"}})
	require.NoError(t, err)
	require.Equal(t, []topic.Node{{ID: 1, Address: "a", Alive: true}, {ID: 2, Address: "b", Rack: "x"}}, n.Nodes())
	require.NoError(t, n.Close())
}
