package state

import (
	"bytes"
	"errors"
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
)

// Forever is the end of a version that no other one has replaced.
const Forever = math.MaxInt64

// Version is a value that a key had from one time on, in milliseconds, until
// another, exclusive.
type Version[V any] struct {
	Value   V
	From    int64
	Until   int64 // Forever: it is the latest
	Present bool  // false: the key had no value
}

// Versioned is a store that keeps what its keys' values were before, for a
// history as long as it is given: Kafka's versioned store (KIP-889). The
// deletion of a key is a version, too. A change may come late: it takes its
// place among the versions, if the history reaches that far. The history's
// length is measured from the largest timestamp that was put.
//
// There is no cache: every change is written at once. A changelog record is the
// key, the value, and From as its timestamp; a changelog must not be compacted
// before its records are older than the history.
//
// It is kept in a Bytes, in rows of three kinds:
//
//	0 | key | from          a version: 1 and the value, or 0
//	1 | until | key | from  when a version is not needed any more
//	2                       the largest timestamp
type Versioned[K, V any] struct {
	name    string
	key     serde.Serde[K]
	value   serde.Serde[V]
	history int64
	below   Bytes
	latest  int64 // the largest timestamp
	known   bool  // latest is, of what was below
	batch   Batch
	row     []byte
	buf     []byte
}

var _ Store = (*Versioned[string, int64])(nil)

const (
	versionRow byte = iota
	queueRow
	latestRow
)

// NewVersioned returns a store, which is in memory unless an option says
// otherwise. CacheBytes has no effect.
func NewVersioned[K, V any](name string, key serde.Serde[K], value serde.Serde[V], history time.Duration, options ...Option) *Versioned[K, V] {
	var cfg config
	for _, o := range append([]Option{inMemory()}, options...) {
		o.apply(&cfg)
	}
	return &Versioned[K, V]{name: name, key: key, value: value, history: max(history.Milliseconds(), 0), below: cfg.below, latest: math.MinInt64}
}

// Name implements Store.
func (s *Versioned[K, V]) Name() string { return s.name }

// Put gives a serialized key a value from a time on, and returns until when, and
// false if the history does not reach that far: then nothing has changed.
func (s *Versioned[K, V]) Put(log Changelog, key []byte, value V, from int64) (until int64, put bool, err error) {
	if s.row, err = s.value.Append(append(s.row[:0], 1), value); err != nil {
		return 0, false, err
	}
	return s.put(log, key, s.row, from)
}

// Delete makes a serialized key have no value from a time on, as Put does, and
// returns what it had then.
func (s *Versioned[K, V]) Delete(log Changelog, key []byte, from int64) (was Version[V], put bool, err error) {
	if was, err = s.Lookup(key, from); err != nil {
		return was, false, err
	}
	s.row = append(s.row[:0], 0)
	_, put, err = s.put(log, key, s.row, from)
	return was, put, err
}

// put makes a version of a row's value.
func (s *Versioned[K, V]) put(log Changelog, key, row []byte, from int64) (until int64, put bool, err error) {
	if err := s.open(); err != nil {
		return 0, false, err
	}
	if from < s.oldest() {
		return 0, false, nil
	}
	if log != nil {
		var value []byte
		if row[0] == 1 {
			value = row[1:]
		}
		if err := log.Append(key, value, from); err != nil {
			return 0, false, err
		}
	}
	prefix := versionPrefix(key)
	before, err := around(s.below, prefix, from)
	if err != nil {
		return 0, false, err
	}
	until = before.until
	switch {
	case !before.found:
	case before.from == from && before.row[0] == 0:
		s.batch.Delete(queueKey(from, key, from))
	case before.from != from:
		// Where it ended before, if it did, stays in the queue: by then it is gone.
		s.batch.Put(queueKey(from, key, before.from), nil)
	}
	s.batch.Put(appendTime(prefix, from), row)
	if until != Forever {
		s.batch.Put(queueKey(until, key, from), nil)
	}
	if row[0] == 0 { // without it the key has no value either, once nothing is before it
		s.batch.Put(queueKey(from, key, from), nil)
	}
	s.latest = max(s.latest, from)
	if err := s.apply(); err != nil {
		return 0, false, err
	}
	return until, true, s.removeExpired()
}

