package state

// Store is what the runtime requires of every store, whatever its type.
type Store interface {
	// Name returns the store's name within its topology.
	Name() string

	// Restore applies one changelog record; a nil value deletes the key. The
	// caller may reuse the slices when it returns. All calls come before the
	// first record is processed.
	Restore(key, value []byte, ms int64) error

	// Len returns the number of keys that have a value.
	Len() int
}

// Changelog receives the changes of a store. A nil value is a deletion, and ms
// is the value's timestamp in milliseconds. The caller may reuse the slices
// when it returns.
type Changelog interface {
	Append(key, value []byte, ms int64) error
}
