package streams

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// describe returns the plan as Kafka's TopologyDescription prints it. Internal
// topics are named without the application.
func (p *plan) describe() string {
	var b strings.Builder
	b.WriteString("Topologies:\n ")
	for _, sub := range p.subs {
		fmt.Fprintf(&b, "  Sub-topology: %d\n", sub.id)
		for _, n := range described(sub) {
			switch n.kind {
			case sourceNode:
				fmt.Fprintf(&b, "    Source: %s (topics: [%s])\n", n.name, n.topic)
			case processorNode:
				fmt.Fprintf(&b, "    Processor: %s (stores: [%s])\n", n.name, storeNames(n))
			case sinkNode:
				if n.topic == "" {
					fmt.Fprintf(&b, "    Sink: %s (extractor class: ToTopics)\n", n.name)
					break
				}
				fmt.Fprintf(&b, "    Sink: %s (topic: %s)\n", n.name, n.topic)
			}
			if n.kind != sinkNode {
				fmt.Fprintf(&b, "      --> %s\n", names(n.children))
			}
			if n.kind != sourceNode {
				fmt.Fprintf(&b, "      <-- %s\n", names(n.parents))
			}
		}
		b.WriteByte('\n')
	}
	for i, g := range p.topology.globals {
		fmt.Fprintf(&b, "  Sub-topology: %d for global store (will not generate tasks)\n", len(p.subs)+i)
		fmt.Fprintf(&b, "    Source: %s (topics: [%s])\n      --> %s\n", g.source.name, g.source.topic, g.name)
		fmt.Fprintf(&b, "    Processor: %s (stores: [%s])\n      --> none\n      <-- %s\n\n", g.name, g.source.topic, g.source.name)
	}
	return b.String()
}

// described returns a sub-topology's nodes in Kafka's order: those with more
// descendants first, then by name.
func described(sub *subTopology) []*node {
	size := make(map[*node]int)
	for _, n := range slices.Backward(sub.nodes) {
		size[n]++
		for _, child := range n.children {
			size[n] += size[child]
		}
	}
	nodes := slices.Clone(sub.nodes)
	slices.SortFunc(nodes, func(a, b *node) int {
		return cmp.Or(size[b]-size[a], cmp.Compare(a.name, b.name))
	})
	return nodes
}

// names lists nodes by name, and for an empty list is none, as in Kafka.
func names(nodes []*node) string {
	if len(nodes) == 0 {
		return "none"
	}
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = n.name
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// storeNames lists the stores that a node uses by name.
func storeNames(n *node) string {
	all := make([]string, len(n.stores))
	for i, s := range n.stores {
		all[i] = s.name
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// mermaid returns the plan as a flowchart. Topics are cylinders between the
// sub-topologies, and stores are attached to their nodes.
func (p *plan) mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	topics := make(map[string]string)
	topic := func(n *node) string {
		id, ok := topics[n.topic]
		if !ok {
			id = fmt.Sprintf("t%d", len(topics))
			topics[n.topic] = id
			fmt.Fprintf(&b, "    %s[(\"%s\")]\n", id, n.topic)
		}
		return id
	}
	for _, n := range p.topology.nodes {
		if n.topic != "" {
			topic(n)
		}
	}
	for _, sub := range p.subs {
		fmt.Fprintf(&b, "    subgraph s%d[\"Sub-topology %d\"]\n", sub.id, sub.id)
		for _, n := range sub.nodes {
			fmt.Fprintf(&b, "        n%d[\"%s\"]\n", n.id, n.name)
			for _, s := range n.stores {
				fmt.Fprintf(&b, "        n%d --- store%d[/\"%s\"/]\n", n.id, slices.Index(p.topology.stores, s), s.name)
			}
		}
		for _, n := range sub.nodes {
			for _, child := range n.children {
				fmt.Fprintf(&b, "        n%d --> n%d\n", n.id, child.id)
			}
		}
		b.WriteString("    end\n")
	}
	for _, n := range p.topology.nodes {
		switch n.kind {
		case sourceNode:
			fmt.Fprintf(&b, "    %s --> n%d\n", topic(n), n.id)
		case sinkNode:
			if n.topic != "" {
				fmt.Fprintf(&b, "    n%d --> %s\n", n.id, topic(n))
			}
		}
	}
	return b.String()
}
