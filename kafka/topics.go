package kafka

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// CreateTopics implements topic.Admin. The cluster creates topics one by one:
// if one fails, the others may exist.
func (c *Cluster) CreateTopics(ctx context.Context, specs ...topic.Spec) error {
	if err := c.live(); err != nil {
		return err
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	for _, spec := range specs {
		if err := check(spec); err != nil {
			return err
		}
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic = spec.Name
		t.NumPartitions = int32(cmp.Or(spec.Partitions, -1))
		t.ReplicationFactor = int16(cmp.Or(spec.Replicas, -1))
		for _, e := range entries(spec.Config) {
			config := kmsg.NewCreateTopicsRequestTopicConfig()
			config.Name, config.Value = e.Name, &e.Value
			t.Configs = append(t.Configs, config)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return failure(err)
	}
	var errs []error
	for _, t := range resp.Topics {
		errs = append(errs, answer(t.ErrorCode, t.ErrorMessage, t.Topic, -1))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := c.awaitAnswer(ctx, func() (bool, error) { return c.ready(ctx, t.Topic, 1) }); err != nil {
			return err
		}
	}
	return nil
}

// check rejects specs that a cluster would not accept, or would take for
// something else.
func check(spec topic.Spec) error {
	switch {
	case spec.Partitions < 0:
		return fault.At(fault.InvalidPartitions, spec.Name, -1, -1).Detailf("%d", spec.Partitions)
	case spec.Replicas < 0:
		return fault.At(fault.InvalidReplication, spec.Name, -1, -1).Detailf("%d", spec.Replicas)
	}
	if err := topic.ValidateName(spec.Name); err != nil {
		return err
	}
	return spec.Config.Validate()
}

// entries returns the settings of cfg that a cluster knows.
func entries(cfg topic.Config) []topic.Entry {
	cfg.Durability = topic.DefaultDurability
	cfg.KeyIndex = false
	return cfg.Entries()
}

// DeleteTopics implements topic.Admin.
func (c *Cluster) DeleteTopics(ctx context.Context, names ...string) error {
	if err := c.live(); err != nil {
		return err
	}
	resp, err := c.admin.DeleteTopics(ctx, names...)
	if err != nil {
		return failure(err)
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, failureAt(resp[name].Err, name, -1))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, name := range names {
		gone := func() (bool, error) {
			_, err := c.metadata(ctx, name)
			return errors.Is(err, fault.UnknownTopic), nil
		}
		if err := c.awaitAnswer(ctx, gone); err != nil {
			return err
		}
	}
	return nil
}

// awaitAnswer repeats a question until the answer is yes, no longer than Timeout:
// brokers learn of a change to topics some time after it was acknowledged.
func (c *Cluster) awaitAnswer(ctx context.Context, question func() (bool, error)) error {
	patience := time.NewTimer(c.timeout)
	defer patience.Stop()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if yes, err := question(); yes || err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-patience.C:
			return fault.Newf(fault.TimedOut, "the cluster is not ready after %v", c.timeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ready reports whether a topic has that many partitions, each with a leader.
func (c *Cluster) ready(ctx context.Context, name string, partitions int) (bool, error) {
	t, err := c.metadata(ctx, name)
	if err != nil || len(t.Partitions) < partitions {
		return false, ctx.Err()
	}
	for _, p := range t.Partitions {
		if p.ErrorCode != 0 || p.Leader < 0 {
			return false, nil
		}
	}
	return true, nil
}

// metadata returns the cluster's current metadata of one topic, or
// fault.UnknownTopic.
func (c *Cluster) metadata(ctx context.Context, name string) (kmsg.MetadataResponseTopic, error) {
	if err := c.live(); err != nil {
		return kmsg.MetadataResponseTopic{}, err
	}
	if err := topic.ValidateName(name); err != nil {
		return kmsg.MetadataResponseTopic{}, err
	}
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return kmsg.MetadataResponseTopic{}, failureAt(err, name, -1)
	}
	if len(resp.Topics) != 1 {
		return kmsg.MetadataResponseTopic{}, fault.At(fault.UnknownTopic, name, -1, -1)
	}
	m := resp.Topics[0]
	slices.SortFunc(m.Partitions, func(a, b kmsg.MetadataResponseTopicPartition) int {
		return cmp.Compare(a.Partition, b.Partition)
	})
	return m, answer(m.ErrorCode, nil, name, -1)
}

// allTopics returns the cluster's current metadata of all topics, including
// internal ones.
func (c *Cluster) allTopics(ctx context.Context) ([]kmsg.MetadataResponseTopic, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return nil, failure(err)
	}
	return resp.Topics, nil
}

// Topics implements topic.Admin.
func (c *Cluster) Topics(ctx context.Context) ([]string, error) {
	topics, err := c.allTopics(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range topics {
		if t.Topic != nil && !t.IsInternal && t.ErrorCode == 0 {
			names = append(names, *t.Topic)
		}
	}
	slices.Sort(names)
	return names, nil
}

// DescribeTopics implements topic.Admin. The end offset is the high watermark,
// and durable offset and size are unknown, -1.
func (c *Cluster) DescribeTopics(ctx context.Context, names ...string) ([]topic.Description, error) {
	if len(names) > 0 {
		return c.describe(ctx, names)
	}
	for {
		names, err := c.Topics(ctx)
		if err != nil || len(names) == 0 {
			return nil, err
		}
		described, err := c.describe(ctx, names)
		if errors.Is(err, fault.UnknownTopic) {
			continue // one was deleted between the two requests
		}
		return described, err
	}
}

// DescribeCluster describes the brokers. They are alive as long as the cluster names them.
// See topic.Admin.
func (c *Cluster) DescribeCluster(ctx context.Context) (topic.Cluster, error) {
	m, err := c.admin.BrokerMetadata(ctx)
	if err != nil {
		return topic.Cluster{}, failure(err)
	}
	cluster := topic.Cluster{Controller: m.Controller}
	for _, b := range m.Brokers {
		n := topic.Node{ID: b.NodeID, Address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), Alive: true}
		if b.Rack != nil {
			n.Rack = *b.Rack
		}
		cluster.Nodes = append(cluster.Nodes, n)
	}
	slices.SortFunc(cluster.Nodes, func(a, b topic.Node) int { return cmp.Compare(a.ID, b.ID) })
	return cluster, nil
}

func (c *Cluster) describe(ctx context.Context, names []string) ([]topic.Description, error) {
	described := make([]topic.Description, len(names))
	var partitions []record.TopicPartition
	for i, name := range names {
		t, err := c.metadata(ctx, name)
		if err != nil {
			return nil, err
		}
		d := topic.Description{Name: name, ID: topic.ID(t.TopicID), Internal: t.IsInternal}
		for _, p := range t.Partitions {
			d.Partitions = append(d.Partitions, topic.PartitionDescription{
				Number: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
				Replicas: p.Replicas, ISR: p.ISR, DurableOffset: -1, Size: -1,
			})
		}
		described[i] = d
		partitions = append(partitions, d.TopicPartitions()...)
	}
	var more details
	// The metadata has the topics. Until every broker has them, and what the client
	// remembers of the metadata, the other requests may say that there is none.
	err := c.awaitAnswer(ctx, func() (known bool, err error) {
		if more, err = c.details(ctx, names, partitions); !errors.Is(err, fault.UnknownTopic) {
			return err == nil, err
		}
		for _, name := range names {
			if _, err := c.metadata(ctx, name); err != nil { // it has been deleted
				return false, err
			}
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	for i := range described {
		d := &described[i]
		d.Config = more.configs[d.Name]
		for j := range d.Partitions {
			p := &d.Partitions[j]
			tp := record.TopicPartition{Topic: d.Name, Partition: p.Number}
			p.StartOffset, p.HighWatermark = more.starts[tp].Offset, more.ends[tp].Offset
			p.EndOffset = p.HighWatermark
		}
	}
	return described, nil
}

// details is what a description has beside the metadata.
type details struct {
	configs      map[string]topic.Config
	starts, ends map[record.TopicPartition]topic.ListedOffset
}

func (c *Cluster) details(ctx context.Context, names []string, partitions []record.TopicPartition) (d details, err error) {
	configs, err := c.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return d, failure(err)
	}
	d.configs = make(map[string]topic.Config, len(names))
	for _, name := range names {
		config, err := configs.On(name, nil)
		if err = errors.Join(err, config.Err); err != nil {
			return d, failureAt(err, name, -1)
		}
		d.configs[name] = configOf(config)
	}
	if d.starts, err = c.ListOffsets(ctx, topic.Earliest(), partitions...); err != nil {
		return d, err
	}
	d.ends, err = c.ListOffsets(ctx, topic.Latest(), partitions...)
	return d, err
}

// configOf returns the settings made on the topic itself. It omits settings
// that this module has no name for.
func configOf(r kadm.ResourceConfig) topic.Config {
	var cfg topic.Config
	for _, e := range r.Configs {
		if e.Source == kmsg.ConfigSourceDynamicTopicConfig && e.Value != nil {
			_ = cfg.Set(e.Key, *e.Value)
		}
	}
	return cfg
}

// AddPartitions implements topic.Admin.
func (c *Cluster) AddPartitions(ctx context.Context, name string, total int) error {
	t, err := c.metadata(ctx, name)
	if err != nil {
		return err
	}
	if now := len(t.Partitions); total <= now {
		return fault.At(fault.InvalidPartitions, name, -1, -1).Detailf("%d, and there are %d", total, now)
	}
	resp, err := c.admin.UpdatePartitions(ctx, total, name)
	if err != nil {
		return failureAt(err, name, -1)
	}
	if err := failureAt(resp[name].Err, name, -1); err != nil {
		return err
	}
	return c.awaitAnswer(ctx, func() (bool, error) { return c.ready(ctx, name, total) })
}

// ConfigureTopic implements topic.Admin. It replaces the topic's settings for
// which topic.Config has fields, and does not change Kafka's other ones.
func (c *Cluster) ConfigureTopic(ctx context.Context, name string, cfg topic.Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if _, err := c.metadata(ctx, name); err != nil {
		return err
	}
	now, err := c.config(ctx, name)
	if err != nil {
		return err
	}
	want := entries(cfg)
	var changes []kadm.AlterConfig
	for _, e := range entries(now) {
		if !slices.ContainsFunc(want, func(w topic.Entry) bool { return w.Name == e.Name }) {
			changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: e.Name})
		}
	}
	for _, e := range want {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: e.Name, Value: &e.Value})
	}
	if len(changes) == 0 {
		return nil
	}
	altered, err := c.admin.AlterTopicConfigs(ctx, changes, name)
	if err != nil {
		return failureAt(err, name, -1)
	}
	for _, a := range altered {
		if a.Err != nil {
			return failureAt(a.Err, name, -1)
		}
	}
	return c.awaitAnswer(ctx, func() (bool, error) {
		now, err := c.config(ctx, name)
		return slices.Equal(entries(now), want), err
	})
}

