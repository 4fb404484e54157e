package replica

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// ReadKey returns records of a key, by the index of the copy on this node, once that has
// everything that was acknowledged before the call on whichever node. See
// partition.Partition.ReadKey.
func (r *Replica) ReadKey(ctx context.Context, key []byte, from int64, level partition.Isolation, most int) ([]record.Record, int64, int64, error) {
	latest, err := r.Latest(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	if err := r.reach(ctx, latest); err != nil {
		return nil, 0, 0, err
	}
	return r.Copy().ReadKey(ctx, key, from, level, most)
}

// reach waits until the copy has everything before an offset.
func (r *Replica) reach(ctx context.Context, offset int64) error {
	for {
		p, woken := r.Copy(), make(reached, 1)
		if p.HighWatermark() >= offset {
			return nil
		}
		if !p.Wait(offset-1, woken) && p.HighWatermark() < offset && r.Copy() == p { // it is closed
			return fault.At(fault.Closed, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1)
		}
		select {
		case <-woken:
		case <-ctx.Done():
			p.CancelWait(woken)
			return ctx.Err()
		case <-r.gone:
			p.CancelWait(woken)
			return fault.At(fault.Closed, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1)
		}
	}
}

// reached is a partition.Waker of one goroutine.
type reached chan struct{}

// Wake implements partition.Waker.
func (c reached) Wake() { c <- struct{}{} }

// ReadKey returns fault.UnsupportedVersion: this node has no copy, and so no index. The
// broker asks another node.
func (r *Remote) ReadKey(context.Context, []byte, int64, partition.Isolation, int) ([]record.Record, int64, int64, error) {
	return nil, 0, 0, fault.At(fault.UnsupportedVersion, r.at.Topic, r.at.Partition, -1).
		Detailf("node %v has no copy of the partition, and no index of its keys", r.node.cfg.ID).
		Try("ask a node that has one, or read the whole partition with consumer.Scanning")
}
