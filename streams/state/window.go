package state

import (
	"iter"
	"math"
	"time"

	"github.com/runnel-go/runnel/serde"
)

// Windowed is a key in a window of time.
type Windowed[K any] struct {
	Key   K
	Start time.Time
	End   time.Time // exclusive for windows of a fixed size, inclusive for sessions
}

// WindowConfig says how a Windows keeps its windows.
type WindowConfig struct {
	// Size is how long a window is: its End is that far behind its Start. Endless
	// windows end at the last millisecond that there is, as Kafka's do.
	Size time.Duration

	// Retention is how long a window is kept: until the time that Advance was
	// told is more than that behind the window's start.
	Retention time.Duration

	// Segment is how much time shares a part of the store, which is removed as a
	// whole: a quarter of Retention by default. Where windows begin at regular
	// times, it should be the distance of these times.
	Segment time.Duration

	// Duplicates lets a key have several values at the same start. Each Put adds
	// one.
	Duplicates bool
}

// Endless is the size of windows that never end, and a retention that keeps them.
const Endless = time.Duration(math.MaxInt64)

// Windows is a store of timestamped values by key and start of a window. It
// expires by the time of the stream, which its owner tells it with Advance. In
// the changelog its keys are those of Kafka Streams: the key, the start and a
// sequence number, which is 0 without duplicates.
//
// Reads never show a window that has expired, although it is removed later, with
// others.
type Windows[K, V any] struct {
	*Timed[Windowed[K], V]
	duplicates bool
}

var _ Store = (*Windows[string, int64])(nil)

// NewWindows returns a store, which is in memory unless an option says
// otherwise.
func NewWindows[K, V any](name string, key serde.Serde[K], value serde.Serde[V], cfg WindowConfig, options ...Option) *Windows[K, V] {
	return &Windows[K, V]{NewTimed(name, WindowKeys(key, cfg), value, options...), cfg.Duplicates}
}

// Entry returns the entry of a serialized key in the window with that start, as
// Cache.Entry does, and nil if the window has expired.
func (s *Windows[K, V]) Entry(key []byte, start int64) (*Entry[Windowed[K], V], error) {
	return s.entryAt(s.at(key, start, 0), start)
}

// Lookup returns the value of a serialized key in the window with that start and
// its timestamp in milliseconds, and false if there is none.
func (s *Windows[K, V]) Lookup(key []byte, start int64) (v V, ms int64, ok bool, err error) {
	if s.layout.expired(start) {
		return v, 0, false, nil
	}
	return s.Cache.Lookup(s.at(key, start, 0))
}

// Put sets the value of a serialized key in the window with that start, or adds
// one if the store has duplicates, and reports whether the window has not
// expired.
func (s *Windows[K, V]) Put(key []byte, start int64, value V, ms int64) (bool, error) {
	seq := int64(0)
	if s.duplicates {
		var err error
		if seq, err = s.free(key, start); err != nil {
			return false, err
		}
	}
	e, err := s.entryAt(s.at(key, start, seq), start)
	if e == nil || err != nil {
		return false, err
	}
	e.Value, e.Ms = value, ms
	s.Changed(e, true)
	return true, nil
}

// free returns the first sequence number behind those of a key in a window.
func (s *Windows[K, V]) free(key []byte, start int64) (next int64, err error) {
	from := s.layout.appendKey(nil, key, start)
	err = s.scan(from, After(from), Descending, func(key []byte, _ V, _ int64) error {
		next = s.layout.tailOf(key) + 1
		return errEnough
	})
	if err == errEnough {
		err = nil
	}
	return next, err
}

// Each calls yield for the windows of a serialized key that start from one time,
// in milliseconds, to another, both inclusive, in their order or the reverse, as
// of the call, until yield returns an error. Values with the same start come in
// the order in which they were put.
func (s *Windows[K, V]) Each(key []byte, from, to int64, order Order, yield func(start int64, v V, ms int64) error) error {
	if err := s.discover(); err != nil {
		return err
	}
	return eachOf(s.Cache, s.layout, key, from, to, order, func(start, _ int64, v V, ms int64) error { return yield(start, v, ms) })
}

// Fetch returns the windows of a key that start from one time to another, both
// inclusive, in their order or the reverse, as of when the loop begins. It ends
// with the first error.
func (s *Windows[K, V]) Fetch(key K, from, to time.Time, order Order) iter.Seq2[Row[Windowed[K], V], error] {
	return fetched(s.reader, s.keys, key, from, to, order)
}

// WindowsView is a Windows as of a flush. It does not change, and any number of
// goroutines may read it while the store's task goes on.
type WindowsView[K, V any] struct{ timedView[Windowed[K], V] }

// View returns what the store holds as of its last flush.
func (s *Windows[K, V]) View() (*WindowsView[K, V], error) {
	v, err := s.view()
	return &WindowsView[K, V]{v}, err
}

// Fetch returns the windows of a key that start from one time to another, both
// inclusive, in their order or the reverse. It ends with the first error.
func (v *WindowsView[K, V]) Fetch(key K, from, to time.Time, order Order) iter.Seq2[Row[Windowed[K], V], error] {
	return fetched(v.reader, v.keys, key, from, to, order)
}
