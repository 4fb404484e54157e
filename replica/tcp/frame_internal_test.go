package tcp

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/buffers"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// encode returns the bytes of frames as a lane writes them.
func encode(frames ...*replica.Frame) []byte {
	var w turn
	for _, f := range frames {
		w.add(f)
	}
	return bytes.Join(w.done(), nil)
}

func newDecoder(r io.Reader, limit int) *decoder {
	return &decoder{r: r, limit: limit, buffers: &buffers.Pool{}}
}

// decode reads one frame, a ping or a pong.
func (d *decoder) decode() (*replica.Frame, error) {
	h, err := d.head()
	if err != nil || h.kind != kindFrame {
		return &replica.Frame{}, err
	}
	return d.frame(h, nil)
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blob := func(largest int) []byte {
			b := make([]byte, rapid.IntRange(0, largest).Draw(t, "bytes"))
			for i := range b {
				b[i] = byte(i * len(b))
			}
			return b
		}
		frames := make([]*replica.Frame, rapid.IntRange(1, 4).Draw(t, "frames"))
		for i := range frames {
			frames[i] = &replica.Frame{Header: blob(3000)}
			for range rapid.IntRange(0, 4).Draw(t, "slices") {
				frames[i].Payload = append(frames[i].Payload, blob(50_000))
			}
		}
		d := newDecoder(bytes.NewReader(encode(frames...)), 1<<20)
		for _, want := range frames {
			got, err := d.decode()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want.Header, got.Header))
			require.Len(t, got.Payload, len(want.Payload))
			for i := range want.Payload {
				require.True(t, bytes.Equal(want.Payload[i], got.Payload[i]))
			}
			got.Done()
		}
		_, err := d.decode()
		require.Equal(t, io.EOF, err)
	})
}

// Every bit of a frame counts, and a frame that is cut off is no frame.
func TestDamagedFramesAreRefused(t *testing.T) {
	whole := encode(&replica.Frame{Header: []byte("header"), Payload: [][]byte{[]byte("first"), nil, []byte("second")}})
	for i := range whole {
		_, err := newDecoder(bytes.NewReader(whole[:i]), 1<<20).decode()
		require.ErrorIs(t, err, []error{io.EOF, io.ErrUnexpectedEOF}[min(i, 1)], "cut at %d", i)
		for bit := range 8 {
			damaged := slices.Clone(whole)
			damaged[i] ^= 1 << bit
			_, err := newDecoder(bytes.NewReader(damaged), 1<<20).decode()
			require.ErrorIs(t, err, fault.InvalidRequest, "byte %d, bit %d", i, bit)
		}
	}
}

// lie returns a frame with a head of a peer's choice, whose checksum is right.
func lie(h head, body []byte) []byte {
	h.sum = crc32.Checksum(body, castagnoli)
	return append(h.append(nil), body...)
}

func TestLyingHeadsAreRefused(t *testing.T) {
	table := func(lengths ...uint32) (b []byte) {
		for _, n := range lengths {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	for name, whole := range map[string][]byte{
		"a header beyond the limit":   lie(head{header: 101}, make([]byte, 101)),
		"a payload beyond the limit":  lie(head{payload: 1<<32 - 1}, nil),
		"both together":               lie(head{header: 60, slices: 1, payload: 60}, append(table(60), make([]byte, 120)...)),
		"slices beyond the limit":     lie(head{slices: hub.MaxSlices + 1}, nil),
		"slices longer than payload":  lie(head{slices: 2, payload: 10}, append(table(5, 6), make([]byte, 10)...)),
		"slices that wrap around":     lie(head{slices: 2, payload: 10}, append(table(1<<32-1, 11), make([]byte, 10)...)),
		"slices shorter than payload": lie(head{slices: 2, payload: 10}, append(table(5, 4), make([]byte, 10)...)),
		"a payload without slices":    lie(head{payload: 10}, make([]byte, 10)),
		"a ping with a body":          lie(head{kind: kindPing, header: 1}, make([]byte, 1)),
		"an unknown kind":             lie(head{kind: 9}, nil),
	} {
		_, err := newDecoder(bytes.NewReader(whole), 100).decode()
		require.ErrorIs(t, err, fault.InvalidRequest, name)
	}
}

// trickle gives what it has, and then waits for ever, as far as the reader can tell.
type trickle struct{ left int }

func (r *trickle) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.ErrNoProgress
	}
	n := min(len(p), r.left, 5000)
	r.left -= n
	return n, nil
}

