package host

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Open opens the partitions of t that are not open yet. One that does not open is
// broken, and the next call tries it again. When Open returns, the names of the
// directories of all others are durable: an acknowledged record must not vanish with
// its directory.
func (h *Host) Open(t *Topic) error {
	if err := h.claimOpening(t); err != nil {
		return err
	}
	defer func() { <-t.opening }()
	if h.IsClosed() {
		return fault.Closed
	}
	return h.openMissing(t)
}

// openMissing is Open for a caller that has the token. It also opens while the broker
// is closing: a command that has added partitions to the catalogue must create their
// directories, or the clean-shutdown mark would make the next Open report them lost.
//
// It builds a new slice and publishes it at the end, so that readers see either the
// old partitions or all of the new ones.
func (h *Host) openMissing(t *Topic) error {
	if t.IsGone() {
		return h.Unknown(t.Name)
	}
	ps := t.Partitions()
	all := make([]partition.Opened, len(*t.placement.Load()))
	added := make([]bool, len(all))
	for n := range all {
		if n < len(ps) && !IsBroken(ps[n]) {
			all[n] = ps[n]
			continue
		}
		all[n] = h.openPartition(t, int32(n))
		added[n] = true
	}
	if !slices.Contains(added, true) {
		return nil
	}
	if t.unsynced {
		err := h.cfg.FS.SyncDir(h.cfg.Dir)
		t.unsynced = err != nil
		for n, p := range all {
			if err != nil && !IsBroken(p) && added[n] {
				_ = p.Close()
				all[n] = h.breakPartition(t, int32(n), fault.At(fault.OfDisk(err), t.Name, int32(n), -1).Because(err))
			}
		}
	}
	t.partitions.Store(&all)
	h.cleaner.Forget(t)
	for n, p := range all {
		if c := p.Copy(); c != nil && added[n] && c.StartOffset() < c.EndOffset() {
			h.cleaner.Enqueue(t, c)
		}
	}
	return nil
}

// openPartition opens partition n of t. It creates the directory if it is missing,
// unless a missing one is damage; see SetLoaded. A partition that this node keeps no
// replica of has none.
func (h *Host) openPartition(t *Topic, n int32) partition.Opened {
	tp := record.TopicPartition{Topic: t.Name, Partition: n}
	at := topic.Placement{TopicPartition: tp, ID: t.ID, Replicas: t.Placement()[n].Replicas}
	made, keeps := false, h.Keeps(at.Replicas)
	if keeps {
		var err error
		made, err = h.claim(tp, t.ID, n < t.loaded)
		t.unsynced = t.unsynced || made
		if err != nil {
			return h.breakPartition(t, n, err)
		}
	}
	cfg := h.partitionConfig(t, tp)
	cfg.Replica = h.cfg.Replication != nil
	var begun atomic.Pointer[partition.Opened] // a group may append before open returns
	cfg.LeadershipChanged = func() {
		if h.cfg.LeadershipChanged != nil {
			h.cfg.LeadershipChanged(tp)
		}
		if p := begun.Load(); p != nil {
			h.leads(t, *p)
		}
	}
	cfg.Log.Begun = func() {
		if p := begun.Load(); p != nil {
			h.cleaner.Enqueue(t, (*p).Copy())
		}
	}
	p, found, err := h.open(at, cfg)
	if damage, ok := errors.AsType[*fault.Corruption](err); ok && !cfg.Replica {
		damage.Hint = hintUnopened
	}
	if err != nil {
		return h.breakPartition(t, n, err)
	}
	begun.Store(&p)
	if keeps {
		h.cfg.Found(Found{TopicPartition: tp, Recovery: found, Made: made})
	}
	return p
}

// leads has the cleaner look at a partition that has begun to lead: retention is the
// leader's.
func (h *Host) leads(t *Topic, p partition.Opened) {
	if _, leads := p.Leadership(); !leads {
		return
	}
	if c := p.Copy(); c != nil {
		h.cleaner.Enqueue(t, c)
	}
}

