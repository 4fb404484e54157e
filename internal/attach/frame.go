package attach

import (
	"encoding/binary"
	"io"

	"github.com/runnel-go/runnel/fault"
)

// kind says what a frame is; doc.go has the table.
type kind uint8

const (
	kindHello kind = iota
	kindCall
	kindCancel
	kindTold
	kindParcel
	kindBatch
	kindAnswer
	kindEvent
	kindPart
	kindOutcomes
	kindBye
)

const (
	frameHead = 4 + 1 + 4 // length, kind, id
	maxBody   = 1<<30 + 1<<20
	readStep  = 64 << 10 // what is allocated before anything has come
)

// frame is one message. body belongs to whoever has read it.
type frame struct {
	kind kind
	id   uint32
	body []byte
}

// appendHead appends the head of a frame whose body has so many bytes.
func appendHead(dst []byte, k kind, id uint32, body int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(frameHead-4+body))
	dst = append(dst, byte(k))
	return binary.BigEndian.AppendUint32(dst, id)
}

// readFrame reads the next frame. A length beyond the limit is
// fault.InvalidRequest; memory is taken as bytes come, at most twice as much as
// came and readStep more.
func readFrame(r io.Reader) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - (frameHead - 4)
	if n < 0 || n > maxBody {
		return frame{}, fault.Newf(fault.InvalidRequest, "a frame that says it has %d bytes, at most %d are allowed", n, maxBody)
	}
	f := frame{kind: kind(head[4]), id: binary.BigEndian.Uint32(head[5:])}
	body := make([]byte, 0, min(int(n), readStep))
	for len(body) < int(n) {
		if len(body) == cap(body) {
			larger := make([]byte, len(body), min(int(n), 2*cap(body)))
			copy(larger, body)
			body = larger
		}
		got, err := io.ReadFull(r, body[len(body):cap(body)])
		body = body[:len(body)+got]
		if err != nil {
			return frame{}, io.ErrUnexpectedEOF
		}
	}
	f.body = body
	return f, nil
}
