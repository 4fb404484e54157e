package streams

import "github.com/runnel-go/runnel/serde"

// message is what nodes pass to each other. If hasKey or hasValue is false, the
// record has null there, and key or value is the zero value. Timestamp and
// headers are kept in the task, since most nodes do not change them.
type message[K, V any] struct {
	key      K
	value    V
	hasKey   bool
	hasValue bool
}

// change is the new state of a table's row, and, if a node after the table asked
// for it, the one before.
type change[V any] struct {
	new, old       V
	hasNew, hasOld bool
}

// receiver is a node's processor in a task, as its parent sees it.
type receiver[K, V any] interface {
	receive(m message[K, V]) error
}

// bytesReceiver is a receiver that does not need decoded keys: a source whose
// only child is one passes it the bytes instead.
type bytesReceiver interface {
	receiveBytes(key, value []byte) error
}

// bytesGatherer is a bytesReceiver that may be one.
type bytesGatherer interface {
	bytesReceiver
	gathersBytes() bool
}

// discard receives the output of a node without children.
type discard[K, V any] struct{}

func (discard[K, V]) receive(message[K, V]) error { return nil }

// fanOut passes a message to every child in the order of their declaration.
type fanOut[K, V any] []receiver[K, V]

func (f fanOut[K, V]) receive(m message[K, V]) error {
	for _, child := range f {
		if err := child.receive(m); err != nil {
			return err
		}
	}
	return nil
}

// codec is a serde that can handle null.
type codec[T any] struct {
	serde.Serde[T]
	null serde.NullableSerde[T] // nil: no T stands for null
}

func newCodec[T any](s serde.Serde[T]) codec[T] {
	null, _ := s.(serde.NullableSerde[T])
	return codec[T]{Serde: s, null: null}
}

// present reports whether v is not null; has says whether there is a value at
// all.
func (c codec[T]) present(v T, has bool) bool {
	return has && (c.null == nil || !c.null.IsNull(v))
}

// decode returns what b encodes, and whether that is not null.
func (c codec[T]) decode(b []byte) (v T, has bool, err error) {
	if b == nil {
		return v, false, nil
	}
	v, err = c.Decode(b)
	return v, err == nil, err
}
