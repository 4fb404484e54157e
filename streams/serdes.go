package streams

import (
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// KeyOption is an option of an operator that produces keys of type K.
type KeyOption[K any] interface{ serdeOfKeys() serde.Serde[K] }

// ValueOption is an option of an operator that produces values of type V.
type ValueOption[V any] interface{ serdeOfValues() serde.Serde[V] }

type serdeOption[T any] struct{ serde.Serde[T] }

func (o serdeOption[T]) serdeOfKeys() serde.Serde[T]   { return o.Serde }
func (o serdeOption[T]) serdeOfValues() serde.Serde[T] { return o.Serde }

// KeySerde sets the serde with which keys are written, to stores and topics.
// Strings, byte slices, integers and floats need none.
func KeySerde[K any](s serde.Serde[K]) KeyOption[K] { return serdeOption[K]{s} }

// ValueSerde sets the serde with which values are written, to stores and
// topics. Strings, byte slices, integers and floats need none.
func ValueSerde[V any](s serde.Serde[V]) ValueOption[V] { return serdeOption[V]{s} }

func keySerde[K any](options []KeyOption[K]) (s serde.Serde[K]) {
	for _, o := range options {
		s = o.serdeOfKeys()
	}
	return s
}

func valueSerde[V any](options []ValueOption[V]) (s serde.Serde[V]) {
	for _, o := range options {
		s = o.serdeOfValues()
	}
	return s
}

// serdeFor returns the first serde given, else the type's default one. If there
// is none, it reports that n lacks it.
func serdeFor[T any](t *Topology, n *node, what string, given ...serde.Serde[T]) serde.Serde[T] {
	for _, s := range given {
		if s != nil {
			return s
		}
	}
	s, ok := serde.Default[T]()
	if !ok {
		var zero T
		t.fail(n, "no serde for its %s of type %T: give one with KeySerde, ValueSerde or WithSerdes where they are made", what, zero)
	}
	return s
}

// checkTopic reports what is wrong with the name of the topic that n reads or
// writes.
func (t *Topology) checkTopic(n *node) {
	if err := topic.ValidateName(n.topic); err != nil {
		t.fail(n, "%v", err)
	}
}
