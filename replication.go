package runnel

import (
	"context"

	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/topic"
)

// Replication keeps partitions on several nodes: the broker asks it for the handle of
// each partition, and does everything else as with one copy. It is an interface of the
// broker's, so that a program without replicas does not link what keeps them. Its
// methods are safe for concurrent use.
type Replication interface {
	// Node returns this node's number, 1 or more. It is the one that the catalogue and
	// descriptions of topics have.
	Node() int32

	// Nodes returns all nodes that may keep replicas, this one among them, by ID.
	Nodes() []topic.Node

	// Open opens a partition for this node, which is one of at.Replicas, or else has no
	// copy of it. cfg has the directory, which exists if the node has a copy, and the
	// topic's settings; Replica is set. The broker closes what Open returns, or deletes
	// it with the topic, and calls Open again later where it returns an error.
	//
	// What is returned reads a copy on this node where it is, and appends to the leader,
	// on whichever node. An append that no leader takes is fault.NotLeader, and one that
	// a leader took and may have lost is fault.UnknownOutcome.
	Open(at topic.Placement, cfg partition.Config) (partition.Opened, log.Recovery, error)

	// Call brings a request to another node's broker, and returns its answer.
	// fault.NetworkException where the request certainly did not arrive, and
	// fault.UnknownOutcome where it may have.
	Call(ctx context.Context, node int32, request []byte) (answer []byte, err error)

	// Serve sets what answers the requests of other nodes. Before it is called, they fail
	// with fault.NetworkException. ctx ends with the caller's, or with this node.
	Serve(answer func(ctx context.Context, request []byte) []byte)
}

// Replicated has the broker keep its partitions by r, and not each in one copy.
func Replicated(r Replication) Option {
	return option(func(c *config) {
		c.replication = r
		c.cluster = &cluster{(*Broker).answer, (*Broker).askLeaders, (*Broker).identify, (*Broker).settle}
	})
}

// cluster is what a broker does beside others. Replicated alone refers to it, so the linker leaves it
// out of programs without replicas.
type cluster struct {
	answer     func(*Broker, context.Context, []byte) []byte
	askLeaders func(*Broker, context.Context, []topic.Description)
	identify   func(*Broker, context.Context, *change) error
	settle     func(*Broker, context.Context, *change, error) error
}

// defaultReplicas is how many replicas a partition has whose topic does not say, where there
// are as many nodes: one may be lost while another one is down for maintenance.
const defaultReplicas = 3

// nodes returns the nodes that may keep replicas.
func (b *Broker) nodes() []topic.Node {
	if b.replication != nil {
		return b.replication.Nodes()
	}
	return []topic.Node{{ID: metadata.NodeID, Alive: true}}
}

// node returns the broker's number in the catalogue.
func (b *Broker) node() int32 {
	if b.replication != nil {
		return b.replication.Node()
	}
	return metadata.NodeID
}
