package streams

import (
	"encoding/binary"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
)

// changeSerde writes a change of a row to a repartition topic:
//
//	1 byte      which values follow: 1 the new one, 2 the old one, 3 both
//	uvarint     if both follow: the length of the new one
//	the values  first the new one
type changeSerde[V any] struct{ value serde.Serde[V] }

// The first byte.
const (
	hasNewValue = 1 << iota
	hasOldValue
)

func (s changeSerde[V]) Append(dst []byte, c change[V]) (_ []byte, err error) {
	start := len(dst)
	dst = append(dst, 0)
	if c.hasNew {
		dst[start] = hasNewValue
		if dst, err = s.value.Append(dst, c.new); err != nil {
			return dst, err
		}
	}
	if !c.hasOld {
		return dst, nil
	}
	dst[start] |= hasOldValue
	if c.hasNew { // its length goes in front of it
		value := len(dst) - start - 1
		size := binary.PutUvarint(make([]byte, binary.MaxVarintLen64), uint64(value))
		dst = append(dst, make([]byte, size)...)
		copy(dst[start+1+size:], dst[start+1:len(dst)-size])
		binary.PutUvarint(dst[start+1:], uint64(value))
	}
	return s.value.Append(dst, c.old)
}

func (s changeSerde[V]) Decode(src []byte) (c change[V], err error) {
	if len(src) == 0 || src[0] > hasNewValue|hasOldValue {
		return c, fault.Newf(fault.Serialization, "not a change of a row")
	}
	c.hasNew, c.hasOld = src[0]&hasNewValue != 0, src[0]&hasOldValue != 0
	values := [2][]byte{src[1:], src[1:]}
	if c.hasNew && c.hasOld {
		length, n := binary.Uvarint(src[1:])
		if n <= 0 || length > uint64(len(src)-1-n) {
			return c, fault.Newf(fault.Serialization, "a change of a row whose new value is cut off")
		}
		rest := src[1+n:]
		values = [2][]byte{rest[:length:length], rest[length:]}
	}
	if c.hasNew {
		if c.new, err = s.value.Decode(values[0]); err != nil {
			return c, err
		}
	}
	if c.hasOld {
		c.old, err = s.value.Decode(values[1])
	}
	return c, err
}
