package streams

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// outbox receives what tasks write: in an application the batches of its
// producer, in a Simulation the records of its topics.
type outbox interface {
	// output opens a topic that n writes, for records whose key chooses the
	// partition.
	output(n *node, topic string) (output, error)

	// deadLetters opens a topic for records that could not be processed.
	// Records that it refuses do not go to a handler.
	deadLetters(topic string) (output, error)

	// changelog opens one partition of a store's changelog.
	changelog(topic string, partition int32) (state.Changelog, error)
}

// output is one topic of an outbox. The caller may reuse the slices when write
// returns.
type output interface {
	write(ms int64, key, value []byte, headers []record.Header) error
}

// sink is the processor that writes to a topic.
type sink[K, V any] struct {
	step
	key     codec[K]
	value   codec[V]
	out     output
	keyed   bool // records with a null key are dropped
	scratch []byte
}

func newSink[K, V any](w *wiring, n *node, key serde.Serde[K], value serde.Serde[V]) receiver[K, V] {
	return sinkTo(w.step(n), n, key, value, w.output(n))
}

func sinkTo[K, V any](at step, n *node, key serde.Serde[K], value serde.Serde[V], out output) *sink[K, V] {
	return &sink[K, V]{
		step: at, key: newCodec(key), value: newCodec(value), out: out, keyed: n.internal != nil, scratch: make([]byte, 0, 128),
	}
}

func (s *sink[K, V]) receive(m message[K, V]) (err error) {
	s.enter()
	buf := s.scratch[:0]
	hasKey, hasValue := s.key.present(m.key, m.hasKey), s.value.present(m.value, m.hasValue)
	if hasKey {
		if buf, err = s.key.Append(buf, m.key); err != nil {
			return s.handle(Production, fault.Newf(fault.Serialization, "the key").Because(err))
		}
	} else if s.keyed {
		return nil
	}
	end := len(buf)
	if hasValue {
		if buf, err = s.value.Append(buf, m.value); err != nil {
			return s.handle(Production, fault.Newf(fault.Serialization, "the value").Because(err))
		}
	}
	if cap(buf) != cap(s.scratch) { // avoids the write barrier of an unneeded pointer store
		s.scratch = buf
	}
	var key, value []byte
	if hasKey {
		key = buf[:end:end]
	}
	if hasValue {
		value = buf[end:]
	}
	if err := s.out.write(s.task.ms, key, value, s.task.headers); err != nil {
		return s.failed(err)
	}
	return nil
}

// chooser is the processor of a sink whose records choose their topics.
type chooser[K, V any] struct {
	step
	choose func(r Record[K, V]) string
	open   func(topic string) (*sink[K, V], error)
	sinks  map[string]*sink[K, V] // the topics that were chosen so far
}

func (c *chooser[K, V]) receive(m message[K, V]) error {
	c.enter()
	topic := c.choose(recordOf(c.task, &m))
	to, ok := c.sinks[topic]
	if !ok {
		var err error
		if to, err = c.open(topic); err != nil {
			return c.handle(Production, err)
		}
		c.sinks[topic] = to
	}
	return to.receive(m)
}