// Whatever a peer announces, memory is allocated for what has arrived.
func TestMemoryGrowsWithWhatArrives(t *testing.T) {
	for _, arrives := range []int{0, 1, 100_000, 1 << 20} {
		d := newDecoder(&trickle{arrives}, 1<<30)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := d.frame(head{header: 1 << 30}, nil)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, io.ErrNoProgress)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(arrives+step+arrives/2+32<<10), "when %d bytes arrive", arrives)
	}
}

// After a large frame, the next one of that size is read into one buffer.
func TestTheSecondLargeFrameIsNotCopied(t *testing.T) {
	frame := encode(&replica.Frame{Payload: [][]byte{make([]byte, 200_000)}})
	d := newDecoder(bytes.NewReader(slices.Concat(frame, frame)), 1<<20)
	first, err := d.decode()
	require.NoError(t, err)
	require.Equal(t, 200_004, d.arrived)
	first.Done()
	second, err := d.decode()
	require.NoError(t, err)
	require.Len(t, second.Payload[0], 200_000)
}

// fixSums gives the frames in b the checksums that they should have, so that
// fuzzing gets behind them.
func fixSums(b []byte) []byte {
	b = slices.Clone(b)
	for rest := b; len(rest) >= frameHead; {
		rest[0], rest[1], rest[2] = 'R', 'F', frameVersion
		h := head{
			header: int(binary.BigEndian.Uint32(rest[4:])), slices: int(binary.BigEndian.Uint32(rest[8:])),
			payload: int(binary.BigEndian.Uint32(rest[12:])),
		}
		body := rest[frameHead:]
		body = body[:min(len(body), h.body())]
		binary.BigEndian.PutUint32(rest[16:], crc32.Checksum(body, castagnoli))
		binary.BigEndian.PutUint32(rest[20:], crc32.Checksum(rest[:20], castagnoli))
		rest = rest[frameHead+len(body):]
	}
	return b
}

func FuzzFrames(f *testing.F) {
	f.Add(encode(&replica.Frame{Header: []byte("header"), Payload: [][]byte{[]byte("a"), nil, []byte("bc")}}), true)
	f.Add(encode(&replica.Frame{}, &replica.Frame{Header: make([]byte, 70_000)}), false)
	f.Add(head{kind: kindPing}.append(nil), false)
	f.Add(lie(head{slices: 3, payload: 1 << 31}, nil), false)
	f.Fuzz(func(t *testing.T, input []byte, fix bool) {
		if fix {
			input = fixSums(input)
		}
		d := newDecoder(bytes.NewReader(input), 1<<20)
		var again []byte
		for {
			h, err := d.head()
			if err != nil {
				break
			}
			if h.kind != kindFrame {
				again = h.append(again)
				continue
			}
			frame, err := d.frame(h, nil)
			if err != nil {
				break
			}
			again = append(again, encode(frame)...)
			frame.Done()
		}
		require.True(t, bytes.HasPrefix(input, again), "what was accepted is what would be sent")
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{protocolVersion, purposeStream, 7, 1, 2, 3, "cluster"}.bytes())
	f.Add(answer{protocolVersion, fault.InvalidRequest, 3, "cluster", "detail"}.bytes())
	f.Fuzz(func(t *testing.T, input []byte) {
		// The first message's checksum, if it is long enough to have one.
		if len(input) >= helloHead {
			n := int(binary.BigEndian.Uint16(input[len(greeting)+2:]))
			if len(input) >= helloHead+n+4 {
				binary.BigEndian.PutUint32(input[helloHead+n:], crc32.Checksum(input[:helloHead+n], castagnoli))
			}
		}
		if h, err := readHello(bytes.NewReader(input)); err == nil && h.version == protocolVersion {
			require.True(t, bytes.HasPrefix(input, h.bytes()))
		}
		if a, err := readAnswer(bytes.NewReader(input)); err == nil && a.version == protocolVersion && len(a.detail) <= 512 {
			require.True(t, bytes.HasPrefix(input, a.bytes()))
		}
	})
}
