package streams

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// Windowed is a key in a window of time.
type Windowed[K any] = state.Windowed[K]

// TimeWindows says which windows of a fixed size a record is in, by its timestamp: those
// that begin at or before it and end behind it. They are aligned to Unix time 0. Make one
// with Tumbling, Hopping or Unlimited.
//
// A window is closed when the stream time of the aggregation has reached its end and the
// grace period behind it. A record does not change windows that are closed when it comes:
// it is late, and counted by App.ErrorCounts. Its own timestamp counts before that is
// decided, and a record of any key moves the time, unless its key is null.
type TimeWindows struct {
	size, advance, grace int64 // in milliseconds
	start                int64 // of unlimited windows
	unlimited            bool
}

// Tumbling returns windows of that size, one behind the other: each record is in one.
func Tumbling(size, grace time.Duration) TimeWindows { return Hopping(size, size, grace) }

// Hopping returns windows of that size, one of which begins at each multiple of advance:
// each record is in all that span its timestamp.
func Hopping(size, advance, grace time.Duration) TimeWindows {
	return TimeWindows{size: size.Milliseconds(), advance: advance.Milliseconds(), grace: grace.Milliseconds()}
}

// Unlimited returns the one window that begins at start and never ends. Earlier records
// are in no window.
func Unlimited(start time.Time) TimeWindows {
	return TimeWindows{start: start.UnixMilli(), unlimited: true}
}

// mistake returns what is wrong with the windows.
func (w TimeWindows) mistake() string {
	switch {
	case w.unlimited && w.start < 0:
		return "an unlimited window that begins before 1970"
	case w.unlimited:
		return ""
	case w.size < 1:
		return "windows of less than a millisecond"
	case w.advance < 1 || w.advance > w.size:
		return "windows that advance by less than a millisecond, or by more than their size"
	case w.grace < 0:
		return "a negative grace period"
	}
	return ""
}

// end returns the end of the window that begins at start, exclusive.
func (w TimeWindows) end(start int64) int64 {
	if w.unlimited {
		return math.MaxInt64
	}
	return start + w.size
}

// first returns the start of the earliest window that a timestamp is in, and false if
// it is in none. Windows before 1970 do not exist.
func (w TimeWindows) first(ms int64) (start int64, ok bool) {
	if w.unlimited {
		return w.start, ms >= w.start
	}
	return max(0, ms-w.size+w.advance) / w.advance * w.advance, true
}

// next returns the start of the window behind the one that begins at start, and false
// if the timestamp is not in it.
func (w TimeWindows) next(start, ms int64) (int64, bool) {
	start += w.advance
	return start, !w.unlimited && start <= ms
}

// keys returns how a store keeps windows.
func (w TimeWindows) config() state.WindowConfig {
	if w.unlimited {
		return state.WindowConfig{Size: state.Endless, Retention: state.Endless, Segment: state.Endless}
	}
	return state.WindowConfig{Size: duration(w.size), Retention: duration(w.size + w.grace), Segment: duration(w.advance)}
}

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// TimeWindowedKStream is a grouped stream in windows. Count, Reduce and Aggregate turn it
// into a table of windowed keys.
type TimeWindowedKStream[K, V any] struct{ group grouping[Windowed[K], V] }

func (g *TimeWindowedKStream[K, V]) grouping() *grouping[Windowed[K], V] { return &g.group }

// WindowedBy puts the records of each key into windows.
func (g *KGroupedStream[K, V]) WindowedBy(w TimeWindows) *TimeWindowedKStream[K, V] {
	base := &g.group
	key := base.key
	if key == nil {
		key, _ = serde.Default[K]()
	}
	var keys serde.Serde[Windowed[K]]
	if key != nil {
		keys = TimeWindowed(key, w)
	}
	windows := &windowing[Windowed[K], V]{mistake: w.mistake(), keys: state.WindowKeys(key, w.config())}
	if !w.unlimited {
		windows.retention = duration(w.size + w.grace)
	}
	windows.gathered = func(store string) gatheredStream[Windowed[K], V] {
		out, _ := base.source(store)
		return gatheredStream[Windowed[K], V]{out.node, func(n *node, child func(w *wiring, clock *windowClock) receiver[Windowed[K], V]) {
			out.to(n, func(in *wiring) receiver[K, V] {
				clock := &windowClock{ms: -1}
				in.remembers(n, &clock.ms)
				return &windower[K, V]{step: in.step(n), windows: w, clock: clock, key: newCodec(key), next: child(in, clock)}
			})
		}}
	}
	return &TimeWindowedKStream[K, V]{grouping[Windowed[K], V]{topology: base.topology, key: keys, value: base.value, windows: windows}}
}

