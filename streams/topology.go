package streams

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// Topology describes a stream processor: sources, operators, stores and sinks,
// and how records flow between them. The function passed to New declares it, by
// opening streams with Stream and calling operators on them. Nothing runs
// during the declaration, and New reports what is wrong with it.
//
// A Topology belongs to the goroutine that declares it and must not be changed
// afterwards.
type Topology struct {
	nodes   []*node
	stores  []*storeDecl
	sources map[string]*node // by topic
	globals []*globalTable
	counter int // of generated names
	errs    []error

	// What is left for the end of the declaration, when all tables have said
	// whether they keep their rows: first what tables need of each other, then
	// the names that come from other names.
	demands []func()
	naming  []func()
}

// nodeKind is the kind of a node in Kafka's description of a topology.
type nodeKind uint8

const (
	sourceNode nodeKind = iota
	processorNode
	sinkNode
)

// node is one declared step of a topology. Processors are created from it, one
// for each task.
type node struct {
	id       int // its place in Topology.nodes: parents come before their children
	kind     nodeKind
	name     string
	topic    string // what a source reads or a sink writes; internal ones without the application's prefix
	internal *repartitionDecl
	stores   []*storeDecl // that it uses

	parents, children []*node

	open func(w *wiring) source // of sources
}

// phase returns the phase of errors in the node that are not known to be of
// another.
func (n *node) phase() Phase {
	switch n.kind {
	case sourceNode:
		return Deserialization
	case sinkNode:
		return Production
	}
	return Processing
}

// storeDecl is a declared store.
type storeDecl struct {
	name  string
	nodes []*node // that use it; the first one declared it, and writes it

	// retention is how long the store keeps what it has, in the time of the
	// stream; 0: for ever. Its changelog keeps it a day longer, as Kafka's does.
	retention time.Duration

	// history is how long a versioned store keeps what is no longer so; 0: it is
	// none. Until then, and a day longer, its changelog keeps all records.
	history time.Duration
}

// owner returns the node that writes the store.
func (d *storeDecl) owner() *node { return d.nodes[0] }

// upstream returns the sources whose records reach the store's nodes. Equal keys
// must be in equal partitions of all of them.
func (d *storeDecl) upstream() []*node {
	var sources []*node
	for _, n := range d.nodes {
		for _, s := range upstream(n) {
			if !slices.Contains(sources, s) {
				sources = append(sources, s)
			}
		}
	}
	return sources
}

// repartitionDecl is an internal topic between two sub-topologies.
type repartitionDecl struct {
	partitions int   // 0: as many as the largest topic upstream
	like       *node // if set: as many as the largest topic upstream of this node
}

// Suffixes of the names of internal topics.
const (
	repartitionSuffix = "-repartition"
	changelogSuffix   = "-changelog"
)

// declare runs define and returns the topology, with an error for everything
// that is wrong with its declaration.
func declare(define func(*Topology)) (*Topology, error) {
	t := &Topology{sources: make(map[string]*node)}
	if define == nil {
		return nil, fault.Newf(fault.InvalidRequest, "no function that declares the topology")
	}
	define(t)
	for _, later := range [...]*[]func(){&t.demands, &t.naming} {
		for _, do := range *later {
			do()
		}
	}
	if len(t.sources) == len(t.globals) {
		t.errs = append(t.errs, fault.Newf(fault.InvalidRequest, "the topology reads no topic"))
	}
	t.checkNames()
	return t, errors.Join(t.errs...)
}

// generate returns a new name as Kafka generates it, with a counter for the
// whole topology.
func (t *Topology) generate(prefix string) string {
	name := fmt.Sprintf("%s%010d", prefix, t.counter)
	t.counter++
	return name
}

// add declares a node. Named may still change its name.
func (t *Topology) add(kind nodeKind, name string, parents ...*node) *node {
	n := &node{id: len(t.nodes), kind: kind, name: name, parents: parents}
	for _, p := range parents {
		p.children = append(p.children, n)
	}
	t.nodes = append(t.nodes, n)
	return n
}

// process declares an operator with a generated name.
func (t *Topology) process(prefix string, parents ...*node) *node {
	return t.add(processorNode, t.generate(prefix), parents...)
}

// fail reports a mistake in a node.
func (t *Topology) fail(n *node, format string, args ...any) {
	t.errs = append(t.errs, &declarationError{n, fmt.Sprintf(format, args...)})
}

// declarationError is a mistake in a topology. The node's name is looked up
// when the error is read, since Named may be called after the mistake.
type declarationError struct {
	node *node
	text string
}

func (e *declarationError) Error() string { return e.node.name + ": " + e.text }

func (e *declarationError) Is(target error) bool { return target == fault.InvalidRequest }

// checkNames rejects names that cannot be part of topic names, and duplicates.
func (t *Topology) checkNames() {
	stores := make(map[string]*node)
	for _, s := range t.stores {
		if len(s.nodes) == 0 {
			t.errs = append(t.errs, fault.Newf(fault.InvalidRequest, "the store %q: no processor was given it", s.name))
			continue
		}
		if err := topic.ValidateName(s.name); err != nil {
			t.fail(s.owner(), "store %q: %v", s.name, err)
		}
		if other, taken := stores[s.name]; taken {
			t.fail(s.owner(), "the store %q belongs to %s already", s.name, other.name)
		}
		stores[s.name] = s.owner()
	}
	taken := make(map[string]bool)
	for _, n := range t.nodes {
		if err := topic.ValidateName(n.name); err != nil {
			t.fail(n, "not a name for a node: %v", err)
		}
		if taken[n.name] {
			t.fail(n, "another node has this name")
		}
		taken[n.name] = true
	}
}

// addStore declares a store that n writes. Its name is checked at the end.
func (t *Topology) addStore(n *node, name string) *storeDecl {
	s := &storeDecl{name: name, nodes: []*node{n}}
	n.stores = append(n.stores, s)
	t.stores = append(t.stores, s)
	return s
}

// connect lets n read stores that other nodes write. It becomes part of their
// sub-topology.
func (t *Topology) connect(n *node, stores ...*storeDecl) {
	for _, s := range stores {
		if !slices.Contains(n.stores, s) {
			n.stores = append(n.stores, s)
			s.nodes = append(s.nodes, n)
		}
	}
}

// outlet is the output of a node. It creates each of the node's children.
type outlet[K, V any] struct {
	node     *node
	children []*node
	next     []func(w *wiring) receiver[K, V] // by child
}

// to adds n as a child.
func (o *outlet[K, V]) to(n *node, child func(w *wiring) receiver[K, V]) {
	o.children = append(o.children, n)
	o.next = append(o.next, func(w *wiring) receiver[K, V] { return guarded(w, n, child(w)) })
}

// wire creates the children for a task and returns the receiver that passes
// records to them.
func (o *outlet[K, V]) wire(w *wiring) receiver[K, V] {
	_, all := o.wireEach(w)
	return all
}

// wireEach is wire that also returns each child.
func (o *outlet[K, V]) wireEach(w *wiring) (each []receiver[K, V], all receiver[K, V]) {
	for _, child := range o.next {
		each = append(each, child(w))
	}
	switch len(each) {
	case 0:
		return nil, discard[K, V]{}
	case 1:
		return each, each[0]
	}
	return each, fanOut[K, V](each)
}
