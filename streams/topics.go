package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// repartitionSegment is the size of a repartition topic's segments. It is small
// because committed records are deleted in whole segments.
const repartitionSegment = 16 << 20

// changelogSlack is how much longer a changelog keeps records than its store,
// because retention goes by the clock and the store by the time of the stream.
const changelogSlack = 24 * time.Hour

// layout is what an application finds out about its topics when it starts.
type layout struct {
	partitions map[string]int // of every topic that is read
	batchBytes map[string]int // the largest batch of a topic that is written, if its limit is below the usual one
	process    string         // identifies this run to the application's other processes
}

// prepare checks that the topics which the topology and the handlers name exist,
// and creates the internal ones.
func (a *App) prepare(ctx context.Context) (layout, error) {
	found := layout{make(map[string]int), make(map[string]int), rand.Text()}
	sources, sinks := a.plan.topics(sourceNode, false), a.plan.topics(sinkNode, false)
	for _, name := range a.config.handling.topics() {
		if !slices.Contains(sinks, name) {
			sinks = append(sinks, name)
		}
	}
	described, err := a.backend.DescribeTopics(ctx, append(slices.Clone(sources), sinks...)...)
	if err != nil {
		return found, err
	}
	for _, d := range described[:len(sources)] {
		found.partitions[d.Name] = len(d.Partitions)
	}
	for _, d := range described[len(sources):] {
		if limit := d.Config.MaxMessageBytes; limit > 0 && limit < batchBytes {
			found.batchBytes[d.Name] = limit
		}
	}
	if err := a.keepPartitions(ctx, found.partitions); err != nil {
		return found, err
	}
	if err := a.plan.partitions(found.partitions); err != nil {
		return found, err
	}
	for _, internal := range a.internalTopics(found.partitions) {
		if err := a.ensure(ctx, internal); err != nil {
			return found, err
		}
	}
	return found, nil
}

// keepPartitions adds to counts the partitions of the existing repartition
// topics. Their number does not change when a topic that they are made from
// grows: the stores behind them are partitioned by it.
func (a *App) keepPartitions(ctx context.Context, counts map[string]int) error {
	for _, name := range a.plan.topics(sourceNode, true) {
		found, err := a.backend.DescribeTopics(ctx, name)
		switch {
		case err == nil:
			counts[name] = len(found[0].Partitions)
		case !errors.Is(err, fault.UnknownTopic):
			return err
		}
	}
	return nil
}

// internalTopic is a topic that belongs to the application.
type internalTopic struct {
	topic.Spec
	node  *node      // the node that keeps its store there, or reads it
	store *storeDecl // nil: it is no changelog
}

// internalTopics returns the topics that belong to the application, given the
// partitions of the topics that are read.
func (a *App) internalTopics(counts map[string]int) []internalTopic {
	var all []internalTopic
	for _, sub := range a.plan.subs {
		for _, n := range sub.nodes {
			if n.kind == sourceNode && n.internal != nil {
				name := a.plan.topicOf(n)
				all = append(all, internalTopic{topic.Spec{Name: name, Partitions: counts[name], Config: topic.Config{
					Retention: topic.Forever, SegmentBytes: repartitionSegment,
				}}, n, nil})
			}
		}
	}
	for _, s := range a.plan.topology.stores {
		// As many as the topics that feed the store have, not as many as there
		// are tasks, so that a later growth of those topics is detected.
		name := a.plan.changelogOf(s)
		cfg := topic.Config{Cleanup: topic.Compact}
		switch {
		case s.retention > 0:
			cfg = topic.Config{Cleanup: topic.CompactDelete, Retention: s.retention + changelogSlack}
		case s.history > 0:
			cfg.MinCompactionLag = s.history + changelogSlack
		}
		all = append(all, internalTopic{topic.Spec{Name: name, Partitions: a.plan.largest(s.upstream(), counts), Config: cfg}, s.owner(), s})
	}
	return all
}

// ensure creates an internal topic, or checks the existing one.
func (a *App) ensure(ctx context.Context, internal internalTopic) error {
	spec := internal.Spec
	found, err := a.backend.DescribeTopics(ctx, spec.Name)
	if errors.Is(err, fault.UnknownTopic) {
		err = a.backend.CreateTopics(ctx, spec)
		if !errors.Is(err, fault.TopicExists) {
			return err
		}
		found, err = a.backend.DescribeTopics(ctx, spec.Name) // another process created it first
	}
	if err != nil {
		return err
	}
	if n := len(found[0].Partitions); n != spec.Partitions {
		return a.regrown(internal.node, internal.store, n, spec.Partitions)
	}
	return nil
}

