package state

import (
	"iter"
	"time"

	"github.com/runnel-go/runnel/serde"
)

// View is a KeyValue as of a flush. It does not change, and any number of
// goroutines may read it while the store's task goes on.
type View[K, V any] struct {
	snapshot[V]
	keys keyFormat[K]
	key  serde.Serde[K]
}

// View returns what the store holds as of its last flush. The first call makes
// a store in memory keep its values as bytes, too; so call it directly after a
// flush.
func (s *KeyValue[K, V]) View() (*View[K, V], error) {
	snap, err := s.snapshot()
	return &View[K, V]{snap, s.keys, s.key}, err
}

// Get returns a key's value and its timestamp.
func (v *View[K, V]) Get(key K) (value V, at time.Time, ok bool, err error) {
	b, err := v.key.Append(nil, key)
	if err != nil {
		return value, at, false, err
	}
	value, ms, ok, err := v.lookup(b)
	if !ok || err != nil {
		return value, at, false, err
	}
	return value, time.UnixMilli(ms), true, nil
}

// All returns the keys that have a value, in order. It ends with the first
// error.
func (v *View[K, V]) All() iter.Seq2[Row[K, V], error] {
	return rows[K, V](v.snapshot, v.keys, nil, nil, Ascending)
}

// Range returns the keys from one, inclusive, to another, exclusive, in their
// order or the reverse. It ends with the first error.
func (v *View[K, V]) Range(from, to K, order Order) iter.Seq2[Row[K, V], error] {
	return encoded(v.key, from, to, func(from, to []byte) iter.Seq2[Row[K, V], error] {
		return rows[K, V](v.snapshot, v.keys, from, to, order)
	})
}

// snapshot is a store's rows as of a flush.
type snapshot[V any] struct {
	rows  Snapshot
	store string
	value serde.Serde[V]
}

func (c *Cache[K, V]) snapshot() (s snapshot[V], err error) {
	if err := c.underlaid(); err != nil {
		return s, err
	}
	snap, err := c.below.Snapshot()
	return snapshot[V]{snap, c.name, c.value}, err
}

func (s snapshot[V]) lookup(key []byte) (v V, ms int64, ok bool, err error) {
	stored, err := s.rows.Get(key)
	if err != nil || stored == nil {
		return v, 0, false, err
	}
	v, ms, err = decodeRow(s.store, s.value, key, stored)
	return v, ms, err == nil, err
}

func (s snapshot[V]) scan(from, to []byte, order Order, yield func(key []byte, v V, ms int64) error) (err error) {
	failed := s.rows.Range(from, to, order, func(key, stored []byte) bool {
		var (
			v  V
			ms int64
		)
		if v, ms, err = decodeRow(s.store, s.value, key, stored); err == nil {
			err = yield(key, v, ms)
		}
		return err == nil
	})
	if err == nil {
		err = failed
	}
	return err
}

// Close releases what the view holds. No other call may be in progress.
func (s snapshot[V]) Close() error { return s.rows.Close() }
