package state

import (
	"iter"
	"math"
	"time"

	"github.com/runnel-go/runnel/serde"
)

// SessionConfig says how a Sessions keeps its sessions.
type SessionConfig struct {
	// Retention is how long a session is kept: until the time that Advance was
	// told is more than that behind the session's end.
	Retention time.Duration

	// Segment is how much time shares a part of the store, which is removed as a
	// whole: a quarter of Retention by default.
	Segment time.Duration
}

// Sessions is a store of timestamped values by key and session, which has a
// start and an end, both inclusive. It expires by the time of the stream, which
// its owner tells it with Advance. In the changelog its keys are those of Kafka
// Streams: the key, the end and the start.
//
// Reads never show a session that has expired, although it is removed later,
// with others.
type Sessions[K, V any] struct{ *Timed[Windowed[K], V] }

var _ Store = (*Sessions[string, int64])(nil)

// NewSessions returns a store, which is in memory unless an option says
// otherwise.
func NewSessions[K, V any](name string, key serde.Serde[K], value serde.Serde[V], cfg SessionConfig, options ...Option) *Sessions[K, V] {
	return &Sessions[K, V]{NewTimed(name, SessionKeys(key, cfg), value, options...)}
}

// Entry returns the entry of a serialized key's session, as Cache.Entry does,
// and nil if the session has expired.
func (s *Sessions[K, V]) Entry(key []byte, start, end int64) (*Entry[Windowed[K], V], error) {
	return s.entryAt(s.at(key, end, start), end)
}

// Lookup returns the value of a serialized key's session and its timestamp in
// milliseconds, and false if there is none.
func (s *Sessions[K, V]) Lookup(key []byte, start, end int64) (v V, ms int64, ok bool, err error) {
	if s.layout.expired(end) {
		return v, 0, false, nil
	}
	return s.Cache.Lookup(s.at(key, end, start))
}

// Find calls yield for the sessions of a serialized key that end at one time, in
// milliseconds, or later, and start at another or earlier, by their ends, as of
// the call, until yield returns an error.
func (s *Sessions[K, V]) Find(key []byte, earliestEnd, latestStart int64, yield func(start, end int64, v V, ms int64) error) error {
	if err := s.discover(); err != nil {
		return err
	}
	return eachOf(s.Cache, s.layout, key, earliestEnd, math.MaxInt64, Ascending, func(end, start int64, v V, ms int64) error {
		if start > latestStart {
			return nil
		}
		return yield(start, end, v, ms)
	})
}

// Fetch returns the sessions of a key that end from one time to another, both
// inclusive, by their ends or in the reverse order, as of when the loop begins.
// It ends with the first error.
func (s *Sessions[K, V]) Fetch(key K, from, to time.Time, order Order) iter.Seq2[Row[Windowed[K], V], error] {
	return fetched(s.reader, s.keys, key, from, to, order)
}

// SessionsView is a Sessions as of a flush. It does not change, and any number
// of goroutines may read it while the store's task goes on.
type SessionsView[K, V any] struct{ timedView[Windowed[K], V] }

// View returns what the store holds as of its last flush.
func (s *Sessions[K, V]) View() (*SessionsView[K, V], error) {
	v, err := s.view()
	return &SessionsView[K, V]{v}, err
}

// Fetch returns the sessions of a key that end from one time to another, both
// inclusive, by their ends or in the reverse order. It ends with the first
// error.
func (v *SessionsView[K, V]) Fetch(key K, from, to time.Time, order Order) iter.Seq2[Row[Windowed[K], V], error] {
	return fetched(v.reader, v.keys, key, from, to, order)
}
