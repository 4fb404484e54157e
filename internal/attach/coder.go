package attach

import (
	"bytes"
	"math"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// coder visits the fields of a message in order, and either writes or reads
// them. So one function defines both directions of a message.
type coder struct {
	w *wire.Writer // nil while reading
	r wire.Reader

	wrong error // a value that is well-formed but that no backend should get
}

func writing() *coder             { return &coder{w: &wire.Writer{}} }
func reading(body []byte) *coder  { return &coder{r: wire.NewReader(body)} }
func (c *coder) isReading() bool  { return c.w == nil }
func (c *coder) fail(what string) { c.r.Fail("%s", what) }

// fields visits the fields of a message.
type fields func(c *coder)

func none(*coder) {}

// decode reads a whole message.
func decode(body []byte, into fields) error {
	c := reading(body)
	into(c)
	return c.r.End()
}

func (c *coder) bool(v *bool) {
	if c.isReading() {
		*v = c.r.Bool()
		return
	}
	c.w.Bool(*v)
}

func int8s[T ~int8 | ~uint8](c *coder, v *T) {
	if c.isReading() {
		*v = T(c.r.Int8())
		return
	}
	c.w.Int8(int8(*v))
}

func int16s[T ~int16](c *coder, v *T) {
	if c.isReading() {
		*v = T(c.r.Int16())
		return
	}
	c.w.Int16(int16(*v))
}

func int32s[T ~int32 | ~uint32](c *coder, v *T) {
	if c.isReading() {
		*v = T(c.r.Int32())
		return
	}
	c.w.Int32(int32(*v))
}

func int64s[T ~int | ~int64](c *coder, v *T) {
	if c.isReading() {
		n := c.r.Int64()
		if *v = T(n); int64(*v) != n {
			c.fail("a number that this machine has no room for")
		}
		return
	}
	c.w.Int64(int64(*v))
}

func (c *coder) float(v *float64) {
	bits := int64(math.Float64bits(*v))
	int64s(c, &bits)
	*v = math.Float64frombits(uint64(bits))
}

// text is a string of any length.
func text[T ~string](c *coder, v *T) {
	if c.isReading() {
		*v = T(c.r.Bytes())
		return
	}
	c.w.Bytes([]byte(*v))
}

// bytes are of any length. None are read as nil.
func (c *coder) bytes(v *[]byte) {
	if !c.isReading() {
		c.w.Bytes(*v)
		return
	}
	*v = nil
	if b := c.r.Bytes(); len(b) > 0 {
		*v = bytes.Clone(b)
	}
}

// nullable are bytes of any length, or nil.
func (c *coder) nullable(v *[]byte) {
	has := *v != nil
	if c.bool(&has); !has {
		*v = nil
		return
	}
	if c.bytes(v); *v == nil {
		*v = []byte{}
	}
}

// list is a slice whose elements take at least that many bytes each. An empty
// one is read as nil.
func list[T any](c *coder, least int, v *[]T, each func(c *coder, v *T)) {
	if !c.isReading() {
		c.w.ArrayLen(len(*v))
		for i := range *v {
			each(c, &(*v)[i])
		}
		return
	}
	*v = nil
	if n := c.r.ArrayLen(least); n > 0 {
		*v = make([]T, n)
	}
	for i := range *v {
		each(c, &(*v)[i])
	}
}

func (c *coder) texts(v *[]string)  { list(c, 4, v, text) }
func (c *coder) numbers(v *[]int32) { list(c, 4, v, int32s) }
func (c *coder) milliseconds(t *time.Time) {
	ms, known := t.UnixMilli(), !t.IsZero()
	c.bool(&known)
	int64s(c, &ms)
	if !c.isReading() {
		return
	}
	if *t = (time.Time{}); known {
		*t = time.UnixMilli(ms)
	}
}

func (c *coder) partition(tp *record.TopicPartition) {
	text(c, &tp.Topic)
	int32s(c, &tp.Partition)
	if tp.Partition < 0 && c.isReading() && c.wrong == nil {
		c.wrong = fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1).Detailf("partition %d", tp.Partition)
	}
}

func (c *coder) partitions(v *[]record.TopicPartition) { list(c, 8, v, (*coder).partition) }

// table is a map by partition, which is never nil after it is read.
func table[V any](c *coder, least int, m *map[record.TopicPartition]V, each func(c *coder, v *V)) {
	type row struct {
		tp record.TopicPartition
		v  V
	}
	var rows []row
	for tp, v := range *m {
		rows = append(rows, row{tp, v})
	}
	list(c, 8+least, &rows, func(c *coder, r *row) {
		c.partition(&r.tp)
		each(c, &r.v)
	})
	if c.isReading() {
		*m = make(map[record.TopicPartition]V, len(rows))
		for _, r := range rows {
			(*m)[r.tp] = r.v
		}
	}
}

// The kinds of offsets that a spec names.
const (
	specEarliest int8 = iota
	specLatest
	specTime
	specOffset
	specAgo
	specNone
)

func (c *coder) spec(s *topic.OffsetSpec) {
	which, number, nanos := specEarliest, int64(0), int32(0)
	at, byTime := s.Time()
	offset, byOffset := s.Offset()
	ago, byAgo := s.Duration()
	switch {
	case byAgo:
		which, number = specAgo, int64(ago)
	case s.IsNone():
		which = specNone
	case s.IsLatest():
		which = specLatest
	case byTime:
		which, number, nanos = specTime, at.Unix(), int32(at.Nanosecond())
	case byOffset:
		which, number = specOffset, offset
	}
	int8s(c, &which)
	int64s(c, &number)
	int32s(c, &nanos)
	if !c.isReading() {
		return
	}
	switch which {
	case specEarliest:
		*s = topic.Earliest()
	case specLatest:
		*s = topic.Latest()
	case specTime:
		*s = topic.AtTime(time.Unix(number, int64(nanos)))
	case specOffset:
		*s = topic.AtOffset(number)
	case specAgo:
		*s = topic.Ago(time.Duration(number))
	case specNone:
		*s = topic.None()
	default:
		c.fail("an offset named in an unknown way")
	}
}
