package streams

import (
	"maps"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// plan is a topology cut at its repartition topics, with the names that it has
// in an application. It does not change.
type plan struct {
	app      string
	topology *Topology
	subs     []*subTopology
	byTopic  map[string]*subTopology // by the topics that they read
	internal map[string]bool         // the repartition topics
	storesIn storesIn                // nil: memory
}

// subTopology is a connected part of a topology: its nodes pass records to each
// other by calls.
type subTopology struct {
	id      int
	nodes   []*node // in the order of declaration
	sources []*node
}

// newPlan cuts t for an application.
func newPlan(app string, t *Topology) *plan {
	p := &plan{app: app, topology: t, byTopic: make(map[string]*subTopology), internal: make(map[string]bool)}
	of := make(map[*node]*subTopology)
	for _, n := range t.nodes {
		if of[n] != nil {
			continue
		}
		sub := &subTopology{id: len(p.subs)}
		p.subs = append(p.subs, sub)
		gather(n, sub, of)
		slices.SortFunc(sub.nodes, func(a, b *node) int { return a.id - b.id })
		for _, n := range sub.nodes {
			if n.kind == sourceNode {
				sub.sources = append(sub.sources, n)
				p.byTopic[p.topicOf(n)] = sub
				p.internal[p.topicOf(n)] = n.internal != nil
			}
		}
	}
	return p
}

// gather adds everything connected with n to sub.
func gather(n *node, sub *subTopology, of map[*node]*subTopology) {
	if of[n] != nil {
		return
	}
	of[n] = sub
	sub.nodes = append(sub.nodes, n)
	for _, o := range n.parents {
		gather(o, sub, of)
	}
	for _, o := range n.children {
		gather(o, sub, of)
	}
	for _, s := range n.stores {
		for _, o := range s.nodes {
			gather(o, sub, of)
		}
	}
}

// topicOf returns the name of the topic that a source reads or a sink writes.
func (p *plan) topicOf(n *node) string {
	if n.internal != nil {
		return p.app + "-" + n.topic
	}
	return n.topic
}

// changelogOf returns the name of a store's changelog topic.
func (p *plan) changelogOf(s *storeDecl) string { return p.app + "-" + s.name + changelogSuffix }

// topics returns the topics that a topology's nodes of one kind read or write,
// in the order of declaration: the internal ones or the others.
func (p *plan) topics(kind nodeKind, internal bool) []string {
	var names []string
	for _, n := range p.topology.nodes {
		if name := p.topicOf(n); n.kind == kind && name != "" && (n.internal != nil) == internal && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// upstream returns the sources that n's records come from, within its
// sub-topology.
func upstream(n *node) []*node {
	if n.kind == sourceNode {
		return []*node{n}
	}
	var sources []*node
	for _, p := range n.parents {
		for _, s := range upstream(p) {
			if !slices.Contains(sources, s) {
				sources = append(sources, s)
			}
		}
	}
	return sources
}

// partitions sets the partitions of the repartition topics that do not exist in
// counts, which has those of the existing topics. Each gets as many as it asked
// for, else as many as the largest topic upstream. Topics that feed the same
// store must have the same number, because otherwise equal keys would be in
// different tasks: fault.InvalidPartitions.
func (p *plan) partitions(counts map[string]int) error {
	exists := maps.Clone(counts)
	for grown := true; grown; {
		grown = false
		grow := func(n *node, to int) {
			if name := p.topicOf(n); n.internal.partitions == 0 && exists[name] == 0 && counts[name] < to {
				counts[name], grown = to, true
			}
		}
		for _, n := range p.topology.nodes {
			switch {
			case n.internal != nil && n.internal.partitions > 0:
				counts[p.topicOf(n)] = n.internal.partitions
			case n.internal != nil && n.kind == sinkNode:
				from := n
				if n.internal.like != nil {
					from = n.internal.like
				}
				grow(n, p.largest(upstream(from), counts))
			}
		}
		for _, store := range p.topology.stores {
			together := store.upstream()
			for _, s := range together {
				if s.internal != nil {
					grow(s, p.largest(together, counts))
				}
			}
		}
	}
	for _, store := range p.topology.stores {
		together := store.upstream()
		for _, s := range together {
			if a, b := p.topicOf(together[0]), p.topicOf(s); counts[a] != counts[b] {
				return fault.Newf(fault.InvalidPartitions, "%s gathers records by key from %s with %d partitions and %s with %d",
					names(store.nodes), a, counts[a], b, counts[b]).Try("bring one of them to the other's number with Repartition")
			}
		}
	}
	return nil
}

// largest returns the largest number of partitions of the sources' topics.
func (p *plan) largest(sources []*node, counts map[string]int) int {
	most := 0
	for _, s := range sources {
		most = max(most, counts[p.topicOf(s)])
	}
	return most
}

// tasks returns the number of a sub-topology's tasks.
func (p *plan) tasks(sub *subTopology, counts map[string]int) int {
	return p.largest(sub.sources, counts)
}

// depths returns the topics that are read, grouped so that each repartition
// topic comes after all topics that it is made from. The first group is the
// topics that are not the application's own.
func (p *plan) depths() [][]string {
	all := [][]string{p.topics(sourceNode, false)}
	depth := make(map[string]int)
	for _, n := range p.topology.nodes { // parents come before their children
		if n.kind != sinkNode || n.internal == nil {
			continue
		}
		d := 0
		for _, s := range upstream(n) {
			d = max(d, depth[p.topicOf(s)])
		}
		d++
		depth[p.topicOf(n)] = d
		if d == len(all) {
			all = append(all, nil)
		}
		all[d] = append(all[d], p.topicOf(n))
	}
	return all
}

// metadata returns what the threads of a process send to their group's assignor.
func (p *plan) metadata(process string) tasks.Metadata {
	m := tasks.Metadata{Process: process}
	for _, sub := range p.subs {
		var topics []string
		for _, n := range sub.sources {
			if name := p.topicOf(n); !slices.Contains(topics, name) {
				topics = append(topics, name)
			}
		}
		m.SubTopologies = append(m.SubTopologies, topics)
	}
	return m
}

// taskOf returns the task that reads a partition.
func (p *plan) taskOf(tp record.TopicPartition) TaskID {
	return TaskID{SubTopology: p.byTopic[tp.Topic].id, Partition: tp.Partition}
}

// subOf returns the number of a node's sub-topology.
func (p *plan) subOf(n *node) int {
	return slices.IndexFunc(p.subs, func(s *subTopology) bool { return slices.Contains(s.nodes, n) })
}
