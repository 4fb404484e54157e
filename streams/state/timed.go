package state

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
)

// Timed is a store of values by key and time, in segments of time. Windows and
// Sessions are Timed whose plain keys have a type: W is the type of the keys with
// their times. See timedFormat for the bytes.
type Timed[W, V any] struct {
	*Cache[W, V]
	layout *layout
	key    []byte
	known  bool // the segments of what is below are
}

// TimedKeys says how a Timed writes its keys, and what it keeps of them.
type TimedKeys[W any] struct {
	format func() (keyFormat[W], *layout)
}

// WindowKeys returns the keys of a Windows.
func WindowKeys[K any](key serde.Serde[K], cfg WindowConfig) TimedKeys[Windowed[K]] {
	return TimedKeys[Windowed[K]]{func() (keyFormat[Windowed[K]], *layout) {
		f := newTimedFormat(key, cfg.Retention, cfg.Segment)
		f.size, f.tail = cfg.Size, seqBytes
		return f, f.layout
	}}
}

// SessionKeys returns the keys of a Sessions.
func SessionKeys[K any](key serde.Serde[K], cfg SessionConfig) TimedKeys[Windowed[K]] {
	return TimedKeys[Windowed[K]]{func() (keyFormat[Windowed[K]], *layout) {
		f := newTimedFormat(key, cfg.Retention, cfg.Segment)
		f.tail = timeBytes
		return f, f.layout
	}}
}

// NewTimed returns a store, which is in memory unless an option says otherwise.
func NewTimed[W, V any](name string, keys TimedKeys[W], value serde.Serde[V], options ...Option) *Timed[W, V] {
	f, l := keys.format()
	c := newCache(name, f, value, append([]Option{inMemory()}, options...))
	t := &Timed[W, V]{Cache: c, layout: l, known: c.whole}
	c.flushed = t.removeExpired
	return t
}

// EntryAt returns the entry of a serialized key at a time, as Cache.Entry does, and
// nil if it has expired. Of windows, at is the start and tail the sequence number;
// of sessions, at is the end and tail the start. Times are in milliseconds.
func (t *Timed[W, V]) EntryAt(key []byte, at, tail int64) (*Entry[W, V], error) {
	return t.entryAt(t.at(key, at, tail), at)
}

// KeyAt returns the store's key of a serialized key at a time, which Lookup and Forwarded
// of the Cache take. It is valid until the next call.
func (t *Timed[W, V]) KeyAt(key []byte, at, tail int64) []byte { return t.at(key, at, tail) }

// at returns the store's key, which is valid until the next call.
func (t *Timed[W, V]) at(key []byte, at, tail int64) []byte {
	t.key = t.layout.appendTail(t.layout.appendKey(t.key[:0], key, at), tail)
	return t.key
}

// entryAt returns an entry, or nil if what is at that time has expired.
func (t *Timed[W, V]) entryAt(key []byte, at int64) (*Entry[W, V], error) {
	if t.layout.expired(at) {
		return nil, nil
	}
	if err := t.discover(); err != nil {
		return nil, err
	}
	t.layout.note(t.layout.segmentOf(at))
	return t.Cache.Entry(key)
}

// Advance tells the store the stream's time, in milliseconds. What has expired
// at that time is not read any more, and removed by the flush after which all
// that shares its segment has. An earlier time than before does nothing.
func (t *Timed[W, V]) Advance(ms int64) {
	if oldest := ms - t.layout.retention; oldest > t.layout.oldest && oldest <= ms {
		t.layout.oldest = oldest
	}
}

// Oldest returns the earliest time that has not expired, in milliseconds.
func (t *Timed[W, V]) Oldest() int64 { return t.layout.oldest }

// discover finds the segments of what is below.
func (t *Timed[W, V]) discover() error {
	if t.known {
		return nil
	}
	for from := []byte{}; ; {
		found := false
		err := t.below.Range(from, nil, Ascending, func(key, _ []byte) bool {
			if found = len(key) >= timeBytes; found {
				segment := timeAt(key)
				t.layout.note(segment)
				from = After(appendTime(nil, segment))
			}
			return false
		})
		if err != nil {
			return err
		}
		if !found || from == nil {
			t.known = true
			return nil
		}
	}
}

// removeExpired removes the segments that have expired. All entries are clean.
func (t *Timed[W, V]) removeExpired() error {
	f, n := t.layout, 0
	for n < len(f.segments) && f.segments[n] < f.segmentOf(f.oldest) {
		n++
	}
	if n == 0 {
		return nil
	}
	behind := appendTime(nil, f.segments[n-1]+1)
	var gone []*Entry[W, V]
	t.all(func(e *Entry[W, V]) bool {
		t.scratch = t.appendKey(t.scratch[:0], e)
		if string(t.scratch) < string(behind) {
			gone = append(gone, e)
		}
		return true
	})
	for _, e := range gone {
		t.drop(e)
	}
	var b Batch
	b.DeleteRange(nil, behind)
	f.segments = slices.Delete(f.segments, 0, n)
	return t.below.Apply(&b)
}

