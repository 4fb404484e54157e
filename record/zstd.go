package record

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// zstdBlock is the most that a block of a zstd frame expands to.
const zstdBlock = 128 << 10

// errZstdFrame says that bytes are no run of zstd frames.
var errZstdFrame = errors.New("no zstd frame, or one that is cut short")

// zstdSure is how much room a frame of unstated size gets for each of its bytes
// before any has been decoded. What needs more, gets it as it comes.
const zstdSure = 32

// unzstd appends to dst, which is empty, frame by frame. Few writers say how long
// a frame will be; how long it can be, the headers of its blocks say.
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

// unzstdFrame appends what one frame expands to. The decoder fills the room that
// it is given and says with one error or another where that was too little. It
// gets more, up to what is possible, once it has filled what it had.
func (k *Codec) unzstdFrame(decoder *zstd.Decoder, dst, src []byte, f zstdFrame) ([]byte, error) {
	before := len(dst)
	left := uint64(k.maxDecompressed - before)
	most := min(f.most, left+1)
	room := min(most, max(zstdSure*uint64(len(src)), 4<<10))
	if f.stated {
		if f.content > f.most {
			return nil, errZstdFrame // refused before anything is allocated for it
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
		full := uint64(len(out)-before)+zstdBlock >= room // but for a block that did not fit
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

// zstdFrame is what a frame says of itself.
type zstdFrame struct {
	size    int    // its bytes
	content uint64 // what it says it expands to, if stated
	stated  bool
	most    uint64 // what its blocks can expand to
}

// zstdFrameOf looks through the headers of the frame that src begins with, and of
// its blocks.
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
		case 0: // as it is
			f.most += uint64(size)
		case 1: // one byte, over and over
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
