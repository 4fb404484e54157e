package serde

// Serde turns values of one type into bytes and back. A Serde has no mutable
// state: it is safe for concurrent use.
//
// A Serde does not handle null: sending a tombstone is a call of its own, and a
// received one is marked. So Append never means null and Decode never gets it
// (Nullable adds null as a value).
type Serde[T any] interface {
	// Append appends the encoding of v to dst and returns the longer slice,
	// like the append built-in. On an error, dst's previous bytes are
	// unchanged.
	Append(dst []byte, v T) ([]byte, error)

	// Decode returns the value that src encodes. It must not keep src or return
	// a value that shares its bytes, unless its documentation says so.
	Decode(src []byte) (T, error)
}

// Topic is a topic's name together with the serdes of its keys and values. It
// is a plain value, usually declared once as a package variable.
type Topic[K, V any] struct {
	Name  string
	Key   Serde[K]
	Value Serde[V]
}

// For returns the Topic of that name with those serdes.
func For[K, V any](name string, key Serde[K], value Serde[V]) Topic[K, V] {
	return Topic[K, V]{Name: name, Key: key, Value: value}
}