// All returns what starts (a session: ends)
// from one time to another, both inclusive, in the order of these times, then of
// the keys, as of when the loop begins. It ends with the first error.
func (t *Timed[W, V]) All(from, to time.Time) iter.Seq2[Row[W, V], error] {
	return allOf(t.reader, t.keys, from, to)
}

// reader returns what reads the store.
func (t *Timed[W, V]) reader() (scanner[V], *layout, error) {
	return t.Cache, t.layout, t.discover()
}

// timedView is a Timed as of a flush.
type timedView[W, V any] struct {
	snapshot[V]
	keys   keyFormat[W]
	layout *layout
}

func (t *Timed[W, V]) view() (timedView[W, V], error) {
	if err := t.discover(); err != nil {
		return timedView[W, V]{}, err
	}
	snap, err := t.snapshot()
	l := *t.layout
	l.segments = slices.Clone(l.segments)
	return timedView[W, V]{snap, t.keys, &l}, err
}

func (v *timedView[W, V]) reader() (scanner[V], *layout, error) { return v.snapshot, v.layout, nil }

// All returns what starts (a session: ends) from one time to another, both
// inclusive, in the order of these times, then of the keys. It ends with the
// first error.
func (v *timedView[W, V]) All(from, to time.Time) iter.Seq2[Row[W, V], error] {
	return allOf(v.reader, v.keys, from, to)
}

// eachOf calls yield for what a key has from one time to another, both
// inclusive, with its time and the tail of its key.
func eachOf[V any](s scanner[V], f *layout, key []byte, from, to int64, order Order, yield func(at, tail int64, v V, ms int64) error) error {
	from = max(from, f.oldest)
	return f.each(from, to, order, func(segment int64) error {
		prefix := appendEscaped(appendTime(nil, segment), key)
		first := appendTime(slices.Clip(prefix), from)
		behind := After(appendTime(slices.Clip(prefix), to))
		return s.scan(first, behind, order, func(key []byte, v V, ms int64) error {
			return yield(f.timeOf(key), f.tailOf(key), v, ms)
		})
	})
}

// fetched returns what a typed key has from one time to another.
func fetched[K, V any](of func() (scanner[V], *layout, error), keys keyFormat[Windowed[K]], key K, from, to time.Time, order Order) iter.Seq2[Row[Windowed[K], V], error] {
	return func(yield func(Row[Windowed[K], V], error) bool) {
		err := func() error {
			s, l, err := of()
			if err != nil {
				return err
			}
			f := keys.(*timedFormat[K])
			b, err := f.serde.Append(nil, key)
			if err != nil {
				return err
			}
			return eachOf(s, l, b, from.UnixMilli(), to.UnixMilli(), order, func(at, tail int64, v V, ms int64) error {
				if !yield(Row[Windowed[K], V]{Key: f.windowed(key, at, tail), Value: v, At: time.UnixMilli(ms)}, nil) {
					return errEnough
				}
				return nil
			})
		}()
		if err != nil && err != errEnough {
			yield(Row[Windowed[K], V]{}, err)
		}
	}
}

// allOf returns what there is from one time to another. A segment is sorted in
// memory.
func allOf[W, V any](of func() (scanner[V], *layout, error), keys keyFormat[W], from, to time.Time) iter.Seq2[Row[W, V], error] {
	type found struct {
		at int64
		Row[W, V]
	}
	return func(yield func(Row[W, V], error) bool) {
		err := func() error {
			s, f, err := of()
			if err != nil {
				return err
			}
			first, last := max(from.UnixMilli(), f.oldest), to.UnixMilli()
			return f.each(first, last, Ascending, func(segment int64) error {
				var rows []found
				start := appendTime(nil, segment)
				err := s.scan(start, After(start), Ascending, func(b []byte, v V, ms int64) error {
					at := f.timeOf(b)
					if at < first || at > last {
						return nil
					}
					key, err := keys.decode(b)
					rows = append(rows, found{at, Row[W, V]{Key: key, Value: v, At: time.UnixMilli(ms)}})
					return err
				})
				if err != nil {
					return err
				}
				slices.SortStableFunc(rows, func(a, b found) int { return cmp.Compare(a.at, b.at) })
				for _, r := range rows {
					if !yield(r.Row, nil) {
						return errEnough
					}
				}
				return nil
			})
		}()
		if err != nil && err != errEnough {
			yield(Row[W, V]{}, err)
		}
	}
}

// timedFormat is the keys of a store by key and time:
//
//	segment | key | time | tail
//
// Segment and time are 8 bytes, in an order that has negative ones first. The
// segment is the time divided by a length. The key is escaped, so that none is
// the beginning of another one. The tail is a sequence number of 4 bytes, or a
// session's start.
//
// So what a key has in a range of time is together, segment by segment, and what
// expires is the store's beginning. In the changelog a key is
//
//	key | time | tail
//
// which does not depend on the length of segments.
type timedFormat[K any] struct {
	*layout
	serde serde.Serde[K]
}

