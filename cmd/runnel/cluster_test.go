package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/topic"
)

// What a cluster looks like one of whose nodes is down.
func TestTablesOfACluster(t *testing.T) {
	cluster := topic.Cluster{Controller: 2, Nodes: []topic.Node{
		{ID: 1, Address: "10.0.0.1:7000", Rack: "a", Alive: true}, {ID: 2, Address: "10.0.0.2:7000", Rack: "b", Alive: true}, {ID: 3, Address: "10.0.0.3:7000"},
	}}
	all := []int32{1, 2, 3}
	described := []topic.Description{
		{Name: "orders", Partitions: []topic.PartitionDescription{
			{Number: 0, Leader: 1, LeaderEpoch: 4, Replicas: all, ISR: []int32{1, 2}, Lag: []topic.Lag{{Node: 2}, {Node: 3, Records: 15}}},
			{Number: 1, Leader: 2, LeaderEpoch: 12, Replicas: []int32{3, 2, 1}, ISR: []int32{1, 2}, Lag: []topic.Lag{{Node: 1}, {Node: 3, Records: -1}}},
		}},
		{Name: "one", Partitions: []topic.PartitionDescription{
			{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1}, ISR: []int32{1}},
			{Number: 1, Leader: -1, LeaderEpoch: 1, Replicas: []int32{3}},
		}},
	}
	var out strings.Builder
	require.NoError(t, describeNodes(&out, nodeLines(cluster, described)))
	require.NoError(t, describeReplicas(&out, described))
	require.Equal(t, `NODE  STATE   ROLE        LEADS  PREFERRED  REPLICAS  OUT-OF-SYNC  RACK  ADDRESS
   1  alive   -               2          2         3            0  a     10.0.0.1:7000
   2  alive   controller      1          0         2            0  b     10.0.0.2:7000
   3  silent  -               0          2         3            3  -     10.0.0.3:7000
TOPIC   PARTITION  LEADER  EPOCH  REPLICAS  ISR  LAG
orders          0  1           4  1,2,3     1,2  2:0,3:15
orders          1  2          12  3,2,1     1,2  1:0,3:-
one             0  1           1  1         1    -
one             1  none        1  3         -    -
`, out.String())

	under := only(described, topic.PartitionDescription.UnderReplicated)
	require.Len(t, under, 2)
	require.Len(t, under[0].Partitions, 2)
	require.Len(t, under[1].Partitions, 1)
	require.Len(t, only(under, func(p topic.PartitionDescription) bool { return p.Leader < 0 }), 1)
}
