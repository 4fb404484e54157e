package runnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// localTopic is a topic with its partitions in this process.
type localTopic struct {
	name     string
	id       topic.ID
	internal bool

	// config is what was set, without defaults.
	config atomic.Pointer[topic.Config]

	// placement is what the catalogue says of each partition.
	placement atomic.Pointer[[]catalogue.Partition]

	// partitions are those that were opened: nil until the topic is used, and
	// fewer than placement for a moment while partitions are being added. In
	// place of one that did not open is a broken one, which keeps nobody from
	// the others. A slice that was stored does not change.
	partitions atomic.Pointer[[]*partition.Partition]

	// loaded is how many partitions there were at a clean close, all of which must
	// be there; written before anybody uses the topic.
	loaded int32

	// opening is the token of whoever opens or deletes partitions.
	opening  chan struct{}
	unsynced bool // its: a directory was made whose name is not known to be durable

	gone    chan struct{} // closed when the topic is deleted
	deleted atomic.Bool   // the same, for those who ask per record
}

// open returns the partitions that were opened, broken ones among them.
func (t *localTopic) open() []*partition.Partition {
	if ps := t.partitions.Load(); ps != nil {
		return *ps
	}
	return nil
}

// isGone reports whether the topic was deleted.
func (t *localTopic) isGone() bool { return t.deleted.Load() }

