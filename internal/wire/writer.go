package wire

import (
	"encoding/binary"
	"math"

	"github.com/runnel-go/runnel/fault"
)

// Writer appends fields to B. The zero Writer is ready for use.
type Writer struct {
	B   []byte
	err error
}

// Err returns the first error: a string or byte slice that is too long for its
// length field. B is not a message then.
func (w *Writer) Err() error { return w.err }

// Bool appends one byte, 1 or 0.
func (w *Writer) Bool(v bool) {
	if v {
		w.Int8(1)
		return
	}
	w.Int8(0)
}

// Int8 appends a number of one byte.
func (w *Writer) Int8(v int8) { w.B = append(w.B, byte(v)) }

// Int16 appends a number of two bytes.
func (w *Writer) Int16(v int16) { w.B = binary.BigEndian.AppendUint16(w.B, uint16(v)) }

// Int32 appends a number of four bytes.
func (w *Writer) Int32(v int32) { w.B = binary.BigEndian.AppendUint32(w.B, uint32(v)) }

// Int64 appends a number of eight bytes.
func (w *Writer) Int64(v int64) { w.B = binary.BigEndian.AppendUint64(w.B, uint64(v)) }

// Uvarint appends v in seven bits a byte, the low ones first.
func (w *Writer) Uvarint(v uint32) { w.B = binary.AppendUvarint(w.B, uint64(v)) }

// UUID appends 16 bytes.
func (w *Writer) UUID(v [16]byte) { w.B = append(w.B, v[:]...) }

// String appends a classic string of at most 32767 bytes.
func (w *Writer) String(s string) {
	if len(s) > math.MaxInt16 {
		w.tooLong(len(s), math.MaxInt16)
		return
	}
	w.Int16(int16(len(s)))
	w.B = append(w.B, s...)
}

// NullableString appends a classic string; nil is null.
func (w *Writer) NullableString(s *string) {
	if s == nil {
		w.Int16(-1)
		return
	}
	w.String(*s)
}

// CompactString appends a flexible string of at most 32767 bytes, Kafka's limit
// for both spellings.
func (w *Writer) CompactString(s string) {
	if len(s) > math.MaxInt16 {
		w.tooLong(len(s), math.MaxInt16)
		return
	}
	w.Uvarint(uint32(len(s)) + 1)
	w.B = append(w.B, s...)
}

// CompactNullableString appends a flexible string; nil is null.
func (w *Writer) CompactNullableString(s *string) {
	if s == nil {
		w.Uvarint(0)
		return
	}
	w.CompactString(*s)
}

// Bytes appends classic bytes; nil is null.
func (w *Writer) Bytes(b []byte) {
	if b == nil {
		w.Int32(-1)
		return
	}
	w.ArrayLen(len(b))
	w.B = append(w.B, b...)
}

// CompactBytes appends flexible bytes; nil is null.
func (w *Writer) CompactBytes(b []byte) {
	if b == nil {
		w.Uvarint(0)
		return
	}
	w.CompactArrayLen(len(b))
	w.B = append(w.B, b...)
}

// ArrayLen appends the length of a classic array, whose elements follow; -1 is
// null.
func (w *Writer) ArrayLen(n int) {
	if n > math.MaxInt32 {
		w.tooLong(n, math.MaxInt32)
		return
	}
	w.Int32(int32(n))
}

// CompactArrayLen appends the length of a flexible array, whose elements
// follow; -1 is null.
func (w *Writer) CompactArrayLen(n int) {
	if n > math.MaxInt32-1 {
		w.tooLong(n, math.MaxInt32-1)
		return
	}
	w.Uvarint(uint32(n + 1))
}

// NoTags ends a flexible structure that has no tagged fields.
func (w *Writer) NoTags() { w.Uvarint(0) }

// Tags appends how many tagged fields follow. Each is a call of Tag, in
// ascending order of numbers.
func (w *Writer) Tags(n int) { w.Uvarint(uint32(n)) }

// Tag appends one tagged field with an encoded value.
func (w *Writer) Tag(number uint32, value []byte) {
	w.Uvarint(number)
	w.Uvarint(uint32(len(value)))
	w.B = append(w.B, value...)
}

func (w *Writer) tooLong(n, limit int) {
	if w.err == nil {
		w.err = fault.Newf(fault.InvalidRequest, "%d bytes or elements where at most %d fit", n, limit)
	}
}
