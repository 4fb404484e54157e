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

	// partitions are those that are open: nil until the topic is used, and
	// fewer than placement for a moment while partitions are being added. A
	// slice that was stored does not change.
	partitions atomic.Pointer[[]*partition.Partition]

	// opening is the token of whoever opens or deletes partitions.
	opening chan struct{}

	gone    chan struct{} // closed when the topic is deleted
	deleted atomic.Bool   // the same, for those who ask per record
}

// open returns the partitions that are open.
func (t *localTopic) open() []*partition.Partition {
	if ps := t.partitions.Load(); ps != nil {
		return *ps
	}
	return nil
}

// isGone reports whether the topic was deleted.
func (t *localTopic) isGone() bool { return t.deleted.Load() }

// topic returns the topic of that name with its partitions open. An open topic
// is found without a lock. fault.UnknownTopic, fault.Closed, and whatever kept a
// partition from opening.
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

// partition returns one partition, open; fault.UnknownTopic.
func (b *Broker) partition(tp record.TopicPartition) (*partition.Partition, error) {
	t, err := b.topic(tp.Topic)
	if err != nil {
		return nil, err
	}
	ps := t.open()
	if tp.Partition < 0 || int(tp.Partition) >= len(ps) {
		return nil, fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1).Detailf("the topic has %d partitions", len(ps))
	}
	return ps[tp.Partition], nil
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

// openTopic opens the partitions of t that are not open yet.
func (b *Broker) openTopic(t *localTopic) error {
	if err := b.claimOpening(t); err != nil {
		return err
	}
	defer func() { <-t.opening }()
	ps := t.open()
	placed := len(*t.placement.Load())
	switch {
	case b.isClosed():
		return fault.Closed
	case t.isGone():
		return b.unknown(t.name)
	case len(ps) == placed:
		return nil
	}
	added, err := b.openPartitions(t, len(ps), placed)
	if err != nil {
		return err
	}
	all := slices.Concat(ps, added)
	t.partitions.Store(&all)
	b.cleaner.forget(t)
	for _, p := range added {
		if p.StartOffset() < p.EndOffset() {
			b.cleaner.look(t, p)
		}
	}
	return nil
}

// openPartitions opens the partitions of t from one number to before another,
// all or none. When it returns, the names of directories that it made are
// durable.
func (b *Broker) openPartitions(t *localTopic, from, to int) (opened []*partition.Partition, err error) {
	defer func() {
		if err != nil {
			for _, p := range opened {
				_ = p.Close()
			}
			opened = nil
		}
	}()
	anyMade := false
	for n := from; n < to; n++ {
		p, made, err := b.openPartition(t, int32(n))
		if err != nil {
			return opened, err
		}
		opened = append(opened, p)
		anyMade = anyMade || made
	}
	if anyMade {
		if err := b.fsys.SyncDir(b.dir); err != nil {
			return opened, fault.At(fault.OfDisk(err), t.name, -1, -1).Because(err)
		}
	}
	return opened, nil
}

// openPartition opens partition n of t and reports whether its directory had to
// be made.
func (b *Broker) openPartition(t *localTopic, n int32) (p *partition.Partition, made bool, err error) {
	tp := record.TopicPartition{Topic: t.name, Partition: n}
	if made, err = b.claim(tp, t.id); err != nil {
		return nil, false, err
	}
	cfg := *t.config.Load()
	logConfig := b.logConfig(tp, cfg)
	logConfig.Begun = func() { b.cleaner.look(t, p) }
	p, found, err := partition.Open(partition.Config{Log: logConfig, Settings: b.settings(cfg)})
	if err != nil {
		return nil, false, err
	}
	if !made {
		b.recovered(tp, found)
	}
	return p, made, nil
}

// openWorkers is how many topics are opened at once when there are many: what
// they sync, the file system syncs together.
const openWorkers = 16

// openTopics opens topics, several at a time, and tells failed about those that
// do not open, from any goroutine.
func (b *Broker) openTopics(topics []*localTopic, failed func(t *localTopic, err error)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(topics) {
				return
			}
			if err := b.openTopic(topics[i]); err != nil {
				failed(topics[i], err)
			}
		}
	}
	for range min(openWorkers, len(topics)) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
}

// logConfig returns what a partition's log is told.
func (b *Broker) logConfig(tp record.TopicPartition, cfg topic.Config) log.Config {
	bytes, age := segments(cfg)
	return log.Config{
		FS: b.fsys, Dir: b.path(tp),
		Topic: tp.Topic, Partition: tp.Partition,
		SegmentBytes: bytes, SegmentAge: age,
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
		to, err := b.setAside(path, suffixDelete)
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
		return fault.At(fault.Storage, t.name, -1, -1).
			Detailf("the topic is deleted, but its files are not").Because(failed)
	}
	return nil
}