// claim ensures that a partition's directory exists and belongs to it. See
// layout.Claim.
func (h *Host) claim(tp record.TopicPartition, id topic.ID, must bool) (made bool, err error) {
	if err := h.cfg.Lock.Check(); err != nil {
		return false, err
	}
	return layout.Claim(h.cfg.FS, h.Path(tp), tp, id, must)
}

// hintUnopened is the hint for a partition that does not open.
const hintUnopened = "nothing was changed, and other partitions can be used; close the broker and repair the log with `runnel repair`, or restore the directory from a copy"

// breakPartition reports that partition n of t does not open, and returns a broken
// partition in its place.
func (h *Host) breakPartition(t *Topic, n int32, err error) partition.Opened {
	tp := record.TopicPartition{Topic: t.Name, Partition: n}
	h.cfg.Found(Found{TopicPartition: tp, Err: err})
	return partition.Broken(h.partitionConfig(t, tp), err)
}

// partitionConfig returns the configuration of a partition of t.
func (h *Host) partitionConfig(t *Topic, tp record.TopicPartition) partition.Config {
	cfg := *t.config.Load()
	return partition.Config{Log: h.LogConfig(tp, cfg), Settings: h.settings(cfg)}
}

// openWorkers is how many topics are opened at once. Opening waits for syncs, and the
// file system combines those of several files.
const openWorkers = 16

// OpenTopics opens topics, several at a time. Only the catalogue's writer may call it.
func (h *Host) OpenTopics(topics []*Topic) error {
	var next atomic.Int64
	errs := make([]error, len(topics))
	var workers sync.WaitGroup
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(topics) {
				return
			}
			t := topics[i]
			t.opening <- struct{}{} // can't block for ever: Shut keeps it, but only after the writer is done
			errs[i] = h.openMissing(t)
			<-t.opening
		}
	}
	for range min(openWorkers, len(topics)) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
	return errors.Join(errs...)
}

// LogConfig returns the configuration of a partition's log.
func (h *Host) LogConfig(tp record.TopicPartition, cfg topic.Config) log.Config {
	bytes, age := segments(cfg)
	return log.Config{
		FS: h.cfg.FS, Dir: h.Path(tp),
		Topic: tp.Topic, Partition: tp.Partition,
		SegmentBytes: bytes, SegmentAge: age, Failed: func(err error) { h.cfg.Failed(tp, err) },
		Codec: h.cfg.Codec,
	}
}

// segments returns the size and age at which a topic's logs begin new segments.
func segments(cfg topic.Config) (bytes int64, age time.Duration) {
	cfg = cfg.WithDefaults()
	if cfg.SegmentAge == topic.Forever {
		cfg.SegmentAge = math.MaxInt64
	}
	return cfg.SegmentBytes, cfg.SegmentAge
}

// settings returns the part of a topic's configuration that concerns appending.
func (h *Host) settings(cfg topic.Config) partition.Settings {
	cfg = cfg.WithDefaults()
	return partition.Settings{
		Fsync:              h.durabilityOf(cfg) == topic.Fsync,
		MaxMessageBytes:    cfg.MaxMessageBytes,
		AppendTime:         cfg.Timestamps == topic.LogAppendTime,
		Before:             cfg.TimestampBefore,
		After:              cfg.TimestampAfter,
		Keyed:              cfg.Cleanup != topic.Delete,
		ProducerExpiration: h.cfg.ProducerExpiration,
		MinReplicas:        cfg.MinReplicas,
		KeyIndex:           cfg.KeyIndex,
	}
}

// durabilityOf returns the durability of a topic with this configuration.
func (h *Host) durabilityOf(cfg topic.Config) topic.Durability {
	if cfg.Durability == topic.DefaultDurability {
		return h.cfg.Durability
	}
	return cfg.Durability
}
