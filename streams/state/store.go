package state

// Store is what the runtime requires of every store, whatever its type.
type Store interface {
	// Name returns the store's name within its topology.
	Name() string

	// Restore applies one changelog record; a nil value deletes the key. The
	// caller may reuse the slices when it returns. All calls come before the
	// first record is processed. What they did counts after Restored.
	Restore(key, value []byte, ms int64) error

	// Restored completes the calls of Restore so far.
	Restored() error

	// Len returns the number of keys that have a value. A store that is not in
	// memory reads all of them.
	Len() (int, error)

	// Size returns about how many bytes the store takes.
	Size() int64

	// Checkpoint makes the store durable, as of its last flush, with the
	// position that its changelog has then: the offset up to which the store
	// contains it, exclusive. In memory it does nothing.
	Checkpoint(position int64) error

	// Position returns the position of the last Checkpoint, from which the
	// store is to be restored, and false if it has to be restored from the
	// start.
	Position() (int64, bool)

	// Close releases what the store holds. What was not made durable is lost.
	Close() error
}

// Changelog receives the changes of a store. A nil value is a deletion, and ms
// is the value's timestamp in milliseconds. The caller may reuse the slices
// when it returns.
type Changelog interface {
	Append(key, value []byte, ms int64) error
}
