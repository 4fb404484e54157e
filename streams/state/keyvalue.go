package state

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/serde"
)

// Entry is a key's place in a KeyValue. Value and Ms are valid only while
// Present. Code that changes one must call Changed, before or after.
type Entry[K, V any] struct {
	// The fields that counting uses come first, so that they share a cache
	// line.
	Value      V
	Ms         int64 // the value's timestamp, in milliseconds
	Present    bool
	OldPresent bool // Present as of the last Flush
	dirty      bool // Changed since the last Flush: the entry is in KeyValue.dirty
	typed      bool // key is decoded

	old   *previous // the value as of the last Flush, if OldPresent and the store keeps it
	bytes string    // the key as the changelog has it
	key   K         // decoded on first use
}

// previous is a value as the changelog has it. It is bytes, because a value
// that is a slice, a map or a pointer may be changed in place.
type previous struct {
	value []byte
	ms    int64
}

// KeyValue is a store of timestamped values by key, in memory.
type KeyValue[K, V any] struct {
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]

	entries map[string]*Entry[K, V] // by serialized key
	free    []Entry[K, V]           // the unused rest of the block that new entries are taken from
	dirty   []*Entry[K, V]          // in the order of their first change
	next    int                     // the first of dirty that has not been forwarded
	failed  bool                    // its value could not be encoded, or is being encoded
	leaving bool                    // it is being forwarded
	absent  int                     // entries that are not Present
	keepOld bool
	scratch []byte // keys
	written []byte // what was last written to the changelog
}

var _ Store = (*KeyValue[string, int64])(nil)

// entryBlock is how many entries are allocated at once.
const entryBlock = 128

// NewKeyValue returns an empty store. The key's serde must give equal bytes for
// equal keys.
func NewKeyValue[K, V any](name string, key serde.Serde[K], value serde.Serde[V]) *KeyValue[K, V] {
	return &KeyValue[K, V]{name: name, key: key, value: value, entries: make(map[string]*Entry[K, V]), scratch: make([]byte, 0, 64), written: make([]byte, 0, 64)}
}

// KeepOld makes the store keep each value as of the last Flush, for Old and
// Undo. It costs memory, and must be called before the store has entries.
func (s *KeyValue[K, V]) KeepOld() { s.keepOld = true }

// Name returns the store's name.
func (s *KeyValue[K, V]) Name() string { return s.name }

// Len returns the number of keys that have a value.
func (s *KeyValue[K, V]) Len() int { return len(s.entries) - s.absent }

// Restore applies one changelog record.
func (s *KeyValue[K, V]) Restore(key, value []byte, ms int64) error {
	if value == nil {
		if e, ok := s.entries[string(key)]; ok {
			s.drop(e)
		}
		return nil
	}
	v, err := s.value.Decode(value)
	if err != nil {
		return err
	}
	e, err := s.Entry(key)
	if err != nil {
		return err
	}
	s.setPresent(e, true)
	e.Value, e.Ms = v, ms
	s.handedOn(e, value)
	return nil
}

// Entry returns the entry of a serialized key. For a key without one it makes
// an entry that is not Present. The next Flush removes that entry if Changed
// was called and it is still not Present.
func (s *KeyValue[K, V]) Entry(key []byte) (*Entry[K, V], error) {
	if e, ok := s.entries[string(key)]; ok {
		return e, nil
	}
	if len(s.free) == 0 {
		s.free = make([]Entry[K, V], entryBlock)
	}
	e := &s.free[0]
	s.free = s.free[1:]
	e.bytes = string(key)
	s.entries[e.bytes] = e
	s.absent++
	return e, nil
}

// Lookup returns the value of a serialized key and its timestamp in
// milliseconds, and false if there is none.
func (s *KeyValue[K, V]) Lookup(key []byte) (v V, ms int64, ok bool, err error) {
	if e, found := s.entries[string(key)]; found && e.Present {
		return e.Value, e.Ms, true, nil
	}
	return v, 0, false, nil
}

// Forwarded is Lookup in the store as of the last Flush: without the changes
// that have not been passed to emit yet. The store must keep old values: see
// KeepOld.
func (s *KeyValue[K, V]) Forwarded(key []byte) (v V, ms int64, ok bool, err error) {
	e, found := s.entries[string(key)]
	switch {
	case !found:
		return v, 0, false, nil
	case !e.dirty || s.leaving && e == s.dirty[s.next]:
		return s.Lookup(key)
	case !e.OldPresent:
		return v, 0, false, nil
	}
	v, ok, err = s.Old(e)
	return v, e.old.ms, ok, err
}

// Changed marks e for the next Flush and counts it as present or not.
func (s *KeyValue[K, V]) Changed(e *Entry[K, V], present bool) {
	s.setPresent(e, present)
	if !e.dirty {
		e.dirty = true
		s.dirty = append(s.dirty, e)
	}
}

func (s *KeyValue[K, V]) setPresent(e *Entry[K, V], present bool) {
	if e.Present == present {
		return
	}
	e.Present = present
	if present {
		s.absent--
	} else {
		s.absent++
	}
}

// drop deletes an entry and its value.
func (s *KeyValue[K, V]) drop(e *Entry[K, V]) {
	s.setPresent(e, false)
	s.absent--
	delete(s.entries, e.bytes)
}

// Key returns e's key.
func (s *KeyValue[K, V]) Key(e *Entry[K, V]) (K, error) {
	if !e.typed {
		s.scratch = append(s.scratch[:0], e.bytes...)
		key, err := s.key.Decode(s.scratch)
		if err != nil {
			return key, err
		}
		e.key, e.typed = key, true
	}
	return e.key, nil
}

