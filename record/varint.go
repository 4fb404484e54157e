package record

import "math/bits"

// Varints are Kafka's, which are those of protocol buffers: seven bits a byte,
// the low ones first. Signed numbers are zigzag-encoded, so -1, the length of
// null, takes one byte.

// zigzag maps small numbers of either sign to small unsigned ones.
func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

// unzigzag is zigzag's inverse.
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// uvarintLen returns how many bytes u takes. Predicted branches are cheaper
// here than counting bits, because the next write would have to wait for the
// count.
func uvarintLen(u uint64) int {
	switch {
	case u < 1<<7:
		return 1
	case u < 1<<14:
		return 2
	case u < 1<<21:
		return 3
	}
	return (bits.Len64(u) + 6) / 7
}

// varintLen returns how many bytes v takes.
func varintLen(v int64) int { return uvarintLen(zigzag(v)) }

// putUvarint writes u at dst[pos] and returns the position after it.
func putUvarint(dst []byte, pos int, u uint64) int {
	for u >= 0x80 {
		dst[pos] = byte(u) | 0x80
		u >>= 7
		pos++
	}
	dst[pos] = byte(u)
	return pos + 1
}

// putVarint writes v at dst[pos] and returns the position after it.
func putVarint(dst []byte, pos int, v int64) int { return putUvarint(dst, pos, zigzag(v)) }

// appendVarint adds u, which takes at most three bytes, to the word x, whose
// low n bits are used.
func appendVarint(x uint64, n uint, u uint64) (uint64, uint) {
	switch {
	case u < 1<<7:
		return x | u<<(n&63), n + 8
	case u < 1<<14:
		return x | (u&0x7f|0x80|u<<1&0x7f00)<<(n&63), n + 16
	}
	return x | (u&0x7f|u<<1&0x7f00|0x8080|u<<2&0x7f0000)<<(n&63), n + 24
}

// uvarint reads a number at b[pos] and returns the position after it, or -1 if
// the bytes end too early or the number has more than limit bits. Like Kafka,
// it accepts encodings that are longer than necessary.
func uvarint(b []byte, pos int, limit uint) (uint64, int) {
	var u uint64
	for shift := uint(0); pos < len(b) && shift < limit; shift += 7 {
		c := uint64(b[pos])
		pos++
		if c < 0x80 {
			if shift+7 > limit && c>>(limit-shift) != 0 {
				return 0, -1
			}
			return u | c<<shift, pos
		}
		u |= (c & 0x7f) << shift
	}
	return 0, -1
}

// shortVarint reads a number of at most three bytes from the low end of x. It
// returns the number and how many bits its encoding took, or 0 bits if it is
// longer. It branches on the length, because the CPU can predict a branch, and
// then knows where the next number begins without waiting for this one.
func shortVarint(x uint64) (uint64, uint) {
	switch {
	case x&0x80 == 0:
		return x & 0x7f, 8
	case x&0x8000 == 0:
		return x&0x7f | x>>1&0x3f80, 16
	case x&0x800000 == 0:
		return x&0x7f | x>>1&0x3f80 | x>>2&0x1fc000, 24
	}
	return 0, 0
}

// varlong reads a signed number of 64 bits; see uvarint.
func varlong(b []byte, pos int) (int64, int) {
	u, next := uvarint(b, pos, 64)
	return unzigzag(u), next
}

// varint reads a signed number of 32 bits; see uvarint.
func varint(b []byte, pos int) (int, int) {
	u, next := uvarint(b, pos, 32)
	return int(unzigzag(u)), next
}
