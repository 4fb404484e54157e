package record

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"
)

// Snappy in the framing of snappy-java, which Kafka's clients write: a header,
// then blocks, each preceded by its length.
const (
	xerialMagic  = "\x82SNAPPY\x00"
	xerialHeader = xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01" // version, oldest version that reads it
	xerialBlock  = 32 << 10                                         // bytes in a block before compression
)

// snappyMost returns the most that n bytes of snappy expand to: its densest
// element copies 64 bytes and takes 3.
func snappyMost(n int) int { return 64 * (n/3 + 1) }

func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlock)]
		src = src[len(block):]
		at := len(dst)
		dst = slices.Grow(dst, 4+s2.MaxEncodedLen(len(block)))
		encoded := s2.EncodeSnappy(dst[at+4:cap(dst)], block)
		binary.BigEndian.PutUint32(dst[at:at+4], uint32(len(encoded)))
		dst = dst[:at+4+len(encoded)]
	}
	return dst
}

// unsnappy appends to dst, which is empty. It reads both the framing and a bare
// block, which other clients write.
func (k *Codec) unsnappy(dst, src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(xerialMagic)) {
		return k.unsnappyBlock(dst, src)
	}
	for rest := src; len(rest) > 0; {
		if bytes.HasPrefix(rest, []byte(xerialMagic)) { // at the start, and again where streams were concatenated
			if len(rest) < len(xerialHeader) {
				return nil, io.ErrUnexpectedEOF
			}
			rest = rest[len(xerialHeader):]
			continue
		}
		if len(rest) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(n) > uint64(len(rest)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = k.unsnappyBlock(dst, rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return dst, nil
}

// unsnappyBlock appends one block. A block states its decompressed length. If
// that is more than snappy can produce from the block's bytes, unsnappyBlock
// returns an error before it allocates anything.
func (k *Codec) unsnappyBlock(dst, block []byte) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	switch {
	case err != nil:
		return nil, err
	case n > snappyMost(len(block)):
		return nil, s2.ErrCorrupt
	case n > k.maxDecompressed-len(dst):
		return nil, errTooLarge
	}
	dst = slices.Grow(dst, n)
	if _, err := s2.Decode(dst[len(dst):len(dst)+n], block); err != nil {
		return nil, err
	}
	return dst[:len(dst)+n], nil
}
