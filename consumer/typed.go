package consumer

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// Record is a record with its key and value decoded. Key and Value have their
// type's zero where HasKey and HasValue say that they were null; HasValue is
// false for a tombstone.
type Record[K, V any] struct {
	Key              K
	Value            V
	HasKey, HasValue bool

	Topic       string
	Partition   int32
	LeaderEpoch int32
	Offset      int64
	Timestamp   time.Time
	Headers     []record.Header // their bytes are the fetched buffer's: read-only
}

// Position returns where the record stands.
func (r Record[K, V]) Position() record.Position {
	return record.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

// Header returns the value of the last header with that key, and whether there is
// one.
func (r Record[K, V]) Header(key string) ([]byte, bool) {
	return record.Record{Headers: r.Headers}.Header(key)
}

// Decode decodes the key and value of a record of topic t. It is for a consumer
// of several topics, which checks r.Topic. A record that its serde cannot
// decode is a *DecodeError; one of another topic is fault.InvalidRequest.
func Decode[K, V any](t serde.Topic[K, V], r record.Record) (Record[K, V], error) {
	return decode(&t, &r)
}

// DecodeError says that a serde could not decode a record. It answers
// errors.Is(err, fault.Serialization).
type DecodeError struct {
	Raw record.Record // the record as it was fetched; its bytes belong to the receiver of the error
	Err error         // names topic, partition, offset, and whether it was the key or the value
}

// Error returns Err's message.
func (e *DecodeError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *DecodeError) Unwrap() error { return e.Err }

// Typed is a view of a Consumer that decodes the records of one topic. It has no
// state but the slice that its Poll returns.
type Typed[K, V any] struct {
	consumer *Consumer
	topic    serde.Topic[K, V]
	buf      []Record[K, V]
}

// Of returns a view of c, whose only topic is t's. The caller still owns and
// closes c.
func Of[K, V any](c *Consumer, t serde.Topic[K, V]) *Typed[K, V] {
	return &Typed[K, V]{consumer: c, topic: t}
}

// Records reads a topic with a consumer of its own, which it opens when a loop
// over it begins and closes when the loop ends:
//
//	for r, err := range consumer.Records(ctx, broker, greetings, consumer.Group("printer")) {
//
// The loop is that of Typed.Records: asking for the next record marks the
// current one done, after a break the current one is delivered again, and the
// loop ends when ctx ends. Closing commits what is done. An error of opening is
// yielded, and so is an error of closing when the loop ended by itself. After a
// break no loop is left to yield it to; what was not committed is delivered
// again.
//
// Records needs Group or Assign. A program that commits by hand, seeks, or
// reads several topics opens a Consumer with New.
func Records[K, V any](ctx context.Context, backend Backend, topic serde.Topic[K, V], opts ...Option) iter.Seq2[Record[K, V], error] {
	return func(yield func(Record[K, V], error) bool) {
		c, err := New(backend, slices.Concat(opts, []Option{subscription(topic.Name)})...)
		if err != nil {
			yield(Record[K, V]{}, err)
			return
		}
		left := false
		defer func() {
			if err := c.Close(); err != nil && !left {
				yield(Record[K, V]{}, err)
			}
		}()
		left = true // also when the loop's body panics
		for r, err := range Of(c, topic).Records(ctx) {
			if !yield(r, err) {
				return
			}
		}
		left = false
	}
}

// subscription subscribes to a topic unless Assign was given. It is the last
// option.
func subscription(name string) Option {
	return option(func(o *options) {
		if len(o.partitions) == 0 {
			o.Topics = append(o.Topics, name)
		}
	})
}

// Records is Consumer.Records with decoded records.
//
// A record that its serde cannot decode is yielded as a *DecodeError, which
// holds its bytes, together with a Record that has its position and its
// headers. Asking for the next record skips it; after a break it is delivered
// again. A record of another topic is fault.InvalidRequest and ends the loop.
func (t *Typed[K, V]) Records(ctx context.Context) iter.Seq2[Record[K, V], error] {
	return func(yield func(Record[K, V], error) bool) {
		for r, err := range t.consumer.Records(ctx) {
			if err != nil {
				if !yield(Record[K, V]{}, err) {
					return
				}
				continue
			}
			typed, err := decode(&t.topic, &r)
			if !yield(typed, err) || Fatal(err) {
				return
			}
		}
	}
}

// Poll is Consumer.Poll with decoded records. If a record cannot be decoded,
// Poll first returns the ones before it. The next call returns a *DecodeError,
// which holds the record's bytes, and the call after that continues after the
// record.
func (t *Typed[K, V]) Poll(ctx context.Context) ([]Record[K, V], error) {
	use, err := t.consumer.enter(useNone)
	if err != nil {
		return nil, err
	}
	defer t.consumer.leave(use)
	records, err := t.consumer.poll(ctx, 0)
	if err != nil {
		return nil, err
	}
	clear(t.buf)
	t.buf = t.buf[:0]
	for i := range records {
		typed, err := decode(&t.topic, &records[i])
		if err == nil {
			t.buf = append(t.buf, typed)
			continue
		}
		t.consumer.batch.handBack(len(records) - max(i, 1))
		if i == 0 {
			return nil, err
		}
		break
	}
	return t.buf, nil
}

func decode[K, V any](t *serde.Topic[K, V], r *record.Record) (Record[K, V], error) {
	typed := Record[K, V]{
		HasKey: r.Key != nil, HasValue: r.Value != nil,
		Topic: r.Topic, Partition: r.Partition, LeaderEpoch: r.LeaderEpoch, Offset: r.Offset,
		Timestamp: r.Timestamp, Headers: r.Headers,
	}
	if r.Topic != t.Name {
		return typed, fault.At(fault.InvalidRequest, r.Topic, r.Partition, r.Offset).
			Detailf("a record of another topic than %s", t.Name)
	}
	var err error
	if typed.HasKey {
		if typed.Key, err = value(t.Key, r.Key); err != nil {
			return typed, undecodable(r, "key", err)
		}
	}
	if typed.HasValue {
		if typed.Value, err = value(t.Value, r.Value); err != nil {
			return typed, undecodable(r, "value", err)
		}
	}
	return typed, nil
}

// value decodes src. A serde that panics or is missing is an error.
func value[T any](s serde.Serde[T], src []byte) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Newf(fault.Serialization, "the serde panicked: %v", p)
		}
	}()
	return s.Decode(src)
}

func undecodable(r *record.Record, part string, cause error) error {
	return &DecodeError{
		Raw: r.Clone(),
		Err: fault.At(fault.Serialization, r.Topic, r.Partition, r.Offset).Detailf("%s", part).Because(cause).
			Try("ask for the next record to skip this one"),
	}
}