// Release deletes an entry that Entry made and that has not changed since.
func (s *KeyValue[K, V]) Release(e *Entry[K, V]) {
	if !e.Present && !e.dirty && s.entries[e.bytes] == e {
		s.drop(e)
	}
}

// Old returns e's value as of the last Flush, in memory of its own, and false
// if it had none. The store must keep old values: see KeepOld.
func (s *KeyValue[K, V]) Old(e *Entry[K, V]) (v V, ok bool, err error) {
	if !e.OldPresent {
		return v, false, nil
	}
	v, err = s.value.Decode(e.old.value)
	return v, err == nil, err
}

// Flush writes every changed entry to log, then passes it to emit, which may
// read OldPresent and Old, in the order in which they first changed. It skips a
// key that was created and deleted since the last Flush. After an error the
// next Flush continues with the entry at which it failed.
func (s *KeyValue[K, V]) Flush(log Changelog, emit func(*Entry[K, V]) error) error {
	return s.flush(log, emit, false)
}

// WriteThrough is Flush for a store that is flushed after each change. It skips
// nothing: the deletion of a key that never existed is written and forwarded
// like any other.
func (s *KeyValue[K, V]) WriteThrough(log Changelog, emit func(*Entry[K, V]) error) error {
	return s.flush(log, emit, true)
}

func (s *KeyValue[K, V]) flush(log Changelog, emit func(*Entry[K, V]) error, every bool) error {
	for ; s.next < len(s.dirty); s.next++ {
		e := s.dirty[s.next]
		if every || e.Present || e.OldPresent {
			value, err := s.write(log, e)
			if err != nil {
				return err
			}
			s.leaving = true
			err = emit(e)
			s.leaving = false
			if err != nil {
				return err
			}
			s.handedOn(e, value)
		}
		if e.dirty = false; !e.Present {
			s.drop(e)
		}
	}
	clear(s.dirty)
	s.dirty, s.next = s.dirty[:0], 0
	return nil
}

// Failing returns the entry whose value could not be encoded in the last Flush
// that failed or panicked, and nil if that was not the reason.
func (s *KeyValue[K, V]) Failing() *Entry[K, V] {
	if !s.failed {
		return nil
	}
	return s.dirty[s.next]
}

// Undo reverts the change of Failing; the next Flush continues after it. The
// store must keep old values: see KeepOld.
func (s *KeyValue[K, V]) Undo() error {
	e := s.Failing()
	if e == nil {
		return nil
	}
	v, present, err := s.Old(e)
	if err != nil {
		return err
	}
	s.failed, e.dirty = false, false
	s.next++
	s.setPresent(e, present)
	if e.Value = v; present {
		e.Ms = e.old.ms
	} else {
		s.drop(e)
	}
	return nil
}

// write appends e's state to the changelog, and returns its value as it is there.
func (s *KeyValue[K, V]) write(log Changelog, e *Entry[K, V]) (value []byte, err error) {
	buf := append(s.written[:0], e.bytes...)
	end := len(buf)
	if e.Present {
		s.failed = true // stays set if a panic ends this
		if buf, err = s.value.Append(buf, e.Value); err != nil {
			return nil, err
		}
		s.failed = false
		value = buf[end:]
	}
	s.written = buf
	return value, log.Append(buf[:end:end], value, e.Ms)
}

// handedOn records that the changelog has value, which is e's.
func (s *KeyValue[K, V]) handedOn(e *Entry[K, V], value []byte) {
	if e.OldPresent = e.Present; !s.keepOld || !e.Present {
		return
	}
	if e.old == nil {
		e.old = new(previous)
	}
	e.old.value, e.old.ms = append(e.old.value[:0], value...), e.Ms
}

// Encoded returns e's key and value as the changelog has them, in memory of
// their own. The value is nil if there is none, or none that can be encoded.
func (s *KeyValue[K, V]) Encoded(e *Entry[K, V]) (key, value []byte) {
	key = []byte(e.bytes)
	if !e.Present || e == s.Failing() {
		return key, nil
	}
	value, err := s.value.Append([]byte{}, e.Value)
	if err != nil {
		return key, nil
	}
	return key, value
}

// Get returns a key's value and its timestamp.
func (s *KeyValue[K, V]) Get(key K) (v V, at time.Time, ok bool, err error) {
	if s.scratch, err = s.key.Append(s.scratch[:0], key); err != nil {
		return v, at, false, err
	}
	v, ms, ok, err := s.Lookup(s.scratch)
	if !ok || err != nil {
		return v, at, false, err
	}
	return v, time.UnixMilli(ms), true, nil
}

// Row is a key with its value and the value's timestamp.
type Row[K, V any] struct {
	Key   K
	Value V
	At    time.Time
}

// All returns the keys that have a value, in the order of their bytes, with the
// values that they have when the loop reaches them. It ends with the first
// error.
func (s *KeyValue[K, V]) All() iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		for _, bytes := range slices.Sorted(maps.Keys(s.entries)) {
			e, ok := s.entries[bytes]
			if !ok || !e.Present {
				continue
			}
			key, err := s.Key(e)
			if err != nil {
				yield(Row[K, V]{}, err)
				return
			}
			if !yield(Row[K, V]{Key: key, Value: e.Value, At: time.UnixMilli(e.Ms)}, nil) {
				return
			}
		}
	}
}