// topic returns the topic of that name with its partitions open, or broken. An
// open topic is found without a lock. fault.UnknownTopic, fault.Closed.
func (b *Broker) topic(name string) (*localTopic, error) {
	v, ok := b.topics.Load(name)
	switch {
	case b.isClosed():
		return nil, fault.Closed
	case !ok:
		return nil, b.unknown(name)
	}
	t := v.(*localTopic)
	if t.partitions.Load() == nil {
		if err := b.openTopic(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// whole returns what topic does, and tries to open its broken partitions again.
func (b *Broker) whole(name string) (*localTopic, error) {
	if v, ok := b.topics.Load(name); ok && slices.ContainsFunc(v.(*localTopic).open(), isBroken) {
		if err := b.openTopic(v.(*localTopic)); err != nil {
			return nil, err
		}
	}
	return b.topic(name)
}

func isBroken(p *partition.Partition) bool { return p.Err() != nil }

// partition returns one partition, open; fault.UnknownTopic, and whatever keeps it
// from opening.
func (b *Broker) partition(tp record.TopicPartition) (*partition.Partition, error) {
	t, err := b.topic(tp.Topic)
	if err != nil {
		return nil, err
	}
	return b.sound(t, tp.Partition)
}

// sound returns a partition of a topic that is open. One that is broken it tries
// to open again; if that fails, it is returned with the error.
func (b *Broker) sound(t *localTopic, n int32) (*partition.Partition, error) {
	ps := t.open()
	if n < 0 || int(n) >= len(ps) {
		return nil, fault.At(fault.UnknownTopic, t.name, n, -1).Detailf("the topic has %d partitions", len(ps))
	}
	if isBroken(ps[n]) {
		if err := b.openTopic(t); err != nil {
			return ps[n], err
		}
		ps = t.open()
	}
	return ps[n], ps[n].Err()
}

// unknown returns the error for a topic that does not exist, with what may have
// been meant or how to create it.
func (b *Broker) unknown(name string) error {
	err := fault.At(fault.UnknownTopic, name, -1, -1)
	hint := fmt.Sprintf("create it with CreateTopics(ctx, topic.Spec{Name: %q})", name)
	if near := topic.Nearest(name, b.names()); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "? Otherwise " + hint
	}
	return err.Try(hint)
}

// names returns the names of all topics but internal ones, sorted.
func (b *Broker) names() []string {
	names := []string{}
	b.topics.Range(func(name, t any) bool {
		if !t.(*localTopic).internal {
			names = append(names, name.(string))
		}
		return true
	})
	slices.Sort(names)
	return names
}

// metadataChanged returns a channel that is closed when topics or partitions
// change the next time. Take it first, then look, then wait.
func (b *Broker) metadataChanged() <-chan struct{} { return *b.changed.Load() }

// announce tells everybody who waits that topics or partitions have changed.
func (b *Broker) announce() {
	next := make(chan struct{})
	close(*b.changed.Swap(&next))
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.sessions {
		if w, ok := s.(metadataWatcher); ok {
			w.metadataChanged()
		}
	}
}

// metadataWatcher is a session that wants to know when topics or partitions have
// changed. metadataChanged must not block.
type metadataWatcher interface{ metadataChanged() }

// internalTopic returns the internal topic that spec names, and creates it
// where it is missing.
func (b *Broker) internalTopic(ctx context.Context, spec topic.Spec) (*localTopic, error) {
	if _, ok := b.topics.Load(spec.Name); !ok {
		if err := b.createInternal(ctx, spec); err != nil {
			return nil, err
		}
	}
	return b.topic(spec.Name)
}

// publish makes the topics known that the catalogue has under these names, or
// changes what is known of them. It is called by the writer.
func (b *Broker) publish(names ...string) {
	for _, name := range names {
		c := b.catalogue.Topic(name)
		if c == nil {
			continue
		}
		v, ok := b.topics.Load(name)
		t, _ := v.(*localTopic)
		if !ok {
			t = &localTopic{
				name: name, id: c.ID, internal: topic.IsInternal(name),
				opening: make(chan struct{}, 1),
				gone:    make(chan struct{}),
			}
		}
		t.config.Store(&c.Config)
		t.placement.Store(&c.Partitions)
		if !ok {
			b.topics.Store(name, t)
		}
	}
}

// openTopic opens the partitions of t that are not open yet. One that does not
// open is broken from then on, until this is called again. When it returns, the
// names of the directories of all others are durable.
func (b *Broker) openTopic(t *localTopic) error {
	if err := b.claimOpening(t); err != nil {
		return err
	}
	defer func() { <-t.opening }()
	if b.isClosed() {
		return fault.Closed
	}
	return b.openMissing(t)
}

// openMissing is openTopic for who has the token. A command that has begun calls it
// though the broker is being closed: directories that the catalogue tells of must be
// there when it is marked as cleanly closed.
func (b *Broker) openMissing(t *localTopic) error {
	if t.isGone() {
		return b.unknown(t.name)
	}
	ps := t.open()
	all := make([]*partition.Partition, len(*t.placement.Load()))
	var added []*partition.Partition
	for n := range all {
		if n < len(ps) && !isBroken(ps[n]) {
			all[n] = ps[n]
			continue
		}
		all[n] = b.openPartition(t, int32(n))
		added = append(added, all[n])
	}
	if len(added) == 0 {
		return nil
	}
	if t.unsynced {
		err := b.fsys.SyncDir(b.dir)
		t.unsynced = err != nil
		for n, p := range all {
			if err != nil && !isBroken(p) && slices.Contains(added, p) {
				_ = p.Close()
				all[n] = b.breakPartition(t, int32(n), fault.At(fault.OfDisk(err), t.name, int32(n), -1).Because(err))
			}
		}
	}
	t.partitions.Store(&all)
	b.cleaner.forget(t)
	for _, p := range all {
		if slices.Contains(added, p) && p.StartOffset() < p.EndOffset() {
			b.cleaner.look(t, p)
		}
	}
	return nil
}

// openPartition opens partition n of t, whose directory it makes where that is not
// damage.
func (b *Broker) openPartition(t *localTopic, n int32) (p *partition.Partition) {
	tp := record.TopicPartition{Topic: t.name, Partition: n}
	made, err := b.claim(tp, t.id, n < t.loaded)
	t.unsynced = t.unsynced || made
	if err != nil {
		return b.breakPartition(t, n, err)
	}
	cfg := b.partitionConfig(t, tp)
	cfg.Log.Begun = func() { b.cleaner.look(t, p) }
	opened, found, err := partition.Open(cfg)
	if damage, ok := errors.AsType[*fault.Corruption](err); ok {
		damage.Hint = hintUnopened
	}
	if err != nil {
		return b.breakPartition(t, n, err)
	}
	p = opened
	b.recovered(PartitionRecovery{TopicPartition: tp, Recovery: found}, !made)
	return p
}

// claim makes sure that a partition's directory is there and its own. See layout.Claim.
func (b *Broker) claim(tp record.TopicPartition, id topic.ID, must bool) (made bool, err error) {
	if err := b.lock.Keeps(); err != nil {
		return false, err
	}
	return layout.Claim(b.fsys, b.path(tp), tp, id, must)
}

// hintUnopened is what to do about a partition that does not open.
const hintUnopened = "nothing was changed, and other partitions can be used; close the broker and have `runnel repair` make the log whole, or restore the directory from a copy"

// breakPartition returns what stands for partition n of t, which does not open, and
// notes why.
func (b *Broker) breakPartition(t *localTopic, n int32, err error) *partition.Partition {
	tp := record.TopicPartition{Topic: t.name, Partition: n}
	b.recovered(PartitionRecovery{TopicPartition: tp, Err: err}, true)
	return partition.Broken(b.partitionConfig(t, tp), err)
}

// partitionConfig returns what a partition of t is told.
func (b *Broker) partitionConfig(t *localTopic, tp record.TopicPartition) partition.Config {
	cfg := *t.config.Load()
	return partition.Config{Log: b.logConfig(tp, cfg), Settings: b.settings(cfg)}
}

// openWorkers is how many topics are opened at once when there are many: what
// they sync, the file system syncs together.
const openWorkers = 16

// openTopics opens topics, several at a time, for the writer.
func (b *Broker) openTopics(topics []*localTopic) error {
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
			errs[i] = b.openMissing(t)
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

// logConfig returns what a partition's log is told.
func (b *Broker) logConfig(tp record.TopicPartition, cfg topic.Config) log.Config {
	bytes, age := segments(cfg)
	return log.Config{
		FS: b.fsys, Dir: b.path(tp),
		Topic: tp.Topic, Partition: tp.Partition,
		SegmentBytes: bytes, SegmentAge: age, Failed: b.noteFailed(tp),
		Codec: b.codec,
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
func (b *Broker) settings(cfg topic.Config) partition.Settings {
	cfg = cfg.WithDefaults()
	return partition.Settings{
		Fsync:              b.durabilityOf(cfg) == topic.Fsync,
		MaxMessageBytes:    cfg.MaxMessageBytes,
		AppendTime:         cfg.Timestamps == topic.LogAppendTime,
		Before:             cfg.TimestampBefore,
		After:              cfg.TimestampAfter,
		Keyed:              cfg.Cleanup != topic.Delete,
		ProducerExpiration: b.producerExpiration,
		MinReplicas:        cfg.MinReplicas,
	}
}

// durabilityOf returns the durability of a topic with this configuration.
func (b *Broker) durabilityOf(cfg topic.Config) topic.Durability {
	if cfg.Durability == topic.DefaultDurability {
		return b.defaultDurability
	}
	return cfg.Durability
}

// path returns a partition's directory.
func (b *Broker) path(tp record.TopicPartition) string { return filepath.Join(b.dir, tp.String()) }

// deleteTopic ends a topic that the catalogue no longer has, and removes its
// partitions. A crash on the way is made good by the next opening.
func (b *Broker) deleteTopic(t *localTopic) error {
	b.topics.Delete(t.name)
	t.deleted.Store(true)
	close(t.gone)
	t.opening <- struct{}{}
	defer func() { <-t.opening }()
	for _, p := range t.open() {
		p.Abandon()
	}
	var doomed []string
	var failed error
	for n := range *t.placement.Load() {
		path := b.path(record.TopicPartition{Topic: t.name, Partition: int32(n)})
		to, err := layout.SetAside(b.fsys, path, layout.SuffixDelete)
		switch {
		case err == nil:
			doomed = append(doomed, to)
		case failed == nil && !errors.Is(err, fs.ErrNotExist):
			failed = err
		}
	}
	b.cleaner.forget(t, t.open()...)
	for _, p := range t.open() {
		if err := p.Delete(); err != nil && failed == nil {
			failed = err
		}
	}
	for _, path := range doomed {
		if err := b.fsys.RemoveAll(path); err != nil && failed == nil {
			failed = err
		}
	}
	if err := b.fsys.SyncDir(b.dir); err != nil && failed == nil {
		failed = err
	}
	if failed != nil {
		return fault.At(fault.OfDisk(failed), t.name, -1, -1).
			Detailf("the topic is deleted, but its files are not").Because(failed)
	}
	return nil
}

// clear puts a directory out of the way that has the name of a partition about
// to be created.
func (b *Broker) clear(tp record.TopicPartition) error {
	path := b.path(tp)
	if _, err := b.fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := layout.SetAside(b.fsys, path, layout.SuffixStray); err != nil {
		return fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	return nil
}