// windowing is what a grouping by windowed keys has.
type windowing[K, V any] struct {
	mistake   string
	keys      state.TimedKeys[K]
	retention time.Duration // 0: for ever
	gathered  func(store string) gatheredStream[K, V]
}

// windowClock is the stream time of an aggregation over windows, in milliseconds; -1 at
// first. It is not the task's: the task's is moved by records without a key, too.
type windowClock struct{ ms int64 }

// windower passes each record on once for each of its windows that is not closed, the
// earlier ones first.
type windower[K, V any] struct {
	step
	windows TimeWindows
	clock   *windowClock
	key     codec[K]
	next    receiver[Windowed[K], V]
}

var errLate = errors.New("it is late: the window is closed")

func (s *windower[K, V]) receive(m message[K, V]) error {
	if !s.key.present(m.key, m.hasKey) {
		return nil
	}
	ms := s.task.ms
	s.clock.ms = max(s.clock.ms, ms)
	start, ok := s.windows.first(ms)
	for ok {
		end := s.windows.end(start)
		if !s.windows.unlimited && end+s.windows.grace <= s.clock.ms {
			s.task.handling.late(s.task, s.node, start)
		} else {
			in := Windowed[K]{Key: m.key, Start: time.UnixMilli(start), End: time.UnixMilli(end)}
			if err := s.next.receive(message[Windowed[K], V]{key: in, value: m.value, hasKey: true, hasValue: m.hasValue}); err != nil {
				return err
			}
		}
		start, ok = s.windows.next(start, ms)
	}
	return nil
}

// TimeWindowed returns the serde of keys in these windows: the key's bytes, and the
// window's start in 8 bytes, as Kafka's TimeWindowedSerializer writes them. The end
// follows from the windows.
func TimeWindowed[K any](key serde.Serde[K], w TimeWindows) serde.Serde[Windowed[K]] {
	return timeWindowed[K]{key, w}
}

type timeWindowed[K any] struct {
	key     serde.Serde[K]
	windows TimeWindows
}

const windowBytes = 8

func (s timeWindowed[K]) Append(dst []byte, w Windowed[K]) ([]byte, error) {
	dst, err := s.key.Append(dst, w.Key)
	return binary.BigEndian.AppendUint64(dst, uint64(w.Start.UnixMilli())), err
}

func (s timeWindowed[K]) Decode(src []byte) (w Windowed[K], err error) {
	if len(src) < windowBytes {
		return w, fault.Newf(fault.Serialization, "%d bytes are too few for a key with its window", len(src))
	}
	plain, start := splitWindowed(src)
	w.Start, w.End = time.UnixMilli(start), time.UnixMilli(s.windows.end(start))
	w.Key, err = s.key.Decode(plain)
	return w, err
}

// splitWindowed returns the key and the start of a windowed key's bytes.
func splitWindowed(b []byte) (plain []byte, start int64) {
	n := len(b) - windowBytes
	return b[:n:n], int64(binary.BigEndian.Uint64(b[n:]))
}

// WindowedTable is a table of windowed keys, as the methods of a TimeWindowedKStream
// make it. It is a type of its own, because Go rejects methods that lead from
// KStream[K, V] to KTable[Windowed[K], V]: see AsKTable.
type WindowedTable[K, V any] struct{ changes[Windowed[K], V] }

// Named names the operator that emits the table and returns the table.
func (t *WindowedTable[K, V]) Named(name string) *WindowedTable[K, V] {
	t.out.node.name = name
	return t
}

// ToStream returns the table's changes as a stream of its new values.
func (t *WindowedTable[K, V]) ToStream() *WindowedKStream[K, V] {
	return &WindowedKStream[K, V]{topology: t.topology, out: valuesOf(t.changes), key: t.key, value: t.value}
}

// AsKTable returns the table as one with all operators of a table.
func AsKTable[K, V any](t *WindowedTable[K, V]) *KTable[Windowed[K], V] { return newTable(t.changes) }

// WindowedKStream is a stream of windowed keys: see WindowedTable.
type WindowedKStream[K, V any] struct {
	topology *Topology
	out      *outlet[Windowed[K], V]
	key      serde.Serde[Windowed[K]]
	value    serde.Serde[V]
}

// To writes the stream to a topic, which must exist when the application runs. If the
// topic has no serdes, the stream's are used.
func (s *WindowedKStream[K, V]) To(to serde.Topic[Windowed[K], V]) {
	sinkOf(s.topology, s.out, s.key, s.value, to)
}

// AsKStream returns the stream as one with all operators of a stream.
func AsKStream[K, V any](s *WindowedKStream[K, V]) *KStream[Windowed[K], V] {
	return &KStream[Windowed[K], V]{topology: s.topology, out: s.out, key: s.key, value: s.value}
}