// config returns the topic's current settings.
func (c *Cluster) config(ctx context.Context, name string) (topic.Config, error) {
	described, err := c.admin.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return topic.Config{}, failureAt(err, name, -1)
	}
	now, err := described.On(name, nil)
	if err = errors.Join(err, now.Err); err != nil {
		return topic.Config{}, failureAt(err, name, -1)
	}
	return configOf(now), nil
}

// DeleteRecords implements topic.Admin.
func (c *Cluster) DeleteRecords(ctx context.Context, before map[record.TopicPartition]int64) (map[record.TopicPartition]int64, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	offsets := kadm.Offsets{}
	for tp, offset := range before {
		offsets.AddOffset(tp.Topic, tp.Partition, offset, -1)
	}
	resp, err := c.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return nil, failure(err)
	}
	starts := make(map[record.TopicPartition]int64, len(before))
	for tp := range before {
		r, ok := resp.Lookup(tp.Topic, tp.Partition)
		if !ok {
			return nil, failureOf(kerr.UnknownTopicOrPartition, tp)
		}
		if r.Err != nil {
			return nil, failureOf(r.Err, tp)
		}
		starts[tp] = r.LowWatermark
	}
	return starts, nil
}

// ListOffsets implements topic.Admin.
func (c *Cluster) ListOffsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	return c.listed(ctx, spec, uncommitted, partitions...)
}

