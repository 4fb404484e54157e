package streams

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// source is the processor that reads a topic.
type source interface {
	// process sends one record through the task. It does not use the record's
	// bytes after it returns.
	process(r *record.Record) error
}

// reader is a source of typed records.
type reader[K, V any] struct {
	step
	key   codec[K]
	value codec[V]
	next  receiver[K, V]
	bytes bytesReceiver // used instead of next if keys need not be decoded
}

func newReader[K, V any](w *wiring, n *node, key serde.Serde[K], value serde.Serde[V], out *outlet[K, V]) source {
	r := &reader[K, V]{step: w.step(n), key: newCodec(key), value: newCodec(value), next: out.wire(w)}
	if b, ok := r.next.(bytesGatherer); ok && b.gathersBytes() {
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
	if t.ms < 0 {
		return s.handle(Deserialization, fault.Newf(fault.InvalidTimestamp, "a timestamp before 1970"))
	}
	if s.bytes != nil {
		return s.bytes.receiveBytes(r.Key, r.Value)
	}
	var m message[K, V]
	if m.key, m.hasKey, err = s.key.decode(r.Key); err != nil {
		return s.handle(Deserialization, fault.Newf(fault.Serialization, "the key").Because(err))
	}
	if m.value, m.hasValue, err = s.value.decode(r.Value); err != nil {
		return s.handle(Deserialization, fault.Newf(fault.Serialization, "the value").Because(err))
	}
	return s.next.receive(m)
}
