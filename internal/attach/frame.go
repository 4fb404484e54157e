package attach

import (
	"encoding/binary"
	"io"

	"github.com/runnel-go/runnel/fault"
)

// kind is the kind of a frame; doc.go has the table.
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
	readStep  = 64 << 10 // what is allocated before any byte has arrived
)

// frame is one message. body belongs to the reader of the frame.
type frame struct {
	kind kind
	id   uint32
	body []byte
}

// appendHead appends the head of a frame whose body has that many bytes.
func appendHead(dst []byte, k kind, id uint32, body int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(frameHead-4+body))
	dst = append(dst, byte(k))
	return binary.BigEndian.AppendUint32(dst, id)
}

// readFrame reads the next frame.
func readFrame(r io.Reader) (frame, error) {
	f, n, err := readHead(r, maxBody)
	if err == nil {
		f.body, err = readBody(r, n)
	}
	return f, err
}

// readHead reads a frame up to its body, and returns the body's length. A
// length beyond the limit is fault.InvalidRequest.
func readHead(r io.Reader, limit int64) (f frame, body int, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, 0, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - (frameHead - 4)
	if n < 0 || n > limit {
		return f, 0, fault.Newf(fault.InvalidRequest, "a frame that says it has %d bytes, at most %d are allowed", n, limit)
	}
	return frame{kind: kind(head[4]), id: binary.BigEndian.Uint32(head[5:])}, int(n), nil
}

// readBody reads a body of n bytes. It allocates as bytes arrive: at most four
// times as much as has arrived, and readStep more. A peer cannot reserve memory
// with a large length alone.
func readBody(r io.Reader, n int) ([]byte, error) {
	body := make([]byte, 0, min(n, readStep))
	for len(body) < n {
		if len(body) == cap(body) {
			larger := make([]byte, len(body), min(n, 4*cap(body)))
			copy(larger, body)
			body = larger
		}
		got, err := io.ReadFull(r, body[len(body):cap(body)])
		body = body[:len(body)+got]
		switch {
		case err == nil:
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
	return body, nil
}
