package state

import (
	"bytes"
	"encoding/binary"

	"github.com/runnel-go/runnel/fault"
)

// What a key is made of, so that the order of the bytes is that of the parts.

// appendTime appends a time, negative ones before others.
func appendTime(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(ms)^1<<63)
}

func timeAt(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func tailAt(b []byte) int64 { return int64(binary.BigEndian.Uint32(b)) }

// appendPlainTime appends a time as Kafka does.
func appendPlainTime(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(ms))
}

func plainTimeAt(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// escape follows a 0 byte within a key. The key ends with two 0 bytes, which are
// less than what may come in their place.
const escape = 0xff

// appendEscaped appends a key and its end, so that no key with its end is the
// beginning of another one's, and the order is that of the keys.
func appendEscaped(dst, key []byte) []byte {
	for {
		zero := bytes.IndexByte(key, 0)
		if zero < 0 {
			return append(append(dst, key...), 0, 0)
		}
		dst = append(append(dst, key[:zero+1]...), escape)
		key = key[zero+1:]
	}
}

// appendUnescaped appends the key that b is, with its end.
func appendUnescaped(dst, b []byte) ([]byte, error) {
	for rest := b; ; {
		zero := bytes.IndexByte(rest, 0)
		if zero < 0 || zero+1 == len(rest) {
			return dst, fault.Newf(fault.Serialization, "%x is not an escaped key: it has no end", b)
		}
		switch next := rest[zero+1]; {
		case next == 0 && zero+2 == len(rest):
			return append(dst, rest[:zero]...), nil
		case next != escape:
			return dst, fault.Newf(fault.Serialization, "%x is not an escaped key", b)
		}
		dst = append(dst, rest[:zero+1]...)
		rest = rest[zero+2:]
	}
}
