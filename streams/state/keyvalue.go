package state

import (
	"errors"
	"iter"
	"time"

	"github.com/runnel-go/runnel/serde"
)

// KeyValue is a store of timestamped values by key. The keys' order is that of
// their bytes.
type KeyValue[K, V any] struct {
	*Cache[K, V]
	key serde.Serde[K]
	buf []byte
}

var _ Store = (*KeyValue[string, int64])(nil)

// NewKeyValue returns a store, which is in memory unless an option says
// otherwise. The key's serde must give equal bytes for equal keys.
func NewKeyValue[K, V any](name string, key serde.Serde[K], value serde.Serde[V], options ...Option) *KeyValue[K, V] {
	return &KeyValue[K, V]{Cache: newCache(name, plainKeys[K]{key}, value, options), key: key}
}

// plainKeys is the format of keys that are in store and changelog as their
// serde writes them.
type plainKeys[K any] struct{ serde.Serde[K] }

func (p plainKeys[K]) decode(b []byte) (K, error) { return p.Decode(b) }

func (plainKeys[K]) appendLog(dst, key []byte) []byte { return append(dst, key...) }

func (plainKeys[K]) appendStored(dst, logKey []byte) ([]byte, error) {
	return append(dst, logKey...), nil
}

// Get returns a key's value and its timestamp.
func (s *KeyValue[K, V]) Get(key K) (v V, at time.Time, ok bool, err error) {
	if s.buf, err = s.key.Append(s.buf[:0], key); err != nil {
		return v, at, false, err
	}
	v, ms, ok, err := s.Lookup(s.buf)
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

// All returns the keys that have a value, in order, as of when the loop begins.
// It ends with the first error.
func (s *KeyValue[K, V]) All() iter.Seq2[Row[K, V], error] {
	return rows[K, V](s.Cache, s.keys, nil, nil, Ascending)
}

// Range returns the keys from one, inclusive, to another, exclusive, in their
// order or the reverse, as of when the loop begins. It ends with the first
// error.
func (s *KeyValue[K, V]) Range(from, to K, order Order) iter.Seq2[Row[K, V], error] {
	return encoded(s.key, from, to, func(from, to []byte) iter.Seq2[Row[K, V], error] {
		return rows[K, V](s.Cache, s.keys, from, to, order)
	})
}

// Prefix returns the keys whose bytes begin with a prefix, in order, as of when
// the loop begins. It ends with the first error.
func (s *KeyValue[K, V]) Prefix(prefix []byte) iter.Seq2[Row[K, V], error] {
	return rows[K, V](s.Cache, s.keys, prefix, After(prefix), Ascending)
}

// scanner is a store, or a snapshot of one.
type scanner[V any] interface {
	scan(from, to []byte, order Order, yield func(key []byte, v V, ms int64) error) error
}

// errEnough ends a scan without being an error.
var errEnough = errors.New("enough")

// rows returns a range of a store.
func rows[K, V any](s scanner[V], keys keyFormat[K], from, to []byte, order Order) iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		err := s.scan(from, to, order, func(b []byte, v V, ms int64) error {
			key, err := keys.decode(b)
			if err == nil && !yield(Row[K, V]{Key: key, Value: v, At: time.UnixMilli(ms)}, nil) {
				err = errEnough
			}
			return err
		})
		if err != nil && err != errEnough {
			yield(Row[K, V]{}, err)
		}
	}
}

// encoded returns what of returns for the bytes of two keys.
func encoded[K, R any](s serde.Serde[K], from, to K, of func(from, to []byte) iter.Seq2[R, error]) iter.Seq2[R, error] {
	first, err := s.Append([]byte{}, from)
	behind, failed := s.Append([]byte{}, to)
	if err = errors.Join(err, failed); err != nil {
		return func(yield func(R, error) bool) {
			var none R
			yield(none, err)
		}
	}
	return of(first, behind)
}