func (s *Versioned[K, V]) apply() error {
	defer s.batch.Reset()
	return s.below.Apply(&s.batch)
}

// oldest returns the time to which the history reaches.
func (s *Versioned[K, V]) oldest() int64 {
	if s.latest < math.MinInt64+s.history {
		return math.MinInt64
	}
	return s.latest - s.history
}

// removeExpired removes the versions that ended before the history begins.
func (s *Versioned[K, V]) removeExpired() error {
	end := appendTime([]byte{queueRow}, s.oldest())
	err := s.below.Range([]byte{queueRow}, After(end), Ascending, func(key, _ []byte) bool {
		s.batch.Delete(key)
		s.buf = append(append(s.buf[:0], versionRow), key[1+timeBytes:]...)
		s.batch.Delete(s.buf)
		return true
	})
	if err != nil || s.batch.Len() == 0 {
		return err
	}
	return s.apply()
}

// open reads the largest timestamp of what is below.
func (s *Versioned[K, V]) open() error {
	if s.known {
		return nil
	}
	b, err := s.below.Get([]byte{latestRow})
	if err != nil {
		return err
	}
	if len(b) == timeBytes {
		s.latest = max(s.latest, timeAt(b))
	}
	s.known = true
	return nil
}

// Lookup returns a serialized key's version at a time; at Forever it is the
// latest. Where the history does not reach, there is none but a latest one.
func (s *Versioned[K, V]) Lookup(key []byte, at int64) (Version[V], error) {
	if err := s.open(); err != nil {
		return Version[V]{}, err
	}
	return versionAt(s.below, s.name, s.value, key, at, s.oldest())
}

// Get returns a key's latest value and its timestamp, and false if it has none.
func (s *Versioned[K, V]) Get(key K) (v V, from time.Time, ok bool, err error) {
	return asOf(s.key, key, func(b []byte) (Version[V], error) { return s.Lookup(b, Forever) })
}

// GetAsOf returns the value that a key had at a time, and since when, and false
// if it had none.
func (s *Versioned[K, V]) GetAsOf(key K, at time.Time) (v V, from time.Time, ok bool, err error) {
	return asOf(s.key, key, func(b []byte) (Version[V], error) { return s.Lookup(b, at.UnixMilli()) })
}

func asOf[K, V any](keys serde.Serde[K], key K, lookup func([]byte) (Version[V], error)) (v V, from time.Time, ok bool, err error) {
	b, err := keys.Append(nil, key)
	if err != nil {
		return v, from, false, err
	}
	found, err := lookup(b)
	if err != nil || !found.Present {
		return v, from, false, err
	}
	return found.Value, time.UnixMilli(found.From), true, nil
}

// VersionedView is a Versioned as of a time. It does not change, and any number
// of goroutines may read it while the store's task goes on.
type VersionedView[K, V any] struct {
	rows   Snapshot
	of     *Versioned[K, V] // what does not change of it
	oldest int64
}

// View returns what the store holds now.
func (s *Versioned[K, V]) View() (*VersionedView[K, V], error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	snap, err := s.below.Snapshot()
	return &VersionedView[K, V]{snap, s, s.oldest()}, err
}

// Get returns a key's latest value and its timestamp, and false if it has none.
func (v *VersionedView[K, V]) Get(key K) (value V, from time.Time, ok bool, err error) {
	return asOf(v.of.key, key, func(b []byte) (Version[V], error) { return v.lookup(b, Forever) })
}

// GetAsOf returns the value that a key had at a time, and since when, and false
// if it had none.
func (v *VersionedView[K, V]) GetAsOf(key K, at time.Time) (value V, from time.Time, ok bool, err error) {
	return asOf(v.of.key, key, func(b []byte) (Version[V], error) { return v.lookup(b, at.UnixMilli()) })
}

