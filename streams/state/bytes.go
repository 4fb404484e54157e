package state

import "encoding/binary"

// Bytes is an ordered map from keys to values, both of them bytes: what a store
// keeps its entries in. [NewMemory] returns one in memory. Package statetest has
// the tests that every implementation must pass.
//
// A Bytes belongs to one goroutine at a time. Its snapshots may be read by
// others.
type Bytes interface {
	Reader

	// Apply makes the writes of b in their order: after a crash all of them are
	// there, or none. They need not be durable before Checkpoint. The store
	// copies what it keeps.
	Apply(b *Batch) error

	// Snapshot returns the contents as of now. Later writes do not change it.
	Snapshot() (Snapshot, error)

	// Size returns approximately how many bytes the contents take.
	Size() int64

	// Checkpoint makes durable everything that was applied, and with it a
	// position: the offset in the store's changelog up to which the contents
	// contain it, exclusive. A store in memory only keeps the position.
	Checkpoint(position int64) error

	// Position returns the position of the last Checkpoint, also one of an
	// earlier process, and false if there was none.
	Position() (int64, bool)

	// Close releases what the store holds. What was applied since the last
	// Checkpoint may be lost.
	Close() error
}

// Reader reads ordered bytes.
type Reader interface {
	// Get returns a key's value, and nil if it has none. A value without bytes
	// is not nil. The caller must not change it. It is valid until the next call
	// of a method; from a Snapshot it is valid until Close.
	Get(key []byte) ([]byte, error)

	// Range calls yield for each key from one, inclusive, to another, exclusive,
	// in their order, or the reverse, until yield returns false. A nil to is
	// beyond all keys. Range shows the contents as of its call, also if yield
	// writes to the store. The slices are valid until yield returns, and must
	// not be changed.
	Range(from, to []byte, order Order, yield func(key, value []byte) bool) error
}

// Snapshot is a Reader of contents that do not change. Several goroutines may
// read it at once.
type Snapshot interface {
	Reader

	// Close releases what the snapshot holds. No other call may be in progress.
	Close() error
}

// Order is a direction through keys.
type Order bool

// The two directions.
const (
	Ascending  Order = false
	Descending Order = true
)

// Batch is a list of writes. The zero Batch is empty.
type Batch struct {
	ops  []byte // each: kind, the lengths of two slices, the slices
	many int
}

// The kinds of writes.
const (
	putting byte = iota
	deleting
	deletingRange
	deletingRest
)

// Put sets a key's value.
func (b *Batch) Put(key, value []byte) { b.add(putting, key, value) }

// Delete removes a key, if it is there.
func (b *Batch) Delete(key []byte) { b.add(deleting, key, nil) }

// DeleteRange removes the keys from one, inclusive, to another, exclusive. A nil
// to is beyond all keys.
func (b *Batch) DeleteRange(from, to []byte) {
	if to == nil {
		b.add(deletingRest, from, nil)
		return
	}
	b.add(deletingRange, from, to)
}

func (b *Batch) add(kind byte, first, second []byte) {
	b.ops = append(b.ops, kind)
	b.ops = binary.AppendUvarint(b.ops, uint64(len(first)))
	b.ops = binary.AppendUvarint(b.ops, uint64(len(second)))
	b.ops = append(append(b.ops, first...), second...)
	b.many++
}

// Len returns the number of writes.
func (b *Batch) Len() int { return b.many }

// Size returns the number of bytes of the writes.
func (b *Batch) Size() int { return len(b.ops) }

// Reset makes the batch empty. It keeps its memory.
func (b *Batch) Reset() { b.ops, b.many = b.ops[:0], 0 }

// Writer receives the writes of a Batch, as its methods say.
type Writer interface {
	Put(key, value []byte) error
	Delete(key []byte) error
	DeleteRange(from, to []byte) error
}

// Each passes the writes to w in their order, up to the first error. The slices
// are the batch's.
func (b *Batch) Each(w Writer) error {
	for rest := b.ops; len(rest) > 0; {
		kind := rest[0]
		first, n := binary.Uvarint(rest[1:])
		second, m := binary.Uvarint(rest[1+n:])
		rest = rest[1+n+m:]
		one, two := rest[:first:first], rest[first:first+second:first+second]
		rest = rest[first+second:]
		var err error
		switch kind {
		case putting:
			err = w.Put(one, two)
		case deleting:
			err = w.Delete(one)
		case deletingRange:
			err = w.DeleteRange(one, two)
		case deletingRest:
			err = w.DeleteRange(one, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// After returns the first key that is behind all keys with a prefix, and nil if
// there is none: the end of a Range over the prefix.
func After(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
