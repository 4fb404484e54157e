package streams

import "strconv"

// BranchedKStream is a stream being split. Each record goes to the first branch
// whose predicate is true for it, else to the default branch, and is dropped if
// there is none.
type BranchedKStream[K, V any] struct {
	stream   *KStream[K, V]
	node     *node
	tests    []func(K, V) bool
	branches []*KStream[K, V]
	rest     *KStream[K, V] // nil: dropped
}

// Split starts splitting s.
func (s *KStream[K, V]) Split() *BranchedKStream[K, V] {
	b := &BranchedKStream[K, V]{stream: s, node: s.topology.process("KSTREAM-BRANCH-", s.out.node)}
	s.out.to(b.node, func(w *wiring) receiver[K, V] {
		work := &brancher[K, V]{step: w.step(b.node), tests: b.tests, rest: discard[K, V]{}}
		for _, branch := range b.branches {
			work.next = append(work.next, branch.out.wire(w))
		}
		if b.rest != nil {
			work.rest = b.rest.out.wire(w)
		}
		return work
	})
	return b
}

// Branch adds a branch for the records that match is true for and that no
// earlier branch received.
func (b *BranchedKStream[K, V]) Branch(match func(key K, value V) bool) *KStream[K, V] {
	branch := b.add(len(b.branches) + 1)
	b.stream.topology.need(branch.out.node, match != nil)
	b.tests = append(b.tests, match)
	b.branches = append(b.branches, branch)
	return branch
}

// Default returns the branch for the records that no other branch received.
func (b *BranchedKStream[K, V]) Default() *KStream[K, V] {
	if b.rest == nil {
		b.rest = b.add(0)
	}
	return b.rest
}

// add declares a branch's node. Kafka derives its name from the splitter's name
// and a number.
func (b *BranchedKStream[K, V]) add(number int) *KStream[K, V] {
	n := b.stream.topology.add(processorNode, b.node.name+strconv.Itoa(number), b.node)
	return derive(b.stream, n, b.stream.value)
}

type brancher[K, V any] struct {
	step
	tests []func(K, V) bool
	next  []receiver[K, V]
	rest  receiver[K, V]
}

func (b *brancher[K, V]) receive(m message[K, V]) error {
	b.enter()
	for i, test := range b.tests {
		if test(m.key, m.value) {
			return b.next[i].receive(m)
		}
	}
	return b.rest.receive(m)
}