// listed is ListOffsets at a level of isolation.
func (c *Cluster) listed(ctx context.Context, spec topic.OffsetSpec, level int8, partitions ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	listed := make(map[record.TopicPartition]topic.ListedOffset, len(partitions))
	if spec.IsNone() {
		return nil, fault.Newf(fault.InvalidRequest, "topic.None names no offset")
	}
	if offset, ok := spec.Offset(); ok {
		for _, tp := range partitions {
			listed[tp] = topic.ListedOffset{Offset: offset, LeaderEpoch: -1}
		}
		return listed, nil
	}
	when, byTime := spec.Time()
	ask := when.UnixMilli()
	switch {
	case spec.IsEarliest():
		ask = earliest
	case spec.IsLatest():
		ask = latest
	}
	if err := c.listOffsets(ctx, ask, level, partitions, listed); err != nil || !byTime {
		return listed, err
	}
	// If no record is that late, the answer is the end.
	var rest []record.TopicPartition
	for tp, l := range listed {
		if l.Offset < 0 {
			rest = append(rest, tp)
		}
	}
	return listed, c.listOffsets(ctx, latest, level, rest, listed)
}

// Values of ListOffsets requests that are not timestamps.
const (
	latest   = -1
	earliest = -2
)

// Kafka's levels of isolation.
const (
	uncommitted int8 = 0
	committed   int8 = 1
)

