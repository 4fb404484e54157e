package producer

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// Typed writes the keys and values of one topic, in their own types. Keys and
// values that a serde cannot encode are fault.Serialization. All methods are safe
// for concurrent use.
type Typed[K, V any] struct {
	producer *Producer
	topic    serde.Topic[K, V]
	buffers  sync.Pool // of *[]byte, holding one record's key and value
}

// keptBytes is the largest encoding buffer that is kept for reuse.
const keptBytes = 1 << 20

// To returns p's view of a typed topic. It opens nothing and needs no closing.
func To[K, V any](p *Producer, topic serde.Topic[K, V]) *Typed[K, V] {
	return &Typed[K, V]{
		producer: p, topic: topic,
		buffers: sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }},
	}
}

// Send sends one key and value with a producer of its own, which it opens and
// closes, and waits for the acknowledgement. Use it in programs that send now
// and then: a command, a script, a test. A program that keeps sending should
// keep a Producer: opening one costs more than sending does (on a Kafka
// cluster, a connection), and only records of one Producer gather in batches.
//
// ctx bounds opening and sending; see Producer.Send for what its end means.
func Send[K, V any](ctx context.Context, backend Backend, topic serde.Topic[K, V], key K, value V, opts ...Option) (record.Position, error) {
	p, err := New(backend, opts...)
	if err != nil {
		return record.Position{Topic: topic.Name, Partition: -1, Offset: -1}, err
	}
	at, err := To(p, topic).Send(ctx, key, value)
	if closed := p.CloseNow(); err == nil {
		err = closed
	}
	return at, err
}

// Send sends a key and a value and waits for the acknowledgement; see
// Producer.Send. A key or value for which a serde.NullableSerde reports null is
// sent as null.
func (t *Typed[K, V]) Send(ctx context.Context, key K, value V) (record.Position, error) {
	return t.send(ctx, &key, &value)
}

// SendValue sends a value with a null key.
func (t *Typed[K, V]) SendValue(ctx context.Context, value V) (record.Position, error) {
	return t.send(ctx, nil, &value)
}

// Delete sends a tombstone: the key with a null value, with which compaction
// removes the key from a compacted topic.
func (t *Typed[K, V]) Delete(ctx context.Context, key K) (record.Position, error) {
	return t.send(ctx, &key, nil)
}

// SendAsync sends a key and a value; see Producer.SendAsync.
func (t *Typed[K, V]) SendAsync(ctx context.Context, key K, value V, fn Callback) {
	buf := t.buffers.Get().(*[]byte)
	r, err := t.encode(buf, &key, &value)
	if err != nil {
		t.producer.refuse(&r, fn, err)
	} else {
		t.producer.SendAsync(ctx, r, fn)
	}
	t.keep(buf)
}

// Record returns the record that Send would send, in its own bytes. Use it with
// Producer's methods to set headers, a time or a partition.
func (t *Typed[K, V]) Record(key K, value V) (record.Record, error) {
	buf := make([]byte, 0, 64)
	return t.encode(&buf, &key, &value)
}

func (t *Typed[K, V]) send(ctx context.Context, key *K, value *V) (record.Position, error) {
	buf := t.buffers.Get().(*[]byte)
	defer t.keep(buf)
	r, err := t.encode(buf, key, value)
	if err != nil {
		return nowhere(&r), err
	}
	return t.producer.Send(ctx, r)
}

func (t *Typed[K, V]) keep(buf *[]byte) {
	if cap(*buf) <= keptBytes {
		t.buffers.Put(buf)
	}
}

// encode encodes into buf, which may grow. nil is null.
func (t *Typed[K, V]) encode(buf *[]byte, key *K, value *V) (record.Record, error) {
	r := record.Record{Topic: t.topic.Name, Partition: -1}
	b := (*buf)[:0]
	b, hasKey, err := appendTo(b, t.topic.Key, key)
	if err != nil {
		return r, fault.At(fault.Serialization, r.Topic, -1, -1).Detailf("the key").Because(err)
	}
	end := len(b)
	b, hasValue, err := appendTo(b, t.topic.Value, value)
	*buf = b
	if err != nil {
		return r, fault.At(fault.Serialization, r.Topic, -1, -1).Detailf("the value").Because(err)
	}
	if hasKey {
		r.Key = b[:end:end]
	}
	if hasValue {
		r.Value = b[end:len(b):len(b)]
	}
	return r, nil
}

// appendTo appends a serde's encoding of v, and reports whether v is anything
// but null. A serde that panics is an error.
func appendTo[T any](dst []byte, s serde.Serde[T], v *T) (out []byte, has bool, err error) {
	if v == nil {
		return dst, false, nil
	}
	defer func() {
		if p := recover(); p != nil {
			out, has, err = dst, false, fault.Newf(fault.Serialization, "the serde panicked: %v", p)
		}
	}()
	if n, ok := s.(serde.NullableSerde[T]); ok && n.IsNull(*v) {
		return dst, false, nil
	}
	out, err = s.Append(dst, *v)
	return out, true, err
}
