package replica

import (
	"fmt"
	"math"
)

// ID names one life of a replica: the node it is on, and its incarnation there. A
// replica that may have lost what it acknowledged never comes back under the same
// ID, because its vote and its acknowledgements were given for what it had.
//
// 0 is nobody's.
type ID uint64

// NewID returns the ID of a node's replica. The first incarnation is 0. A node's
// number has 31 bits here, as Kafka's brokers have; higher bits are dropped.
func NewID(node NodeID, incarnation uint32) ID {
	return ID(incarnation)<<32 | ID(node&math.MaxInt32)
}

// Node returns the node.
func (id ID) Node() NodeID { return NodeID(id & math.MaxInt32) }

// Incarnation returns how often the replica was replaced on its node.
func (id ID) Incarnation() uint32 { return uint32(id >> 32) }

// String returns the node's number, and the incarnation behind a dot unless it is
// the first: 3, or 3.1.
func (id ID) String() string {
	if id.Incarnation() == 0 {
		return fmt.Sprint(id.Node())
	}
	return fmt.Sprintf("%d.%d", id.Node(), id.Incarnation())
}
