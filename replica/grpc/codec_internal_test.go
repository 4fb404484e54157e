package grpc

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// message returns the bytes of a frame's message.
func message(t testing.TB, f *replica.Frame) []byte {
	m, err := codec{}.Marshal(encode(f))
	require.NoError(t, err)
	in := incoming{pool: &buffers.Pool{}}
	require.NoError(t, codec{}.Unmarshal(m, &in))
	return in.buffer.Bytes
}

// Whatever a peer sends, decode returns a frame of at most limit bytes that has the same
// message, or an error.
func FuzzDecode(f *testing.F) {
	f.Add(message(f, &replica.Frame{}))
	f.Add(message(f, &replica.Frame{Header: []byte("header"), Payload: [][]byte{[]byte("one"), nil, []byte("three")}}))
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 1})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 10
		frame, err := decode(b, limit)
		if err != nil {
			return
		}
		require.LessOrEqual(t, frame.Size(), limit)
		require.LessOrEqual(t, len(frame.Payload), hub.MaxSlices)
		require.True(t, bytes.Equal(b, message(t, frame)))
	})
}

// A frame may be as large as the limit, and no larger.
func TestDecodeLimitsAFrame(t *testing.T) {
	b := message(t, &replica.Frame{Header: make([]byte, 10), Payload: [][]byte{make([]byte, 90)}})
	_, err := decode(b, 100)
	require.NoError(t, err)
	_, err = decode(b, 99)
	require.ErrorContains(t, err, "at most 99 bytes")
}
