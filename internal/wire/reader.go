package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/runnel-go/runnel/fault"
)

// Reader reads the fields of a message. Strings are copies; byte slices point
// into the message, without capacity beyond their length.
type Reader struct {
	b   []byte // what has not been read
	pos int    // where b begins in the message
	err error
}

// NewReader returns a Reader of the message b, which it does not change.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns the first error, a fault.CorruptMessage.
func (r *Reader) Err() error { return r.err }

// Len returns how many bytes have not been read.
func (r *Reader) Len() int { return len(r.b) }

// End returns the first error, or an error if bytes are left.
func (r *Reader) End() error {
	if len(r.b) > 0 {
		r.Fail("%d bytes left over", len(r.b))
	}
	return r.err
}

// Fail reports a value that a decoder found invalid, with the current position,
// unless there is an error already.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fault.Newf(fault.CorruptMessage, "message at byte %d: %s", r.pos, fmt.Sprintf(format, args...))
	}
	r.b = nil
}

// take returns the next n bytes, or nil after an error.
func (r *Reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.Fail("%d bytes wanted, %d left", n, len(r.b))
		return nil
	}
	b := r.b[:n:n]
	r.b, r.pos = r.b[n:], r.pos+n
	return b
}

// Bool reads one byte; as in Kafka, anything but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Int8 reads a number of one byte.
func (r *Reader) Int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

// Int16 reads a number of two bytes.
func (r *Reader) Int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 reads a number of four bytes.
func (r *Reader) Int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 reads a number of eight bytes.
func (r *Reader) Int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Uvarint reads a number of at most 32 bits in seven bits a byte.
func (r *Reader) Uvarint() uint32 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[:min(len(r.b), binary.MaxVarintLen32)])
	if n <= 0 || v > math.MaxUint32 {
		r.Fail("a varint that is cut short or too large")
		return 0
	}
	r.take(n)
	return uint32(v)
}

// UUID reads 16 bytes.
func (r *Reader) UUID() (id [16]byte) {
	copy(id[:], r.take(16))
	return id
}

// String reads a classic string that may not be null.
func (r *Reader) String() string { return r.notNull(r.NullableString()) }

// NullableString reads a classic string; nil is null.
func (r *Reader) NullableString() *string { return r.text(int(r.Int16())) }

// CompactString reads a flexible string that may not be null.
func (r *Reader) CompactString() string { return r.notNull(r.CompactNullableString()) }

// CompactNullableString reads a flexible string; nil is null.
func (r *Reader) CompactNullableString() *string { return r.text(int(r.Uvarint()) - 1) }

func (r *Reader) text(n int) *string {
	if r.err != nil || n == -1 {
		return nil
	}
	if n > math.MaxInt16 {
		r.Fail("a string of %d bytes", n)
	}
	s := string(r.take(n))
	return &s
}

func (r *Reader) notNull(s *string) string {
	if s == nil {
		r.Fail("null where a string must stand")
		return ""
	}
	return *s
}

// Bytes reads classic bytes; nil is null.
func (r *Reader) Bytes() []byte { return r.bytes(int(r.Int32())) }

// CompactBytes reads flexible bytes; nil is null.
func (r *Reader) CompactBytes() []byte { return r.bytes(int(r.Uvarint()) - 1) }

func (r *Reader) bytes(n int) []byte {
	if n == -1 {
		return nil
	}
	return r.take(n)
}

// ArrayLen reads the length of a classic array; -1 is null. Elements take at
// least elem bytes each. ArrayLen checks the length against that and the
// remaining bytes, so it is safe to allocate by.
func (r *Reader) ArrayLen(elem int) int { return r.array(int(r.Int32()), elem) }

// CompactArrayLen is ArrayLen for a flexible array.
func (r *Reader) CompactArrayLen(elem int) int { return r.array(int(r.Uvarint())-1, elem) }

func (r *Reader) array(n, elem int) int {
	if r.err != nil {
		return 0
	}
	if n < -1 || n > len(r.b)/max(elem, 1) {
		r.Fail("an array of %d elements in %d bytes", n, len(r.b))
		return 0
	}
	return n
}

// Tags reads the tagged fields that end a flexible structure and calls field,
// which may be nil, with each field's number and a Reader of its value. An
// error of that Reader becomes r's. Tags skips what field leaves unread, so
// unknown tags are ignored.
func (r *Reader) Tags(field func(number uint32, value *Reader)) {
	last := int64(-1)
	for n := r.array(int(r.Uvarint()), 2); n > 0; n-- {
		number, size := r.Uvarint(), r.Uvarint()
		value := Reader{pos: r.pos}
		value.b = r.take(int(size))
		if int64(number) <= last {
			r.Fail("tag %d after tag %d", number, last)
		}
		if r.err != nil {
			return
		}
		last = int64(number)
		if field == nil {
			continue
		}
		if field(number, &value); value.err != nil {
			r.err, r.b = value.err, nil
			return
		}
	}
}
