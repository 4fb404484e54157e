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

// Open opens the partitions of t that are not open yet. One that does not
// open is broken from then on, until this is called again. When it returns, the
// names of the directories of all others are durable.
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

// openMissing is Open for who has the token. A command that has begun calls it
// though the broker is being closed: directories that the catalogue tells of must be
// there when it is marked as cleanly closed.
func (h *Host) openMissing(t *Topic) error {
	if t.IsGone() {
		return h.Unknown(t.Name)
	}
	ps := t.Open()
	all := make([]*partition.Partition, len(*t.placement.Load()))
	var added []*partition.Partition
	for n := range all {
		if n < len(ps) && !IsBroken(ps[n]) {
			all[n] = ps[n]
			continue
		}
		all[n] = h.openPartition(t, int32(n))
		added = append(added, all[n])
	}
	if len(added) == 0 {
		return nil
	}
	if t.unsynced {
		err := h.cfg.FS.SyncDir(h.cfg.Dir)
		t.unsynced = err != nil
		for n, p := range all {
			if err != nil && !IsBroken(p) && slices.Contains(added, p) {
				_ = p.Close()
				all[n] = h.breakPartition(t, int32(n), fault.At(fault.OfDisk(err), t.Name, int32(n), -1).Because(err))
			}
		}
	}
	t.partitions.Store(&all)
	h.cleaner.Forget(t)
	for _, p := range all {
		if slices.Contains(added, p) && p.StartOffset() < p.EndOffset() {
			h.cleaner.Look(t, p)
		}
	}
	return nil
}

// openPartition opens partition n of t, whose directory it makes where that is not
// damage.
func (h *Host) openPartition(t *Topic, n int32) (p *partition.Partition) {
	tp := record.TopicPartition{Topic: t.Name, Partition: n}
	made, err := h.claim(tp, t.ID, n < t.loaded)
	t.unsynced = t.unsynced || made
	if err != nil {
		return h.breakPartition(t, n, err)
	}
	cfg := h.partitionConfig(t, tp)
	cfg.Log.Begun = func() { h.cleaner.Look(t, p) }
	opened, found, err := partition.Open(cfg)
	if damage, ok := errors.AsType[*fault.Corruption](err); ok {
		damage.Hint = hintUnopened
	}
	if err != nil {
		return h.breakPartition(t, n, err)
	}
	p = opened
	h.cfg.Found(Found{TopicPartition: tp, Recovery: found, Made: made})
	return p
}

// claim makes sure that a partition's directory is there and its own. See layout.Claim.
func (h *Host) claim(tp record.TopicPartition, id topic.ID, must bool) (made bool, err error) {
	if err := h.cfg.Lock.Keeps(); err != nil {
		return false, err
	}
	return layout.Claim(h.cfg.FS, h.Path(tp), tp, id, must)
}

// hintUnopened is what to do about a partition that does not open.
const hintUnopened = "nothing was changed, and other partitions can be used; close the broker and have `runnel repair` make the log whole, or restore the directory from a copy"

// breakPartition returns what stands for partition n of t, which does not open, and
// notes why.
func (h *Host) breakPartition(t *Topic, n int32, err error) *partition.Partition {
	tp := record.TopicPartition{Topic: t.Name, Partition: n}
	h.cfg.Found(Found{TopicPartition: tp, Err: err})
	return partition.Broken(h.partitionConfig(t, tp), err)
}

// partitionConfig returns what a partition of t is told.
func (h *Host) partitionConfig(t *Topic, tp record.TopicPartition) partition.Config {
	cfg := *t.config.Load()
	return partition.Config{Log: h.LogConfig(tp, cfg), Settings: h.settings(cfg)}
}

// openWorkers is how many topics are opened at once when there are many: what
// they sync, the file system syncs together.
const openWorkers = 16

// OpenTopics opens topics, several at a time, for the writer.
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
			t.opening <- struct{}{} // Close takes it for good, but waits for the writer before
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

// LogConfig returns what a partition's log is told.
func (h *Host) LogConfig(tp record.TopicPartition, cfg topic.Config) log.Config {
	bytes, age := segments(cfg)
	return log.Config{
		FS: h.cfg.FS, Dir: h.Path(tp),
		Topic: tp.Topic, Partition: tp.Partition,
		SegmentBytes: bytes, SegmentAge: age, Failed: func(err error) { h.cfg.Failed(tp, err) },
		Codec: h.cfg.Codec,
	}
}

// segments returns how a topic's logs are cut into segments.
func segments(cfg topic.Config) (bytes int64, age time.Duration) {
	cfg = cfg.WithDefaults()
	if cfg.SegmentAge == topic.Forever {
		cfg.SegmentAge = math.MaxInt64
	}
	return cfg.SegmentBytes, cfg.SegmentAge
}

// settings returns what a partition is told about appending.
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
	}
}

// durabilityOf returns the durability of a topic with this configuration.
func (h *Host) durabilityOf(cfg topic.Config) topic.Durability {
	if cfg.Durability == topic.DefaultDurability {
		return h.cfg.Durability
	}
	return cfg.Durability
}
