package catalogue

import (
	"cmp"
	"slices"

	"github.com/runnel-go/runnel/topic"
)

// placer places new partitions on nodes, and counts what it has placed.
type placer []*nodeLoad

// place says where the replicas of new partitions go: so many of each, never two on one
// node, the first one to lead. Of the nodes, those with the fewest leaders lead, and those
// with the fewest replicas follow, all topics counted; so partitions and their leaders are
// spread as evenly as they can be without moving any. There are at least as many nodes as
// replicas.
//
// Racks come before evenness, as in Kafka: a partition has a second replica in a rack only
// when it has one in each. Nodes without a rack are together in one.
//
// A leader counts apart from its replica, because it does what followers don't: it serves
// those who write. Equal nodes are taken in an order that turns with each partition, so
// that a leader's followers are not always the same.
func (p placer) place(count, replicas int) []Partition {
	placed := make([]Partition, count)
	for i := range placed {
		leader := slices.MinFunc(p, func(a, b *nodeLoad) int {
			return cmp.Or(cmp.Compare(a.leaders, b.leaders), cmp.Compare(a.replicas, b.replicas), cmp.Compare(turned(a.node, i), turned(b.node, i)))
		})
		chosen := []int32{leader.node}
		racks := map[string]int{leader.rack: 1}
		leader.leaders++
		leader.replicas++
		for len(chosen) < replicas {
			next := slices.MinFunc(p, func(a, b *nodeLoad) int {
				return cmp.Or(
					cmp.Compare(placedOn(chosen, a.node), placedOn(chosen, b.node)),
					cmp.Compare(racks[a.rack], racks[b.rack]),
					cmp.Compare(a.replicas, b.replicas),
					cmp.Compare(turned(a.node, i), turned(b.node, i)),
				)
			})
			chosen = append(chosen, next.node)
			racks[next.rack]++
			next.replicas++
		}
		placed[i] = Partition{Replicas: chosen, ISR: slices.Clone(chosen), Leader: leader.node}
	}
	return placed
}

// nodeLoad is how many replicas a node has, and of these, how many are to lead.
type nodeLoad struct {
	node              int32
	rack              string
	leaders, replicas int
}

// placer returns a placer for these nodes, which knows the replicas of all topics there.
func (c *Catalogue) placer(nodes []topic.Node) placer {
	load := make(placer, len(nodes))
	on := make(map[int32]*nodeLoad, len(nodes))
	for i, n := range nodes {
		load[i] = &nodeLoad{node: n.ID, rack: n.Rack}
		on[n.ID] = load[i]
	}
	for _, t := range c.topics {
		for i := range t.Partitions {
			for k, n := range t.Partitions[i].Replicas {
				if l := on[n]; l != nil {
					l.replicas++
					if k == 0 {
						l.leaders++
					}
				}
			}
		}
	}
	return load
}

// placedOn is 1 for a node that is chosen already, so that it comes last.
func placedOn(chosen []int32, node int32) int {
	if slices.Contains(chosen, node) {
		return 1
	}
	return 0
}

// turned orders equal nodes differently for each of consecutive partitions: it is a hash of
// the node and the partition.
func turned(node int32, by int) uint32 {
	x := uint32(node)<<16 ^ uint32(by)
	for range 2 {
		x = (x ^ x>>16) * 0x45d9f3b
	}
	return x ^ x>>16
}
