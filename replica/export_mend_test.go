package replica

import (
	"context"
	"errors"
)

// Donor is a log that another one is mended from.
type Donor = donor

// Donors returns the log of a node, or nil if it is not there.
type Donors func(NodeID) Donor

func (from Donors) fetchBatches(_ context.Context, node NodeID, q batchesRequest, write func([]byte) error) error {
	d := from(node)
	if d == nil {
		return &refusal{node, false, "it is not there"}
	}
	final, why, err := give(d, false, q, write)
	if why != "" {
		return &refusal{node, final, why}
	}
	return err
}

func (from Donors) mayWait(context.Context) bool { return false }

// OpenOrMend opens a directory as a node does, in one thread. Mendable says that an error is damage which no node has
// repaired.
func (from Donors) OpenOrMend(cfg DiskConfig) (d *Disk, s DiskState, mendable bool, err error) {
	d, s, err = openOrMend(context.Background(), from, cfg)
	return d, s, err != nil && !errors.Is(err, ErrLost) && !errors.Is(err, ErrForeign), err
}

// Heal repairs the segment of a replica's log that a reader found damaged at an offset; see Replica.heal.
func (from Donors) Heal(cfg DiskConfig, d *Disk, members Membership, own Donor, offset int64) error {
	end, ok := committed(own, d.attested.Load())
	if !ok {
		return errors.New("nothing is on record")
	}
	m := &mending{donors: from, ctx: context.Background(), cfg: cfg, end: end, peers: members.others(cfg.ID)}
	l := d.Log()
	if l.IsActive(offset) {
		if err := l.Roll(); err != nil {
			return err
		}
	}
	next, err := l.Refetch(m.ctx, offset, l.StartOffset(), func(from, to int64, write func([]byte) error) error {
		return m.fetch(from, to, false, write)
	})
	if err != nil {
		return err
	}
	return l.Swap(next)
}