// grown returns an error if the application cannot handle a partition of a
// topic that had fewer when it started.
func (a *App) grown(tp record.TopicPartition, counts map[string]int) error {
	was := counts[tp.Topic]
	if int(tp.Partition) < was {
		return nil
	}
	for _, s := range a.plan.topology.stores {
		if slices.ContainsFunc(s.upstream(), func(n *node) bool { return a.plan.topicOf(n) == tp.Topic }) {
			return a.regrown(s.owner(), s, was, int(tp.Partition)+1)
		}
	}
	for _, n := range a.plan.topology.nodes {
		if n.kind == sourceNode && n.internal != nil && n.internal.partitions > 0 && a.plan.topicOf(n) == tp.Topic {
			return a.regrown(n, nil, was, int(tp.Partition)+1)
		}
	}
	return nil
}

// regrown says that a node has some number of partitions and would need
// another: its store is partitioned by that number, or the program asked for
// it.
func (a *App) regrown(n *node, store *storeDecl, has, needs int) error {
	if store == nil {
		return fault.At(fault.InvalidPartitions, a.plan.topicOf(n), -1, -1).
			Detailf("the topology asks for %d partitions, and there are %d", n.internal.partitions, max(has, needs)).
			Try("bring the topology to that number; or start over with App.Reset, which deletes what is in the topic")
	}
	from := store.upstream()[0]
	advice := "start over with App.Reset"
	if from.internal == nil { // even after Reset its old records would be in the old partitions
		advice = "gather the keys with Repartition in front of it, and start over with App.Reset"
	}
	return fault.At(fault.InvalidPartitions, a.plan.topicOf(from), -1, -1).
		Detailf("the topic has %d partitions, and %s keeps its store by %d, in %s: keys may be in other partitions than before",
			needs, n.name, has, a.plan.changelogOf(store)).
		Try(advice)
}

// partitionsOf returns all partitions of topics.
func (a *App) partitionsOf(ctx context.Context, topics []string) ([]record.TopicPartition, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	described, err := a.backend.DescribeTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	var tps []record.TopicPartition
	for _, d := range described {
		tps = append(tps, d.TopicPartitions()...)
	}
	return tps, nil
}

// Reset makes the application start over at its next Run: it deletes the
// internal topics, and with them the contents of its stores, and moves its
// offsets back to the start of the topics that it reads. What the application
// wrote to other topics remains. The application must not be running, in this
// process or another: fault.InvalidRequest, or the backend's error for a group
// that is in use.
func (a *App) Reset(ctx context.Context) error {
	if s := a.State(); s != Created && s < NotRunning {
		return fault.Newf(fault.InvalidRequest, "the application is running")
	}
	if err := a.rewind(ctx); err != nil {
		return err
	}
	internal := make(map[string]bool)
	for _, t := range a.internalTopics(nil) {
		internal[t.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(internal)) {
		if err := a.backend.DeleteTopics(ctx, name); err != nil && !errors.Is(err, fault.UnknownTopic) {
			return err
		}
	}
	return nil
}

// rewind commits the start of every partition that the application reads and has
// an offset for.
func (a *App) rewind(ctx context.Context) error {
	tps, err := a.partitionsOf(ctx, a.plan.topics(sourceNode, false))
	if err != nil {
		return err
	}
	s, err := a.openOffsets(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, name := range a.plan.topics(sourceNode, true) {
		more, err := a.partitionsOf(ctx, []string{name})
		if err != nil && !errors.Is(err, fault.UnknownTopic) {
			return err
		}
		tps = append(tps, more...)
	}
	committed, err := s.Committed(ctx, tps...)
	if err != nil || len(committed) == 0 {
		return err
	}
	starts, err := s.Offsets(ctx, topic.Earliest(), slices.Collect(maps.Keys(committed))...)
	if err != nil {
		return err
	}
	start := make(map[record.TopicPartition]consumer.Offset)
	for tp := range committed {
		o := consumer.Offset{LeaderEpoch: -1}
		if !a.plan.internal[tp.Topic] { // repartition topics will be created again
			o.Offset = starts[tp]
		}
		start[tp] = o
	}
	return s.Commit(ctx, start)
}
