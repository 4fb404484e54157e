package state

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/serde"
)

// Entry is a key's place in a KeyValue. Value and Ms mean something only while
// Present. Who changes one calls Changed, before or after.
type Entry[K, V any] struct {
	// What counting touches comes first, to lie in one cache line.
	Value      V
	Ms         int64 // the value's timestamp, in milliseconds
	Present    bool
	OldPresent bool // Present at the last Flush
	dirty      bool // Changed since the last Flush: the entry is in KeyValue.dirty
	typed      bool // key is decoded

	Old   V      // Value at the last Flush
	bytes string // the key as the changelog has it
	key   K      // decoded when it is first asked for
}

// KeyValue is a store of timestamped values by key, in memory.
type KeyValue[K, V any] struct {
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]

	entries map[string]*Entry[K, V] // by serialized key
	free    []Entry[K, V]           // the rest of the block that new entries are taken from
	dirty   []*Entry[K, V]          // in the order of their first change
	absent  int                     // entries that are not Present
	scratch []byte
}

var _ Store = (*KeyValue[string, int64])(nil)

// entryBlock is how many entries are allocated at once.
const entryBlock = 128

// NewKeyValue returns an empty store. The key's serde must give equal bytes for
// equal keys.
func NewKeyValue[K, V any](name string, key serde.Serde[K], value serde.Serde[V]) *KeyValue[K, V] {
	return &KeyValue[K, V]{name: name, key: key, value: value, entries: make(map[string]*Entry[K, V]), scratch: make([]byte, 0, 64)}
}

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
	e := s.Entry(key)
	s.setPresent(e, true)
	e.Value, e.Ms = v, ms
	e.Old, e.OldPresent = v, true
	return nil
}

// Entry returns the entry of a serialized key. For a key that has none it makes
// one that is not Present; it goes with the next Flush if it is still absent
// then and Changed was called.
func (s *KeyValue[K, V]) Entry(key []byte) *Entry[K, V] {
	if e, ok := s.entries[string(key)]; ok {
		return e
	}
	if len(s.free) == 0 {
		s.free = make([]Entry[K, V], entryBlock)
	}
	e := &s.free[0]
	s.free = s.free[1:]
	e.bytes = string(key)
	s.entries[e.bytes] = e
	s.absent++
	return e
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

// drop forgets an entry and its value.
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

// Flush writes every changed entry to log, then hands it to emit, which may
// read Old and OldPresent, in the order in which they first changed. A key that
// came and went in between is passed over.
func (s *KeyValue[K, V]) Flush(log Changelog, emit func(*Entry[K, V]) error) error {
	for i := 0; i < len(s.dirty); i++ {
		e := s.dirty[i]
		if !e.Present && !e.OldPresent {
			s.forget(e)
			continue
		}
		if err := s.write(log, e); err != nil {
			return err
		}
		if err := emit(e); err != nil {
			return err
		}
		e.Old, e.OldPresent, e.dirty = e.Value, e.Present, false
		if !e.Present {
			s.forget(e)
		}
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	return nil
}

// forget drops an entry that is absent.
func (s *KeyValue[K, V]) forget(e *Entry[K, V]) {
	e.dirty = false
	s.drop(e)
}

// write appends e's state to the changelog.
func (s *KeyValue[K, V]) write(log Changelog, e *Entry[K, V]) error {
	buf := append(s.scratch[:0], e.bytes...)
	end := len(buf)
	if !e.Present {
		s.scratch = buf
		return log.Append(buf, nil, e.Ms)
	}
	buf, err := s.value.Append(buf, e.Value)
	if err != nil {
		return err
	}
	s.scratch = buf
	return log.Append(buf[:end:end], buf[end:], e.Ms)
}

// Get returns a key's value and its timestamp.
func (s *KeyValue[K, V]) Get(key K) (v V, at time.Time, ok bool, err error) {
	if s.scratch, err = s.key.Append(s.scratch[:0], key); err != nil {
		return v, at, false, err
	}
	e, found := s.entries[string(s.scratch)]
	if !found || !e.Present {
		return v, at, false, nil
	}
	return e.Value, time.UnixMilli(e.Ms), true, nil
}

// Timestamped is a value with its timestamp.
type Timestamped[V any] struct {
	Value V
	At    time.Time
}

// All returns the keys that have a value, in the order of their bytes, with the
// values that they have when the loop reaches them. Keys that cannot be decoded
// are passed over.
func (s *KeyValue[K, V]) All() iter.Seq2[K, Timestamped[V]] {
	return func(yield func(K, Timestamped[V]) bool) {
		for _, bytes := range slices.Sorted(maps.Keys(s.entries)) {
			e, ok := s.entries[bytes]
			if !ok || !e.Present {
				continue
			}
			key, err := s.Key(e)
			if err != nil {
				continue
			}
			if !yield(key, Timestamped[V]{Value: e.Value, At: time.UnixMilli(e.Ms)}) {
				return
			}
		}
	}
}