// layout is what a timedFormat has without the type of the keys.
type layout struct {
	size      time.Duration
	tail      int   // its length
	retention int64 // in milliseconds
	length    int64 // of a segment, in milliseconds

	segments []int64 // those that may hold something, in order
	oldest   int64   // what is before has expired
}

const (
	timeBytes = 8
	seqBytes  = 4
)

func newTimedFormat[K any](key serde.Serde[K], retention, segment time.Duration) *timedFormat[K] {
	f := &timedFormat[K]{&layout{retention: max(retention.Milliseconds(), 0), length: segment.Milliseconds(), oldest: math.MinInt64}, key}
	if f.length <= 0 {
		f.length = max(f.retention/4, 1)
	}
	return f
}

func (f *layout) expired(at int64) bool { return at < f.oldest }

func (f *layout) segmentOf(at int64) int64 {
	segment := at / f.length
	if at%f.length < 0 {
		segment--
	}
	return segment
}

// note notes that a segment may hold something.
func (f *layout) note(segment int64) {
	n := len(f.segments)
	if n > 0 && f.segments[n-1] == segment {
		return
	}
	if at, found := slices.BinarySearch(f.segments, segment); !found {
		f.segments = slices.Insert(f.segments, at, segment)
	}
}

// each calls do for the segments of a range of time that may hold something, in
// their order or the reverse.
func (f *layout) each(from, to int64, order Order, do func(segment int64) error) error {
	if from > to {
		return nil
	}
	first, _ := slices.BinarySearch(f.segments, f.segmentOf(from))
	behind, found := slices.BinarySearch(f.segments, f.segmentOf(to))
	if found {
		behind++
	}
	within := slices.Clone(f.segments[first:behind]) // do may make others
	if order == Descending {
		slices.Reverse(within)
	}
	for _, segment := range within {
		if err := do(segment); err != nil {
			return err
		}
	}
	return nil
}

// appendKey appends a store's key without its tail.
func (f *layout) appendKey(dst, key []byte, at int64) []byte {
	return appendTime(appendEscaped(appendTime(dst, f.segmentOf(at)), key), at)
}

func (f *layout) appendTail(dst []byte, tail int64) []byte {
	if f.tail == timeBytes {
		return appendTime(dst, tail)
	}
	return append(dst, byte(tail>>24), byte(tail>>16), byte(tail>>8), byte(tail))
}

// timeOf and tailOf read a store's key, which this format has made.
func (f *layout) timeOf(key []byte) int64 { return timeAt(key[len(key)-f.tail-timeBytes:]) }

func (f *layout) tailOf(key []byte) int64 {
	if f.tail == timeBytes {
		return timeAt(key[len(key)-timeBytes:])
	}
	return tailAt(key[len(key)-seqBytes:])
}

// windowed returns a key with its window.
func (f *timedFormat[K]) windowed(key K, at, tail int64) Windowed[K] {
	when := time.UnixMilli(at)
	if f.tail == timeBytes {
		return Windowed[K]{Key: key, Start: time.UnixMilli(tail), End: when}
	}
	if f.size == Endless {
		return Windowed[K]{Key: key, Start: when, End: time.UnixMilli(math.MaxInt64)}
	}
	return Windowed[K]{Key: key, Start: when, End: when.Add(f.size)}
}

// decode implements keyFormat.
func (f *timedFormat[K]) decode(b []byte) (w Windowed[K], err error) {
	end := len(b) - f.tail - timeBytes
	if end < timeBytes {
		return w, fault.Newf(fault.Serialization, "%x is too short for a key with its time", b)
	}
	raw, err := appendUnescaped(nil, b[timeBytes:end])
	if err != nil {
		return w, err
	}
	key, err := f.serde.Decode(raw)
	if err != nil {
		return w, err
	}
	return f.windowed(key, f.timeOf(b), f.tailOf(b)), nil
}

// appendLog implements keyFormat. Times are as Kafka has them.
func (f *layout) appendLog(dst, key []byte) []byte {
	end := len(key) - f.tail - timeBytes
	dst, _ = appendUnescaped(dst, key[timeBytes:end]) // this format has made the key
	dst = appendPlainTime(dst, f.timeOf(key))
	if f.tail == timeBytes {
		return appendPlainTime(dst, f.tailOf(key))
	}
	return append(dst, key[len(key)-seqBytes:]...)
}

// appendStored implements keyFormat, and notes the segment.
func (f *layout) appendStored(dst, logKey []byte) ([]byte, error) {
	end := len(logKey) - f.tail - timeBytes
	if end < 0 {
		return dst, fault.Newf(fault.Serialization, "the key %x is too short for one with its time", logKey)
	}
	at := plainTimeAt(logKey[end:])
	f.note(f.segmentOf(at))
	dst = f.appendKey(dst, logKey[:end], at)
	if f.tail == timeBytes {
		return appendTime(dst, plainTimeAt(logKey[end+timeBytes:])), nil
	}
	return append(dst, logKey[end+timeBytes:]...), nil
}
