package serde

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// Serdes of Kafka's basic types, in the bytes of Kafka's serializers.
var (
	String  Serde[string]  = text{}             // UTF-8, unchecked
	Bytes   Serde[[]byte]  = raw{}              // unchanged
	Bool    Serde[bool]    = boolean{}          // one byte, 0 or 1
	Int16   Serde[int16]   = bigEndian[int16]{} // 2 bytes
	Int32   Serde[int32]   = bigEndian[int32]{} // 4 bytes
	Int64   Serde[int64]   = bigEndian[int64]{} // 8 bytes
	Float32 Serde[float32] = float32s{}         // 4 bytes, IEEE 754
	Float64 Serde[float64] = float64s{}         // 8 bytes, IEEE 754
)

// Serdes of Go's other integers. Int has 8 bytes on every machine.
var (
	Int    Serde[int]    = wide{}
	Uint16 Serde[uint16] = bigEndian[uint16]{} // 2 bytes
	Uint32 Serde[uint32] = bigEndian[uint32]{} // 4 bytes
	Uint64 Serde[uint64] = bigEndian[uint64]{} // 8 bytes
)

// Default returns the serde of a basic type, and whether T is one. Types with a
// basic type as their underlying type (type Name string) have none.
func Default[T any]() (Serde[T], bool) {
	for _, s := range [...]any{String, Bytes, Bool, Int, Int16, Int32, Int64, Uint16, Uint32, Uint64, Float32, Float64} {
		if s, ok := s.(Serde[T]); ok {
			return s, true
		}
	}
	return nil, false
}

type text struct{}

func (text) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (text) Decode(src []byte) (string, error)           { return string(src), nil }

type raw struct{}

func (raw) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (raw) Decode(src []byte) ([]byte, error)    { return append([]byte{}, src...), nil }

type boolean struct{}

func (boolean) Append(dst []byte, v bool) ([]byte, error) {
	if v {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

func (boolean) Decode(src []byte) (bool, error) {
	if len(src) != 1 || src[0] > 1 {
		return false, fmt.Errorf("a bool is one byte, 0 or 1, here is % x", src)
	}
	return src[0] == 1, nil
}

// bigEndian writes an integer with its full width, the highest byte first.
type bigEndian[T int16 | int32 | int64 | uint16 | uint32 | uint64] struct{}

func (bigEndian[T]) Append(dst []byte, v T) ([]byte, error) {
	switch unsafe.Sizeof(v) {
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(v)), nil
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
	}
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (bigEndian[T]) Decode(src []byte) (T, error) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if err := checkSize(src, size); err != nil {
		return 0, err
	}
	switch size {
	case 2:
		return T(binary.BigEndian.Uint16(src)), nil
	case 4:
		return T(binary.BigEndian.Uint32(src)), nil
	}
	return T(binary.BigEndian.Uint64(src)), nil
}

type wide struct{}

func (wide) Append(dst []byte, v int) ([]byte, error) { return Int64.Append(dst, int64(v)) }

func (wide) Decode(src []byte) (int, error) {
	v, err := Int64.Decode(src)
	if err == nil && int64(int(v)) != v {
		return 0, fmt.Errorf("%d does not fit into an int of this machine", v)
	}
	return int(v), err
}

type float32s struct{}

func (float32s) Append(dst []byte, v float32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(v)), nil
}

func (float32s) Decode(src []byte) (float32, error) {
	if err := checkSize(src, 4); err != nil {
		return 0, err
	}
	return math.Float32frombits(binary.BigEndian.Uint32(src)), nil
}

type float64s struct{}

func (float64s) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

func (float64s) Decode(src []byte) (float64, error) {
	if err := checkSize(src, 8); err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(src)), nil
}

func checkSize(src []byte, size int) error {
	if len(src) != size {
		return fmt.Errorf("the number has %d bytes, here are %d", size, len(src))
	}
	return nil
}