func (v *VersionedView[K, V]) lookup(key []byte, at int64) (Version[V], error) {
	return versionAt(v.rows, v.of.name, v.of.value, key, at, v.oldest)
}

// Close releases what the view holds. No other call may be in progress.
func (v *VersionedView[K, V]) Close() error { return v.rows.Close() }

// versionAt returns a key's version at a time, if the history reaches that far.
func versionAt[V any](r Reader, store string, value serde.Serde[V], key []byte, at, oldest int64) (v Version[V], err error) {
	found, err := around(r, versionPrefix(key), at)
	if err != nil || !found.found || at < oldest && found.until != Forever {
		return v, err
	}
	v.From, v.Until = found.from, found.until
	if found.row[0] == 0 {
		return v, nil
	}
	if v.Value, err = value.Decode(found.row[1:]); err != nil {
		return v, fault.Newf(fault.Serialization, "the store %s: the value of the key %x from %d on", store, key, v.From).Because(err)
	}
	v.Present = true
	return v, nil
}

// version is a row of a version and when the next one begins.
type version struct {
	row         []byte
	from, until int64
	found       bool
}

// around returns the version of a time, and until when it is, or would be.
func around(r Reader, prefix []byte, at int64) (v version, err error) {
	v.until = Forever
	behind := After(prefix)
	if at != Forever {
		behind = appendTime(bytes.Clone(prefix), at+1)
		err := r.Range(behind, After(prefix), Ascending, func(key, _ []byte) bool {
			v.until = timeAt(key[len(key)-timeBytes:])
			return false
		})
		if err != nil {
			return v, err
		}
	}
	damaged := false
	err = r.Range(prefix, behind, Descending, func(key, row []byte) bool {
		v.found, v.from, v.row = true, timeAt(key[len(key)-timeBytes:]), bytes.Clone(row)
		damaged = len(row) == 0
		return false
	})
	if damaged {
		err = errors.Join(err, fault.Newf(fault.Serialization, "a version without a byte that says whether it is a value"))
	}
	return v, err
}

func versionPrefix(key []byte) []byte { return appendEscaped([]byte{versionRow}, key) }

func queueKey(until int64, key []byte, from int64) []byte {
	return appendTime(appendEscaped(appendTime([]byte{queueRow}, until), key), from)
}

// Restore implements Store.
func (s *Versioned[K, V]) Restore(key, value []byte, ms int64) error {
	if s.row = append(s.row[:0], 0); value != nil {
		s.row = append(append(s.row[:0], 1), value...)
	}
	_, _, err := s.put(nil, key, s.row, ms)
	return err
}

// Restored implements Store.
func (s *Versioned[K, V]) Restored() error { return nil }

// Len implements Store. It reads all versions.
func (s *Versioned[K, V]) Len() (n int, err error) {
	var last []byte
	err = s.below.Range([]byte{versionRow}, []byte{queueRow}, Descending, func(key, row []byte) bool {
		if prefix := key[:len(key)-timeBytes]; !bytes.Equal(prefix, last) {
			last = append(last[:0], prefix...)
			if row[0] == 1 {
				n++
			}
		}
		return true
	})
	return n, err
}

// Size implements Store.
func (s *Versioned[K, V]) Size() int64 { return s.below.Size() }

// Checkpoint implements Store.
func (s *Versioned[K, V]) Checkpoint(position int64) error {
	if s.latest != math.MinInt64 {
		s.batch.Put([]byte{latestRow}, appendTime(nil, s.latest))
		if err := s.apply(); err != nil {
			return err
		}
	}
	return s.below.Checkpoint(position)
}

// Position implements Store.
func (s *Versioned[K, V]) Position() (int64, bool) { return s.below.Position() }

// Close implements Store.
func (s *Versioned[K, V]) Close() error { return s.below.Close() }
