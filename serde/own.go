package serde

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
)

// JSON returns a Serde that writes T as package encoding/json does, but does
// not escape <, > and &.
func JSON[T any]() Serde[T] { return jsonSerde[T]{} }

type jsonSerde[T any] struct{}

func (jsonSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func (jsonSerde[T]) Decode(src []byte) (T, error) {
	var v T
	err := json.Unmarshal(src, &v)
	return v, err
}

// Binary returns a Serde of a type that marshals itself, such as time.Time:
//
//	serde.Binary[time.Time]()
func Binary[T any, P interface {
	*T
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}]() Serde[T] {
	return binarySerde[T, P]{}
}

type binarySerde[T any, P interface {
	*T
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}] struct{}

func (binarySerde[T, P]) Append(dst []byte, v T) ([]byte, error) {
	out, err := P(&v).AppendBinary(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (binarySerde[T, P]) Decode(src []byte) (T, error) {
	var v T
	err := P(&v).UnmarshalBinary(src)
	return v, err
}

// Func returns a Serde made of two functions, which must meet the requirements
// of a Serde's methods. A Serde for protocol buffers is
//
//	orders := serde.Func(
//		func(dst []byte, o *pb.Order) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(dst, o) },
//		func(src []byte) (*pb.Order, error) { o := new(pb.Order); return o, proto.Unmarshal(src, o) },
//	)
func Func[T any](appendTo func(dst []byte, v T) ([]byte, error), decode func(src []byte) (T, error)) Serde[T] {
	return funcSerde[T]{appendTo, decode}
}

type funcSerde[T any] struct {
	appendTo func(dst []byte, v T) ([]byte, error)
	decode   func(src []byte) (T, error)
}

func (f funcSerde[T]) Append(dst []byte, v T) ([]byte, error) { return f.appendTo(dst, v) }
func (f funcSerde[T]) Decode(src []byte) (T, error)           { return f.decode(src) }

// NullableSerde is a Serde that has null among its values: encoders call IsNull
// first, and receivers of null get the zero value.
type NullableSerde[T any] interface {
	Serde[T]
	IsNull(v T) bool
}

// Nullable returns a Serde of pointers, in which nil is null.
func Nullable[T any](s Serde[T]) NullableSerde[*T] { return nullable[T]{s} }

type nullable[T any] struct{ of Serde[T] }

var errNull = errors.New("null has no bytes")

func (n nullable[T]) IsNull(v *T) bool { return v == nil }

func (n nullable[T]) Append(dst []byte, v *T) ([]byte, error) {
	if v == nil {
		return dst, errNull
	}
	return n.of.Append(dst, *v)
}

func (n nullable[T]) Decode(src []byte) (*T, error) {
	v, err := n.of.Decode(src)
	if err != nil {
		return nil, err
	}
	return &v, nil
}
