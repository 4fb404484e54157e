package replica_test

import (
	"fmt"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/topic"
)

// Three nodes in one process keep three copies of a partition. A record is committed
// once two of them have it.
func ExampleStartNode() {
	network, nodes := memory.New(), map[replica.NodeID]string{1: "a", 2: "b", 3: "c"}
	var members replica.Membership
	for id := range replica.NodeID(3) {
		members.Voters = append(members.Voters, replica.NewID(id+1, 0))
	}
	leads, group := make(chan *replica.Replica, 100), replica.GroupID{Topic: topic.ID{1}}
	for id, address := range nodes {
		transport := network.Node(address)
		node, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: transport, Peers: nodes, Tick: 5 * time.Millisecond})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer node.Close()
		_, err = node.Add(replica.GroupConfig{
			Group: group, Members: members,
			Disk: replica.DiskConfig{
				Log: log.Config{FS: vfs.NewMemory(), Dir: "orders-0", Topic: "orders"},
				ID:  replica.NewID(id, 0), Fsync: true,
			},
			Changed: func(s replica.Status) {
				if r, _ := node.Replica(group); s.Leading {
					leads <- r
				}
			},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	b := record.NewBuilder(1 << 10)
	b.Add(0, nil, []byte("hello"), nil)
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for leader := range leads { // where a process stands still, another one is elected
		if err = leader.Copy().AppendAwait(batch.Bytes); !fault.Retriable(err) {
			break
		}
	}
	fmt.Println("error:", err)
	// Output: error: <nil>
}
