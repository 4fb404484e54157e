package tcp

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

const (
	frameHead    = 24
	frameVersion = 1
	step         = 64 << 10 // by how much memory grows ahead of what has arrived
)

// frameKind is the kind of a frame.
type frameKind uint8

const (
	kindFrame frameKind = iota
	kindPing
	kindPong
)

// head is the head of a frame.
type head struct {
	kind    frameKind
	header  int // bytes
	slices  int
	payload int // bytes, of all slices
	sum     uint32
}

func (h head) body() int { return 4*h.slices + h.header + h.payload }

func (h head) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 'R', 'F', frameVersion, byte(h.kind))
	for _, n := range []int{h.header, h.slices, h.payload} {
		dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	}
	dst = binary.BigEndian.AppendUint32(dst, h.sum)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// appendFrame appends the head of a frame, its table of lengths and its header; the
// payload is to follow.
func appendFrame(dst []byte, f *replica.Frame) []byte {
	h := head{kind: kindFrame, header: len(f.Header), slices: len(f.Payload)}
	at := len(dst)
	dst = append(dst, make([]byte, frameHead)...)
	for _, p := range f.Payload {
		h.payload += len(p)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p)))
	}
	dst = append(dst, f.Header...)
	h.sum = crc32.Checksum(dst[at+frameHead:], castagnoli)
	for _, p := range f.Payload {
		h.sum = crc32.Update(h.sum, castagnoli, p)
	}
	h.append(dst[at:at])
	return dst
}

// decoder reads the frames of a connection.
type decoder struct {
	r         io.Reader
	limit     int // of a frame's Size
	buffers   *buffers.Pool
	arrived   int // the largest body that has arrived here so far
	headSpace [frameHead]byte
}

// head reads the head of the next frame. At the end of the input between two frames
// it returns io.EOF.
func (d *decoder) head() (head, error) {
	b := d.headSpace[:]
	if _, err := io.ReadFull(d.r, b); err != nil {
		return head{}, err
	}
	if b[0] != 'R' || b[1] != 'F' || b[2] != frameVersion || b[3] > byte(kindPong) ||
		crc32.Checksum(b[:20], castagnoli) != binary.BigEndian.Uint32(b[20:]) {
		return head{}, fault.Newf(fault.InvalidRequest, "%x where a frame should begin", b)
	}
	header, slices, payload := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	h := head{kind: frameKind(b[3]), sum: binary.BigEndian.Uint32(b[16:])}
	if int64(header)+int64(payload) > int64(d.limit) || slices > hub.MaxSlices {
		return h, fault.Newf(fault.InvalidRequest, "a frame of %d bytes in %d slices, at most %d bytes in %d are allowed", int64(header)+int64(payload), slices, d.limit, hub.MaxSlices).
			Try("use the same tcp.MaxFrame on all nodes")
	}
	h.header, h.slices, h.payload = int(header), int(slices), int(payload)
	if h.kind != kindFrame && h.body() > 0 {
		return h, fault.Newf(fault.InvalidRequest, "a ping or pong of %d bytes", h.body())
	}
	return h, nil
}

// frame reads what follows a head. The frame's Release gives its memory back, and
// then calls done.
func (d *decoder) frame(h head, done func()) (*replica.Frame, error) {
	b, err := d.read(h.body())
	if err != nil {
		return nil, err
	}
	f, err := split(h, b.Bytes)
	if err != nil {
		d.buffers.Put(b)
		return nil, err
	}
	f.Release = func() {
		d.buffers.Put(b)
		if done != nil {
			done()
		}
	}
	return f, nil
}

// split returns the frame whose body these bytes are.
func split(h head, body []byte) (*replica.Frame, error) {
	if crc32.Checksum(body, castagnoli) != h.sum {
		return nil, fault.Newf(fault.InvalidRequest, "a frame of %d bytes that does not match its checksum", len(body))
	}
	table, header, payload := body[:4*h.slices], body[4*h.slices:4*h.slices+h.header], body[4*h.slices+h.header:]
	f := &replica.Frame{Header: header[:len(header):len(header)]}
	if h.slices > 0 {
		f.Payload = make([][]byte, h.slices)
	}
	for i := range f.Payload {
		n := binary.BigEndian.Uint32(table[4*i:])
		if int64(n) > int64(len(payload)) {
			return nil, fault.Newf(fault.InvalidRequest, "a frame whose slices have more bytes than its payload of %d", h.payload)
		}
		f.Payload[i], payload = payload[:n:n], payload[n:]
	}
	if len(payload) > 0 {
		return nil, fault.Newf(fault.InvalidRequest, "a frame whose payload of %d bytes has %d more than its slices", h.payload, len(payload))
	}
	return f, nil
}

// read reads n bytes into one buffer. Its memory never exceeds what has arrived by more
// than a step, unless as many bytes arrived here at once before. What exceeds it is first
// read in steps, and copied together when all of it has arrived.
func (d *decoder) read(n int) (*buffers.Buffer, error) {
	if n <= max(step, d.arrived) {
		b := d.buffers.Get(n)
		if _, err := io.ReadFull(d.r, b.Bytes); err != nil {
			d.buffers.Put(b)
			return nil, cutOff(err)
		}
		return b, nil
	}
	var steps []*buffers.Buffer
	defer func() {
		for _, s := range steps {
			d.buffers.Put(s)
		}
	}()
	for left := n; left > 0; {
		s := d.buffers.Get(min(left, step))
		steps = append(steps, s)
		if _, err := io.ReadFull(d.r, s.Bytes); err != nil {
			return nil, cutOff(err)
		}
		left -= len(s.Bytes)
	}
	whole := d.buffers.Get(n)
	at := 0
	for _, s := range steps {
		at += copy(whole.Bytes[at:], s.Bytes)
	}
	d.arrived = n
	return whole, nil
}

// cutOff returns the error for an input that ends within a frame.
func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
