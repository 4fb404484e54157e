package state

// Store is what the runtime asks of every store, whatever its shape.
type Store interface {
	// Name returns the store's name within its topology.
	Name() string

	// Restore applies one changelog record; a nil value deletes the key. The
	// slices are the caller's again when it returns. It is called before the
	// first record is processed.
	Restore(key, value []byte, ms int64) error

	// Len returns the number of keys that have a value.
	Len() int
}

// Changelog takes the changes of a store; a nil value is a deletion, and ms is
// the value's timestamp in milliseconds. The slices are the caller's again when
// it returns.
type Changelog interface {
	Append(key, value []byte, ms int64) error
}