// listOffsets adds the cluster's answers for a timestamp to listed.
func (c *Cluster) listOffsets(ctx context.Context, ask int64, level int8, partitions []record.TopicPartition, listed map[record.TopicPartition]topic.ListedOffset) error {
	if err := c.live(); err != nil {
		return err
	}
	if len(partitions) == 0 {
		return nil
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, level
	for name, numbers := range byTopic(partitions) {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for _, n := range numbers {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp = n, ask
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return failure(err)
	}
	answered := 0
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := record.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			if err := answer(p.ErrorCode, nil, tp.Topic, tp.Partition); err != nil {
				return err
			}
			l := topic.ListedOffset{Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
			if ask >= 0 && p.Timestamp >= 0 {
				l.Timestamp = time.UnixMilli(p.Timestamp)
			}
			listed[tp] = l
			answered++
		}
	}
	if answered < len(partitions) {
		return fault.Newf(fault.UnknownTopic, "offsets of %d partitions, %d are known", len(partitions), answered)
	}
	return nil
}

// byTopic returns the partitions' numbers by their topics.
func byTopic(partitions []record.TopicPartition) map[string][]int32 {
	m := make(map[string][]int32)
	for _, tp := range partitions {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}

// sorted returns a copy of franz-go's assignment in order.
func sorted(m map[string][]int32) []record.TopicPartition {
	var partitions []record.TopicPartition
	for name, numbers := range m {
		for _, n := range numbers {
			partitions = append(partitions, record.TopicPartition{Topic: name, Partition: n})
		}
	}
	slices.SortFunc(partitions, record.TopicPartition.Compare)
	return partitions
}
