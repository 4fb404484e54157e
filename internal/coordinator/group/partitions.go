package group

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/runnel-go/runnel/topic"
)

// Partition is one partition of a topic that is known by its ID, so that a topic
// which was made anew is another.
type Partition struct {
	ID     topic.ID
	Number int32
}

// Compare orders by topic, then by number.
func (p Partition) Compare(other Partition) int {
	return cmp.Or(bytes.Compare(p.ID[:], other.ID[:]), cmp.Compare(p.Number, other.Number))
}

// partitions is a set: sorted, each one once. It is never changed.
type partitions []Partition

// newPartitions makes a set of p, which it takes over. The empty set is nil.
func newPartitions(p []Partition) partitions {
	if len(p) == 0 {
		return nil
	}
	slices.SortFunc(p, Partition.Compare)
	return slices.Compact(p)
}

func (p partitions) has(one Partition) bool {
	_, ok := slices.BinarySearchFunc(p, one, Partition.Compare)
	return ok
}

// and returns what is in both.
func (p partitions) and(q partitions) partitions {
	return p.filter(q.has)
}

// minus returns what is in p and not in q.
func (p partitions) minus(q partitions) partitions {
	return p.filter(func(one Partition) bool { return !q.has(one) })
}

// plus returns what is in either.
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
