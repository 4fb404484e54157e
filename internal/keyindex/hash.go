package keyindex

import (
	"encoding/binary"
	"math/bits"
)

// hasher hashes keys with a secret of the index's own, so that no one can construct keys
// whose hashes collide. It is a wyhash whose constants are the secret.
type hasher struct{ a, b, c uint64 }

func newHasher(seed uint64) hasher {
	var h hasher
	for _, s := range []*uint64{&h.a, &h.b, &h.c} { // splitmix64
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		*s = z ^ z>>31
	}
	return h
}

func (h hasher) sum(key []byte) uint64 {
	sum, n := h.a, uint64(len(key))
	for ; len(key) > 16; key = key[16:] {
		sum = mix(binary.LittleEndian.Uint64(key)^h.b, binary.LittleEndian.Uint64(key[8:])^sum)
	}
	var a, b uint64
	switch {
	case len(key) >= 8:
		a, b = binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[len(key)-8:])
	case len(key) >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(key)), uint64(binary.LittleEndian.Uint32(key[len(key)-4:]))
	case len(key) > 0:
		a = uint64(key[0])<<16 | uint64(key[len(key)/2])<<8 | uint64(key[len(key)-1])
	}
	return mix(h.b^n, mix(a^h.c, b^sum))
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
