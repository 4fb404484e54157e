package runnel

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/host"
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
	return b.changeTopics(ctx, &change{kind: createTopics, specs: specs})
}

// create creates topics, as the writer, with these IDs if there are some.
func (b *Broker) create(specs []topic.Spec, ids ...topic.ID) error {
	specs = slices.Clone(specs)
	for i := range specs {
		if s := &specs[i]; s.Partitions == 0 {
			s.Partitions = b.defaultPartitions
		}
		if s := &specs[i]; s.Replicas == 0 {
			s.Replicas = min(defaultReplicas, len(b.nodes()))
		}
	}
	if err := b.checkCase(specs); err != nil {
		return err
	}
	newID := catalogue.NewID
	if len(ids) > 0 {
		newID = func() (id topic.ID) {
			id, ids = ids[0], ids[1:]
			return id
		}
	}
	values, err := b.metadata.Catalogue.CreateTopics(specs, b.nodes(), newID)
	if err != nil {
		return err
	}
	return b.commit(values)
}

// checkCase refuses a name that differs from another one only in case, if the file
// system would use one directory for both.
func (b *Broker) checkCase(specs []topic.Spec) error {
	if !b.folds {
		return nil
	}
	taken := map[string]string{}
	for _, name := range b.metadata.Catalogue.Names() {
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
	return b.changeTopics(ctx, &change{kind: deleteTopics, names: names})
}

// changeTopics creates or deletes topics on the node that leads the catalogue.
func (b *Broker) changeTopics(ctx context.Context, c *change) error {
	if b.cluster != nil {
		if err := b.cluster.identify(b, ctx, c); err != nil {
			return err
		}
	}
	return b.change(ctx, c)
}

// delete deletes topics, as the writer: those that still have these IDs, if there are some.
func (b *Broker) delete(names []string, ids ...topic.ID) error {
	for i, id := range ids {
		if t := b.metadata.Catalogue.Topic(names[i]); t != nil && id != (topic.ID{}) && t.ID != id {
			return fault.At(fault.UnknownTopic, names[i], -1, -1).Detailf("it was deleted and created again meanwhile")
		}
	}
	values, err := b.metadata.Catalogue.DeleteTopics(names)
	if err != nil {
		return err
	}
	if err := b.reserve.With(func() error { return b.metadata.Commit(values) }); err != nil {
		return err
	}
	defer b.reserve.Fill() // of the room that this makes
	return b.reconcile(b.metadata.TakeChanged())
}

// AddPartitions raises a topic's number of partitions to total. See
// topic.Admin.
func (b *Broker) AddPartitions(ctx context.Context, name string, total int) error {
	return b.change(ctx, &change{kind: addPartitions, names: []string{name}, total: total})
}

// ConfigureTopic replaces a topic's configuration. See topic.Admin.
func (b *Broker) ConfigureTopic(ctx context.Context, name string, cfg topic.Config) error {
	return b.change(ctx, &change{kind: configureTopic, names: []string{name}, config: cfg})
}

// Topics returns the names of all topics but internal ones, sorted.
func (b *Broker) Topics(context.Context) ([]string, error) {
	if b.isClosed() {
		return nil, fault.Closed
	}
	return b.host.Names(), nil
}

// DescribeTopics describes the named topics, or all but internal ones. See
// topic.Admin.
func (b *Broker) DescribeTopics(ctx context.Context, names ...string) ([]topic.Description, error) {
	all := len(names) == 0
	if all {
		names = b.host.Names()
	}
	descriptions := make([]topic.Description, 0, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := b.host.Whole(name)
		if all && errors.Is(err, fault.UnknownTopic) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		descriptions = append(descriptions, b.describe(t))
	}
	if b.cluster != nil {
		b.cluster.askLeaders(b, ctx, descriptions)
	}
	if b.isClosed() {
		return nil, fault.Closed
	}
	return descriptions, nil
}

// DescribeCluster describes the nodes of the cluster: this process, unless it is
// Replicated. See topic.Admin.
func (b *Broker) DescribeCluster(context.Context) (topic.Cluster, error) {
	if b.isClosed() {
		return topic.Cluster{}, fault.Closed
	}
	return topic.Cluster{Controller: b.metadata.Leader(), Nodes: b.nodes()}, nil
}

// describe describes a topic that is open.
func (b *Broker) describe(t *host.Topic) topic.Description {
	d := topic.Description{Name: t.Name, ID: t.ID, Internal: t.Internal, Config: t.Config()}
	placement := t.Placement()
	for n, p := range t.Partitions() {
		at := placement[n]
		pd := topic.PartitionDescription{
			Number: int32(n), Leader: at.Leader, LeaderEpoch: p.LeaderEpoch(),
			Replicas: slices.Clone(at.Replicas), ISR: slices.Clone(at.ISR),
			Size: -1, DurableOffset: -1,
		}
		if g, ok := p.Group(); ok {
			setGroup(&pd, g)
		}
		// Each is read before the one that bounds it, which may rise in between.
		pd.StartOffset, pd.HighWatermark = p.StartOffset(), p.HighWatermark()
		pd.EndOffset = pd.HighWatermark
		if local := p.Copy(); local != nil {
			if b.disk {
				pd.DurableOffset = local.DurableOffset()
			}
			pd.Size, pd.EndOffset = local.Size(), local.EndOffset()
		}
		if host.IsBroken(p) {
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
	if err := b.host.CheckLock(); err != nil {
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
func (b *Broker) writable(tp record.TopicPartition) (host.Partition, error) {
	if topic.IsInternal(tp.Topic) {
		return nil, fault.At(fault.InvalidTopic, tp.Topic, -1, -1).Detailf("the broker keeps its own state in it")
	}
	return b.host.Partition(tp)
}

// ListOffsets returns the offset that spec names in each partition. See
// topic.Admin.
func (b *Broker) ListOffsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	return b.host.ListOffsets(ctx, spec, partition.ReadUncommitted, partitions...)
}
