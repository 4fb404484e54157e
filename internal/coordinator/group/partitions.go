package group

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"github.com/runnel-go/runnel/topic"
)

// Partition is a partition of a topic, identified by the topic's ID: a topic that
// was deleted and created again is a different one.
type Partition struct {
	ID     topic.ID
	Number int32
}

// Compare orders by topic, then by number.
func (p Partition) Compare(other Partition) int {
	return cmp.Or(bytes.Compare(p.ID[:], other.ID[:]), cmp.Compare(p.Number, other.Number))
}

// partitions is a set, as a sorted slice without duplicates. It is immutable.
type partitions []Partition

// newPartitions returns a set of p, whose slice it owns from then on. The empty set
// is nil.
func newPartitions(p []Partition) partitions {
	if len(p) == 0 {
		return nil
	}
	sort.Slice(p, func(i, j int) bool { return p[i].Compare(p[j]) < 0 })
	return slices.Compact(p)
}

func (p partitions) has(one Partition) bool {
	_, ok := slices.BinarySearchFunc(p, one, Partition.Compare)
	return ok
}

// and returns the intersection of p and q.
func (p partitions) and(q partitions) partitions {
	return p.filter(q.has)
}

// minus returns the partitions of p that are not in q.
func (p partitions) minus(q partitions) partitions {
	return p.filter(func(one Partition) bool { return !q.has(one) })
}

// plus returns the union of p and q.
func (p partitions) plus(q partitions) partitions {
	if len(q) == 0 {
		return p
	}
	return newPartitions(append(slices.Clip(slices.Clone([]Partition(p))), q...))
}

func (p partitions) filter(keep func(Partition) bool) partitions {
	var kept partitions
	for _, one := range p {
		if keep(one) {
			kept = append(kept, one)
		}
	}
	return kept
}
