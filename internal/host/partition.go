package host

import (
	"slices"

	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/topic"
)

// Partition is a partition as sessions and coordinators see it.
type Partition = partition.Handle

// Replication opens partitions that have replicas on several nodes. Package runnel
// documents it. Without one, each partition is a *partition.Partition, the only copy.
type Replication interface {
	Node() int32
	Open(at topic.Placement, cfg partition.Config) (partition.Opened, log.Recovery, error)
}

// open opens a partition, by the Replication if there is one. In place of one that
// does not open there is an error.
func (h *Host) open(at topic.Placement, cfg partition.Config) (partition.Opened, log.Recovery, error) {
	if h.cfg.Replication == nil {
		return asOpened(partition.Open(cfg))
	}
	return h.cfg.Replication.Open(at, cfg)
}

// asOpened keeps a nil *Partition from becoming an Opened that is not nil.
func asOpened(p *partition.Partition, found log.Recovery, err error) (partition.Opened, log.Recovery, error) {
	if err != nil {
		return nil, found, err
	}
	return p, found, nil
}

// IsReplicated reports whether partitions have replicas on several nodes.
func (h *Host) IsReplicated() bool { return h.cfg.Replication != nil }

// Keeps reports whether this process keeps a copy of a partition that is placed so.
func (h *Host) Keeps(replicas []int32) bool {
	return h.cfg.Replication == nil || slices.Contains(replicas, h.cfg.Replication.Node())
}
