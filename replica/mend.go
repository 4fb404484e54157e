package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// mendFor is for how many election timeouts after its start a node asks others again for
// what its logs have lost: they may be starting, too. Later it asks each of them once.
const mendFor = 20

// donors are the other nodes of a group, as one sees them whose log is to be mended.
type donors interface {
	// fetchBatches asks a node for batches, and gives them to write, as they are.
	fetchBatches(ctx context.Context, from NodeID, q batchesRequest, write func([]byte) error) error

	// mayWait waits until the nodes may be asked again, and reports whether they may.
	mayWait(ctx context.Context) bool
}

// openOrMend opens a replica's directory. What its log had durably and has no more, it gets
// from the other replicas, whatever of it is damaged: the ending on record says what it was.
// Until then the replica takes no part in its group.
func openOrMend(ctx context.Context, from donors, cfg DiskConfig) (*Disk, DiskState, error) {
	home, s, err := OpenDisk(cfg)
	if !mendable(err) {
		return home, s, err
	}
	damage := err
	if err = mend(ctx, from, cfg, damage); err != nil {
		return nil, s, err
	}
	cfg.mended = true
	if home, s, err = OpenDisk(cfg); err == nil {
		s.Recovery.Restored = append(s.Recovery.Restored, restored(&cfg, damage))
	}
	return home, s, err
}

// restored describes damage that is no more.
func restored(cfg *DiskConfig, damage error) error {
	now := fault.Corruption{
		Topic: cfg.Log.Topic, Partition: cfg.Log.Partition, Offset: -1, File: cfg.Log.Dir, Expected: "the replica's own log", Found: damage.Error(),
	}
	if c, ok := errors.AsType[*fault.Corruption](damage); ok {
		now = *c
	}
	now.Hint = "it was restored from the other replicas"
	return &now
}

// mendable reports whether the error is one of the log, and not of what the replica
// remembers beside it.
func mendable(err error) bool {
	return err != nil && (errors.Is(err, errLog) || fault.CodeOf(err) == fault.CorruptMessage) && !errors.Is(err, ErrLost)
}

// mend has a replica's log refilled from other nodes.
func mend(ctx context.Context, from donors, cfg DiskConfig, damage error) error {
	d := &Disk{cfg: cfg}
	known, err := d.remembers()
	d.discard()
	if err != nil {
		return d.failed(err)
	}
	members := d.base.latest(math.MaxUint64).Membership
	m := &mending{donors: from, cfg: cfg, end: d.state.synced, peers: members.others(cfg.ID)}
	how := log.RefillOptions{
		From: d.base.start.Offset, To: max(d.state.synced.offset, d.base.start.Offset), Epoch: int32(d.state.synced.term), EpochAt: known,
		Fetch: func(from, to int64, write func([]byte) error) error { return m.fetch(from, to, false, write) },
	}
	if len(m.peers) > 0 && !cfg.Keyed { // compaction changes headers
		how.Headers = func(from, to int64, each func([]byte) error) error { return m.fetch(from, to, true, each) }
	}
	if how.To == how.From {
		how.Epoch = math.MaxInt32
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.ctx = ctx
	_, err = log.Refill(ctx, d.logConfig(), how)
	switch {
	case err == nil:
		return nil
	case m.gone:
		return d.lost("%v, and the others have committed other batches than it had", damage)
	case len(m.refused) == 0:
		return d.failed(err)
	}
	if c, ok := errors.AsType[*fault.Corruption](damage); ok {
		with := *c
		with.Hint = fmt.Sprintf("no other node has given back what is missing: %v; they are asked again when the partition is used next, and if no copy is left, replace the replica", errors.Join(m.refused...))
		return &with
	}
	return errors.Join(damage, errors.Join(m.refused...))
}

// remembers opens what a replica remembers beside its log, and returns what it knows of
// the leader epochs of committed batches.
func (d *Disk) remembers() (epochAt func(int64) int32, err error) {
	fsys, dir := d.cfg.Log.FS, d.cfg.Log.Dir
	if d.base, err = readBase(fsys, dir); err != nil {
		return nil, err
	}
	if d.state, err = openState(fsys, dir); err != nil {
		return nil, err
	}
	if d.base == nil || d.state == nil {
		return nil, d.lost("what it was is not on record")
	}
	if d.marks, err = openMarks(fsys, dir, d.base.generation, d.base.start); err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(slices.Clone(d.marks.list), func(m mark) bool { return m.term == 0 })
	return func(offset int64) int32 {
		if len(list) == 0 || offset < list[0].offset || offset > list[len(list)-1].offset {
			return record.NoLeaderEpoch
		}
		i, found := slices.BinarySearchFunc(list, offset, func(m mark, offset int64) int { return int(max(-1, min(1, m.offset-offset))) })
		if !found {
			i--
		}
		return int32(list[i].term)
	}, nil
}

// mending asks the other nodes in turn, and goes on with the next one where one breaks off.
type mending struct {
	donors
	ctx     context.Context
	cfg     DiskConfig
	end     ending
	peers   []NodeID
	refused []error // why each of them refused the last time
	gone    bool    // the group has other batches where the lost ones were
}

// fetch gets batches, or their headers one by one.
func (m *mending) fetch(from, to int64, headers bool, write func([]byte) error) error {
	for {
		m.refused = nil
		final := true
		for _, peer := range m.peers {
			q := batchesRequest{m.cfg.Group, headers, from, to, m.end}
			err := m.fetchBatches(m.ctx, peer, q, func(b []byte) (err error) {
				from, err = pass(b, headers, from, write)
				return err
			})
			if code := fault.CodeOf(err); code == fault.InvalidRecord || code == fault.InvalidRequest {
				err = &refusal{peer, false, err.Error()} // it sent what is wrong
			}
			r, refused := errors.AsType[*refusal](err)
			if !refused {
				return err
			}
			m.refused = append(m.refused, err)
			final = final && r.final
			m.gone = m.gone || r.final && r.detail == otherBatch
		}
		if final || m.gone || !m.mayWait(m.ctx) {
			return errors.Join(m.refused...)
		}
	}
}

// pass passes on what one answer has, which begins at an offset, and returns the offset
// after all that was taken.
func pass(b []byte, headers bool, from int64, write func([]byte) error) (next int64, err error) {
	for next = from; len(b) > 0; {
		h, err := record.ParseHeader(b)
		if err != nil {
			return next, malformed("an answer with batches").Because(err)
		}
		size := h.Size()
		if headers {
			size = record.HeaderLen
		}
		if size > len(b) {
			return next, malformed("a batch of %d bytes of which %d are there", size, len(b))
		}
		if err := write(b[:size:size]); err != nil {
			return next, err
		}
		next, b = h.NextOffset(), b[size:]
	}
	return next, nil
}

// mayWait waits for an election timeout, if the node has started not long ago.
func (n *Node) mayWait(ctx context.Context) bool {
	timeout := time.Duration(n.cfg.ElectionTicks) * n.cfg.Tick
	if time.Since(n.began) > mendFor*timeout {
		return false
	}
	wait := time.NewTimer(timeout)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}
