package record

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// zstdBlock is the most that one block of a zstd frame expands to.
const zstdBlock = 128 << 10

// errZstdFrame is the error for bytes that are not a sequence of zstd frames.
var errZstdFrame = errors.New("no zstd frame, or one that is cut short")

// zstdSure is how much room a frame of unstated size gets for each of its bytes
// before anything is decoded. The room grows if the output needs more.
const zstdSure = 32

// unzstd appends to dst, which is empty, frame by frame. Few writers state a
// frame's decompressed size; the headers of its blocks give an upper bound.
func (k *Codec) unzstd(dst, src []byte) ([]byte, error) {
	decoder, err := k.zstdDecoder()
	if err != nil {
		return nil, err
	}
	for len(src) > 0 {
		f, err := zstdFrameOf(src)
		if err != nil {
			return nil, err
		}
		if dst, err = k.unzstdFrame(decoder, dst, src[:f.size], f); err != nil {
			return nil, err
		}
		src = src[f.size:]
	}
	return dst, nil
}

// unzstdFrame appends the output of one frame. If the room was too small, the
// decoder fills it and returns one error or another. unzstdFrame then gives it
// more, up to the upper bound.
func (k *Codec) unzstdFrame(decoder *zstd.Decoder, dst, src []byte, f zstdFrame) ([]byte, error) {
	before := len(dst)
	left := uint64(k.maxDecompressed - before)
	most := min(f.most, left+1)
	room := min(most, max(zstdSure*uint64(len(src)), 4<<10))
	if f.stated {
		if f.content > f.most {
			return nil, errZstdFrame // refused before any allocation
		}
		if f.content > left {
			return nil, errTooLarge
		}
		room = f.content
	}
	for {
		dst = slices.Grow(dst[:before], int(room))
		room = uint64(cap(dst) - before)
		out, err := decoder.DecodeAll(src, dst)
		full := uint64(len(out)-before)+zstdBlock >= room // less than a block of room is left
		switch {
		case len(out) > k.maxDecompressed:
			return nil, errTooLarge
		case err == nil:
			return out, nil
		case f.stated || !full:
			return nil, err
		case room < most:
			dst, room = out[:before], min(most, 4*room)
		case most > left:
			return nil, errTooLarge
		default:
			return nil, err
		}
	}
}

// zstdFrame is what a frame's headers state.
type zstdFrame struct {
	size    int    // its bytes
	content uint64 // the stated decompressed size, if any
	stated  bool
	most    uint64 // the most that its blocks can expand to
}

// zstdFrameOf reads the headers of the frame at the start of src, and of its
// blocks.
func zstdFrameOf(src []byte) (f zstdFrame, err error) {
	var header zstd.Header
	if header.Decode(src) != nil {
		return f, errZstdFrame
	}
	if header.Skippable {
		f.size = header.HeaderSize + int(header.SkippableSize)
		if f.size > len(src) {
			return f, errZstdFrame
		}
		return f, nil
	}
	f.content, f.stated, f.size = header.FrameContentSize, header.HasFCS, header.HeaderSize
	for last := false; !last; {
		if len(src)-f.size < 3 {
			return f, errZstdFrame
		}
		b := src[f.size:]
		word := uint32(binary.LittleEndian.Uint16(b)) | uint32(b[2])<<16
		kind, size := word>>1&3, int(word>>3)
		last = word&1 != 0
		f.size += 3
		switch kind {
		case 0: // stored uncompressed
			f.most += uint64(size)
		case 1: // one byte, repeated
			f.most += uint64(size)
			size = 1
		case 2: // compressed
			f.most += zstdBlock
		default:
			return f, errZstdFrame
		}
		if f.size += size; f.size > len(src) {
			return f, errZstdFrame
		}
	}
	if header.HasCheckSum {
		f.size += 4
	}
	if f.size > len(src) {
		return f, errZstdFrame
	}
	return f, nil
}
