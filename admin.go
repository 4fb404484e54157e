package runnel

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var _ topic.Admin = (*Broker)(nil)

// CreateTopics creates all topics or none. See topic.Admin.
func (b *Broker) CreateTopics(ctx context.Context, specs ...topic.Spec) error {
	for _, s := range specs {
		if topic.IsInternal(s.Name) {
			return fault.At(fault.InvalidTopic, s.Name, -1, -1).Detailf("the broker keeps its own state under this name")
		}
	}
	return b.command(ctx, func() error { return b.create(specs) })
}

// createInternal creates an internal topic unless it is there by now.
func (b *Broker) createInternal(ctx context.Context, spec topic.Spec) error {
	return b.command(ctx, func() error {
		if b.catalogue.Topic(spec.Name) != nil {
			return nil
		}
		return b.create([]topic.Spec{spec})
	})
}

// create creates topics, as the writer.
func (b *Broker) create(specs []topic.Spec) error {
	specs = slices.Clone(specs)
	for i := range specs {
		if s := &specs[i]; s.Partitions == 0 {
			s.Partitions = b.defaultPartitions
		}
		if s := &specs[i]; s.Replicas == 0 {
			s.Replicas = 1
		}
	}
	if err := b.checkCase(specs); err != nil {
		return err
	}
	values, err := b.catalogue.CreateTopics(specs, nodeID, newID)
	if err != nil {
		return err
	}
	if err := b.commit(values); err != nil {
		return err
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	return b.establish(names, 0)
}

// establish makes new partitions of these topics known, from number from on,
// and opens them. An error for want of space or of file handles must not look as if
// trying again would do: the catalogue has them.
func (b *Broker) establish(names []string, from int) error {
	var errs []error
	for _, name := range names {
		for n := from; n < len(b.catalogue.Topic(name).Partitions); n++ {
			errs = append(errs, b.clear(record.TopicPartition{Topic: name, Partition: int32(n)}))
		}
	}
	b.publish(names...)
	topics := make([]*localTopic, len(names))
	for i, name := range names {
		v, _ := b.topics.Load(name)
		topics[i] = v.(*localTopic)
	}
	if err := b.openTopics(topics); err != nil {
		errs = append(errs, err)
	}
	for _, t := range topics {
		for n, p := range t.open() {
			if err := p.Err(); err != nil && n >= from {
				code := fault.Storage
				if errors.Is(err, fault.PermissionDenied) {
					code = fault.PermissionDenied
				}
				errs = append(errs, fault.At(code, t.name, int32(n), -1).
					Detailf("the topic is there as it was asked for, but its files are not: they are made when it is used").Because(err).ForGood())
			}
		}
	}
	b.announce()
	return errors.Join(errs...)
}

// newID returns a random topic ID, none of those that Kafka keeps for itself
// and none whose text begins with a dash, which would be an option in a shell.
func newID() topic.ID {
	for {
		var id topic.ID
		_, _ = rand.Read(id[:])   // never fails
		id[6] = id[6]&0x0f | 0x40 // version 4
		id[8] = id[8]&0x3f | 0x80 // RFC 9562
		if !strings.HasPrefix(id.String(), "-") {
			return id
		}
	}
}

// checkCase refuses names that differ from another one in case only, where the
// file system would take their directories for one.
func (b *Broker) checkCase(specs []topic.Spec) error {
	if !b.folds {
		return nil
	}
	taken := map[string]string{}
	for _, name := range b.catalogue.Names() {
		taken[strings.ToLower(name)] = name
	}
	for _, s := range specs {
		other, ok := taken[strings.ToLower(s.Name)]
		if ok && other != s.Name {
			return fault.At(fault.InvalidTopic, s.Name, -1, -1).
				Detailf("this file system takes it for the name of topic %s", other)
		}
		taken[strings.ToLower(s.Name)] = s.Name
	}
	return nil
}

// DeleteTopics deletes topics with their records, all or none. See topic.Admin.
func (b *Broker) DeleteTopics(ctx context.Context, names ...string) error {
	return b.command(ctx, func() error {
		values, err := b.catalogue.DeleteTopics(names)
		if err != nil {
			return err
		}
		if err := b.reserve.With(func() error { return b.commit(values) }); err != nil {
			return err
		}
		defer b.reserve.Fill() // of the room that this makes
		var errs []error
		for _, name := range names {
			if v, ok := b.topics.Load(name); ok {
				errs = append(errs, b.deleteTopic(v.(*localTopic)))
			}
		}
		b.announce()
		return errors.Join(errs...)
	})
}

// AddPartitions raises a topic's number of partitions to total. See
// topic.Admin.
func (b *Broker) AddPartitions(ctx context.Context, name string, total int) error {
	return b.command(ctx, func() error {
		values, err := b.catalogue.AddPartitions(name, total, nodeID)
		if err != nil {
			return err
		}
		from := len(b.catalogue.Topic(name).Partitions)
		if err := b.commit(values); err != nil {
			return err
		}
		return b.establish([]string{name}, from)
	})
}

// ConfigureTopic replaces a topic's configuration. See topic.Admin.
func (b *Broker) ConfigureTopic(ctx context.Context, name string, cfg topic.Config) error {
	return b.command(ctx, func() error {
		values, err := b.catalogue.ConfigureTopic(name, cfg)
		if err != nil || len(values) == 0 {
			return err
		}
		if err := b.commit(values); err != nil {
			return err
		}
		b.publish(name)
		v, _ := b.topics.Load(name)
		t := v.(*localTopic)
		if err := b.claimOpening(t); err != nil {
			return err
		}
		defer func() { <-t.opening }()
		for _, p := range t.open() {
			p.Configure(b.settings(cfg))
			p.SetSegments(segments(cfg))
			if !isBroken(p) {
				b.cleaner.lookAnew(t, p)
			}
		}
		if t.partitions.Load() == nil {
			b.cleaner.look(t, nil)
		}
		b.announce()
		return nil
	})
}

// Topics returns the names of all topics but internal ones, sorted.
func (b *Broker) Topics(context.Context) ([]string, error) {
	if b.isClosed() {
		return nil, fault.Closed
	}
	return b.names(), nil
}

// DescribeTopics describes the named topics, or all but internal ones. See
// topic.Admin.
func (b *Broker) DescribeTopics(ctx context.Context, names ...string) ([]topic.Description, error) {
	all := len(names) == 0
	if all {
		names = b.names()
	}
	descriptions := make([]topic.Description, 0, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := b.whole(name)
		if all && errors.Is(err, fault.UnknownTopic) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		descriptions = append(descriptions, b.describe(t))
	}
	if b.isClosed() {
		return nil, fault.Closed
	}
	return descriptions, nil
}

// describe describes a topic that is open.
func (b *Broker) describe(t *localTopic) topic.Description {
	d := topic.Description{Name: t.name, ID: t.id, Internal: t.internal, Config: *t.config.Load()}
	placement := *t.placement.Load()
	for n, p := range t.open() {
		at := placement[n]
		pd := topic.PartitionDescription{
			Number: int32(n), Leader: at.Leader, LeaderEpoch: p.LeaderEpoch(),
			Replicas: slices.Clone(at.Replicas), ISR: slices.Clone(at.ISR),
			Size: p.Size(), DurableOffset: -1,
		}
		// Each is read before the one that it cannot exceed.
		pd.StartOffset, pd.HighWatermark = p.StartOffset(), p.HighWatermark()
		if b.disk {
			pd.DurableOffset = p.DurableOffset()
		}
		pd.EndOffset = p.EndOffset()
		if isBroken(p) {
			pd.Leader, pd.ISR, pd.Size = -1, nil, -1
		}
		d.Partitions = append(d.Partitions, pd)
	}
	return d
}

// DeleteRecords makes records before the given offsets unreadable. See
// topic.Admin.
func (b *Broker) DeleteRecords(ctx context.Context, before map[record.TopicPartition]int64) (map[record.TopicPartition]int64, error) {
	starts := make(map[record.TopicPartition]int64, len(before))
	if err := b.lock.Keeps(); err != nil {
		return starts, err
	}
	var errs []error
	for tp, offset := range before {
		if err := ctx.Err(); err != nil {
			return starts, err
		}
		p, err := b.writable(tp)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var start int64
		err = b.reserve.With(func() (err error) {
			start, err = p.DeleteRecords(offset)
			return err
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		starts[tp] = start
	}
	return starts, errors.Join(errs...)
}

// writable returns a partition of a topic that is not internal.
func (b *Broker) writable(tp record.TopicPartition) (*partition.Partition, error) {
	if topic.IsInternal(tp.Topic) {
		return nil, fault.At(fault.InvalidTopic, tp.Topic, -1, -1).Detailf("the broker keeps its own state in it")
	}
	return b.partition(tp)
}

// ListOffsets returns the offset that spec names in each partition. See
// topic.Admin.
func (b *Broker) ListOffsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	offsets := make(map[record.TopicPartition]topic.ListedOffset, len(partitions))
	for _, tp := range partitions {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := b.partition(tp)
		if err != nil {
			return nil, err
		}
		if offsets[tp], err = listOffset(p, spec); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}

// listOffset returns the offset that spec names in p.
func listOffset(p *partition.Partition, spec topic.OffsetSpec) (topic.ListedOffset, error) {
	var listed topic.ListedOffset
	if at, ok := spec.Time(); ok {
		offset, ms, found, err := p.OffsetForTime(at.UnixMilli())
		if err != nil {
			return listed, err
		}
		if found {
			return topic.ListedOffset{Offset: offset, LeaderEpoch: p.EpochAt(offset), Timestamp: time.UnixMilli(ms)}, nil
		}
		spec = topic.Latest()
	}
	switch offset, ok := spec.Offset(); {
	case spec.IsNone():
		return listed, fault.Newf(fault.InvalidRequest, "topic.None names no offset")
	case ok:
		listed.Offset = offset
	case spec.IsLatest():
		listed.Offset = p.HighWatermark()
	default:
		listed.Offset = p.StartOffset()
	}
	listed.LeaderEpoch = p.EpochAt(listed.Offset)
	return listed, nil
}
