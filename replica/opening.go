package replica

import (
	"cmp"
	"hash/crc32"
	"os"
	"slices"

	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/topic"
)

// Node returns the node's number, as the catalogue has it.
func (n *Node) Node() int32 { return int32(n.cfg.ID) }

// Nodes returns the cluster's nodes, by ID.
func (n *Node) Nodes() []topic.Node {
	silent := n.silent()
	all := make([]topic.Node, 0, len(n.cfg.Peers))
	for id, address := range n.cfg.Peers {
		all = append(all, topic.Node{
			ID: int32(id), Address: address, Rack: n.cfg.Racks[id],
			Alive: id == n.cfg.ID || n.knows(id) && !slices.Contains(silent, id),
		})
	}
	slices.SortFunc(all, func(a, b topic.Node) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Open opens a partition for a broker; see runnel.Replication. Each node of at.Replicas
// has the partition's first replica, and with none there, as for the catalogue, all nodes
// have. A node that has none gets a Remote.
func (n *Node) Open(at topic.Placement, cfg partition.Config) (partition.Opened, log.Recovery, error) {
	var members Membership
	keeps := false
	var preferred NodeID
	if len(at.Replicas) > 0 {
		preferred = NodeID(at.Replicas[0])
	} else {
		for _, node := range n.Nodes() {
			at.Replicas = append(at.Replicas, node.ID)
		}
	}
	for _, node := range at.Replicas {
		members.Voters = append(members.Voters, NewID(NodeID(node), 0))
		keeps = keeps || NodeID(node) == n.cfg.ID
	}
	if !keeps {
		return n.remote(at, cfg), log.Recovery{}, nil
	}
	r, found, err := n.add(GroupConfig{
		Group: GroupID{at.ID, at.Partition}, Members: members, Preferred: preferred, Settings: cfg.Settings,
		Disk:              DiskConfig{Log: cfg.Log, ID: n.idOn(cfg.Log), Fsync: cfg.Fsync, Boot: boot},
		Asks:              len(members.Voters) > 1,
		LeadershipChanged: cfg.LeadershipChanged,
	})
	if err != nil {
		return nil, found, err
	}
	return r, found, nil
}

// idOn returns the ID of the replica in a directory, the first one where there is none.
func (n *Node) idOn(cfg log.Config) ID {
	if b, err := readBase(cfg.FS, cfg.Dir); err == nil && b != nil && b.id.Node() == n.cfg.ID {
		return b.id
	}
	return NewID(n.cfg.ID, 0)
}

// boot tells starts of the machine apart, where the system says so.
var boot = func() uint32 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	return crc32.ChecksumIEEE(id)
}()
