package grpc

import (
	"encoding/binary"

	"google.golang.org/grpc/mem"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// outgoing is a message that is sent: its parts, one after the other. gRPC gets a copy, because
// it keeps what it is given for a time that it does not tell.
type outgoing [][]byte

// incoming is a message that arrives, in a buffer of the pool.
type incoming struct {
	pool   *buffers.Pool
	buffer *buffers.Buffer
}

// codec passes bytes through gRPC as they are.
type codec struct{}

// Name is gRPC's.
func (codec) Name() string { return "runnel" }

// Marshal is gRPC's.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	parts, ok := v.(outgoing)
	if !ok {
		return nil, fault.Newf(fault.InvalidRequest, "a message of type %T", v)
	}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n == 0 {
		return nil, nil
	}
	pool := mem.DefaultBufferPool()
	b := pool.Get(n)
	at := 0
	for _, p := range parts {
		at += copy((*b)[at:], p)
	}
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

// Unmarshal is gRPC's.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*incoming)
	if !ok {
		return fault.Newf(fault.InvalidRequest, "a message of type %T", v)
	}
	m.buffer = m.pool.Get(data.Len())
	data.CopyTo(m.buffer.Bytes)
	return nil
}

const frameHead = 8

// encode returns the message for a frame.
func encode(f *replica.Frame) outgoing {
	head := make([]byte, 0, frameHead+4*len(f.Payload)+len(f.Header))
	head = binary.BigEndian.AppendUint32(head, uint32(len(f.Header)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(f.Payload)))
	for _, p := range f.Payload {
		head = binary.BigEndian.AppendUint32(head, uint32(len(p)))
	}
	head = append(head, f.Header...)
	return append(outgoing{head}, f.Payload...)
}

// decode returns the frame of a message, whose bytes it shares.
func decode(b []byte, limit int) (*replica.Frame, error) {
	if len(b) < frameHead {
		return nil, fault.Newf(fault.InvalidRequest, "a frame of %d bytes", len(b))
	}
	header, slices, rest := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:])), b[frameHead:]
	if slices > hub.MaxSlices || 4*slices+header > int64(len(rest)) || int64(len(rest))-4*slices > int64(limit) {
		return nil, fault.Newf(fault.InvalidRequest, "a frame of %d bytes with a header of %d and %d slices, at most %d bytes in %d are allowed", len(rest), header, slices, limit, hub.MaxSlices).
			Try("use the same grpc.MaxFrame on all nodes")
	}
	table, rest := rest[:4*slices], rest[4*slices:]
	f := &replica.Frame{Header: rest[:header:header]}
	rest = rest[header:]
	if slices > 0 {
		f.Payload = make([][]byte, slices)
	}
	for i := range f.Payload {
		n := int64(binary.BigEndian.Uint32(table[4*i:]))
		if n > int64(len(rest)) {
			return nil, fault.Newf(fault.InvalidRequest, "a frame whose slices have more bytes than it has")
		}
		f.Payload[i], rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return nil, fault.Newf(fault.InvalidRequest, "a frame with %d bytes in none of its slices", len(rest))
	}
	return f, nil
}
