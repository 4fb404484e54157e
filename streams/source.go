package streams

import (
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// source is the processor that reads a topic.
type source interface {
	// process sends one record through the task. It does not use the record's
	// bytes after it returns.
	process(r *record.Record) error

	// peek returns the timestamp, in milliseconds, that process will give to a
	// record which is the next of its topic.
	peek(r *record.Record) int64

	// time returns the largest timestamp of the partition so far, in
	// milliseconds; -1 before the first. resume sets it.
	time() int64
	resume(ms int64)
}

// reader is a source of typed records. A task reads one partition of a topic, so
// the reader's state is that partition's.
type reader[K, V any] struct {
	step
	key     codec[K]
	value   codec[V]
	next    receiver[K, V]
	bytes   bytesReceiver // used instead of next if keys need not be decoded
	extract func(Incoming[K, V]) (time.Time, bool)

	// partitionTime is the largest timestamp of the partition's records so far,
	// as extract returned it; -1 before the first.
	partitionTime int64
}

func newReader[K, V any](w *wiring, n *node, key serde.Serde[K], value serde.Serde[V], out *outlet[K, V], extract func(Incoming[K, V]) (time.Time, bool)) source {
	r := &reader[K, V]{step: w.step(n), key: newCodec(key), value: newCodec(value), next: out.wire(w), extract: extract, partitionTime: -1}
	if b, ok := r.next.(bytesGatherer); ok && b.gathersBytes() && extract == nil {
		r.bytes = b
	}
	if w.guarded {
		return &guardedSource{r.step, r}
	}
	return r
}

func (s *reader[K, V]) process(r *record.Record) (err error) {
	s.enter()
	t := s.task
	t.ms = r.Timestamp.UnixMilli()
	if t.headers != nil || r.Headers != nil { // avoids the write barrier of an unneeded pointer store
		t.headers = r.Headers
	}
	var m message[K, V]
	if s.bytes == nil {
		if m, err = s.decode(r); err != nil {
			return s.handle(Deserialization, err)
		}
	}
	if s.extract != nil && !s.extractTime(r, &m) {
		s.skip(Deserialization, errNoTimestamp)
		return nil
	}
	if t.ms < 0 {
		return s.handle(Deserialization, fault.Newf(fault.InvalidTimestamp, "a timestamp before 1970"))
	}
	if t.ms > s.partitionTime {
		s.partitionTime, t.streamTime = t.ms, max(t.streamTime, t.ms)
	}
	if s.bytes != nil {
		return s.bytes.receiveBytes(r.Key, r.Value)
	}
	return s.next.receive(m)
}

func (s *reader[K, V]) time() int64 { return s.partitionTime }

func (s *reader[K, V]) resume(ms int64) { s.partitionTime = max(s.partitionTime, ms) }

func (s *reader[K, V]) decode(r *record.Record) (m message[K, V], err error) {
	if m.key, m.hasKey, err = s.key.decode(r.Key); err != nil {
		return m, fault.Newf(fault.Serialization, "the key").Because(err)
	}
	if m.value, m.hasValue, err = s.value.decode(r.Value); err != nil {
		return m, fault.Newf(fault.Serialization, "the value").Because(err)
	}
	return m, nil
}

// extractTime gives the task the timestamp that the program takes from a record, and
// reports whether there is one.
func (s *reader[K, V]) extractTime(r *record.Record, m *message[K, V]) bool {
	ms, ok := s.timestamp(r, m)
	if ok {
		s.task.ms = ms
	}
	return ok
}

// timestamp returns what the extractor says of a record.
func (s *reader[K, V]) timestamp(r *record.Record, m *message[K, V]) (ms int64, ok bool) {
	in := Incoming[K, V]{Key: m.key, HasKey: m.hasKey, Value: m.value, HasValue: m.hasValue, Record: r}
	if s.partitionTime >= 0 {
		in.PartitionTime = time.UnixMilli(s.partitionTime)
	}
	at, ok := s.extract(in)
	return at.UnixMilli(), ok
}

// peek implements source. A record that cannot be read goes first: process reports
// its error.
func (s *reader[K, V]) peek(r *record.Record) (ms int64) {
	if s.extract == nil {
		return r.Timestamp.UnixMilli()
	}
	defer func() {
		if recover() != nil { // process panics, too, where a handler may be told of it
			ms = -1
		}
	}()
	if m, err := s.decode(r); err == nil {
		if ms, ok := s.timestamp(r, &m); ok {
			return ms
		}
	}
	return -1
}
