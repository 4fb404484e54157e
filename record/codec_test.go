package record_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

var compressions = []record.Compression{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}

func TestCompressionRoundTrip(t *testing.T) {
	codec := record.NewCodec(0)
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(compressions).Draw(t, "compression")
		level := rapid.IntRange(0, map[record.Compression]int{record.Gzip: 9, record.LZ4: 17, record.Zstd: 22}[c]).Draw(t, "level")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "prefix")
		src := make([]byte, rapid.SampledFrom([]int{0, 1, 100, 32 << 10, 32<<10 + 1, 64 << 10, 200_000}).Draw(t, "length"))
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range src {
			src[i] = byte(random.IntN(rapid.SampledFrom([]int{1, 4, 256}).Draw(t, "letters")))
			if i > 300 {
				copy(src[i:], src[:300]) // repeats what came before
				break
			}
		}
		packed, err := codec.Compress(bytes.Clone(prefix), c, level, src)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(packed, prefix))
		plain, err := codec.Decompress(bytes.Clone(prefix), c, packed[len(prefix):])
		require.NoError(t, err)
		require.True(t, bytes.Equal(src, plain))
	})
}

func TestCheckLevel(t *testing.T) {
	codec := record.NewCodec(0)
	for c, highest := range map[record.Compression]int{record.None: 0, record.Gzip: 9, record.Snappy: 0, record.LZ4: 17, record.Zstd: 22} {
		require.NoError(t, c.CheckLevel(0))
		require.NoError(t, c.CheckLevel(highest))
		for _, level := range []int{-1, highest + 1} {
			require.ErrorIs(t, c.CheckLevel(level), fault.InvalidConfig)
			_, err := codec.Compress(nil, c, level, nil)
			require.ErrorIs(t, err, fault.InvalidConfig)
		}
	}
	require.ErrorIs(t, record.Compression(5).CheckLevel(0), fault.UnsupportedCompression)
	_, err := codec.Decompress(nil, 5, nil)
	require.ErrorIs(t, err, fault.UnsupportedCompression)
}

// TestCompressedAsKafka compares the start of a compressed batch's records,
// which says how the rest is framed, with the batches that Kafka wrote.
func TestCompressedAsKafka(t *testing.T) {
	codec := record.NewCodec(0)
	for _, tc := range []struct {
		file        string
		compression record.Compression
		same        int // bytes
	}{
		{"snappy.bin", record.Snappy, 16},
		{"lz4.bin", record.LZ4, 7},
		{"zstd.bin", record.Zstd, 4},
		{"gzip.bin", record.Gzip, 8},
	} {
		batch, err := record.Parse(goldenBytes(t, tc.file))
		require.NoError(t, err)
		plain, err := batch.Payload(codec, nil)
		require.NoError(t, err)
		packed, err := codec.Compress(nil, tc.compression, 0, plain)
		require.NoError(t, err)
		require.Equal(t, batch.Bytes[record.HeaderLen:][:tc.same], packed[:tc.same], tc.file)
	}

	// Kafka's xerial framing cuts into blocks of 32 KiB; ours has as many.
	batch, err := record.Parse(goldenBytes(t, "snappy-blocks.bin"))
	require.NoError(t, err)
	plain, err := batch.Payload(codec, nil)
	require.NoError(t, err)
	packed, err := codec.Compress(nil, record.Snappy, 0, plain)
	require.NoError(t, err)
	require.Equal(t, xerialBlocks(t, batch.Bytes[record.HeaderLen:]), xerialBlocks(t, packed))
}

// xerialBlocks returns the uncompressed lengths of the blocks in b.
func xerialBlocks(t *testing.T, b []byte) (lengths []int) {
	for b = b[16:]; len(b) > 0; {
		n := int(binary.BigEndian.Uint32(b))
		length, err := s2.DecodedLen(b[4 : 4+n])
		require.NoError(t, err)
		lengths, b = append(lengths, length), b[4+n:]
	}
	return lengths
}

// TestBareSnappy reads snappy without framing, which librdkafka and others write.
func TestBareSnappy(t *testing.T) {
	plain, err := record.NewCodec(0).Decompress(nil, record.Snappy, s2.EncodeSnappy(nil, []byte("no framing here")))
	require.NoError(t, err)
	require.Equal(t, "no framing here", string(plain))
}

// TestBombs decompresses small inputs that would grow far beyond the limit, and
// measures that the memory they take stays near it.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	roomy := record.NewCodec(1 << 30)
	zeros := make([]byte, 64<<20)
	bombs := map[string][]byte{}
	for _, c := range compressions[1:] {
		packed, err := roomy.Compress(nil, c, 0, zeros)
		require.NoError(t, err)
		bombs[c.String()] = packed
	}
	bombs["snappy block"] = s2.EncodeSnappy(nil, zeros)
	bombs["zstd of unstated size"] = streamedZstd(t, zeros)
	bombs["zstd in many frames"] = bytes.Repeat(roomyZstd(t, roomy, zeros[:limit/2]), 100)

	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			c, err := record.ParseCompression(name[:min(len(name), len("snappy"))])
			if err != nil {
				c, err = record.ParseCompression(name[:4])
			}
			if err != nil {
				c, err = record.ParseCompression(name[:3])
			}
			require.NoError(t, err)
			codec := record.NewCodec(limit)
			allocated := measure(func() {
				_, err = codec.Decompress(nil, c, bomb)
			})
			require.ErrorIs(t, err, fault.ExpandsTooFar)
			require.Less(t, allocated, uint64(24<<20))
		})
	}
}

// measure returns how many bytes f allocates.
func measure(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func streamedZstd(t *testing.T, plain []byte) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func roomyZstd(t *testing.T, codec *record.Codec, plain []byte) []byte {
	packed, err := codec.Compress(nil, record.Zstd, 0, plain)
	require.NoError(t, err)
	return packed
}

// TestLyingLengths feeds streams that announce far more than they hold.
func TestLyingLengths(t *testing.T) {
	const limit = 1 << 20
	for _, tc := range []struct {
		name  string
		c     record.Compression
		bytes []byte
	}{
		{"a snappy block of 4 GiB", record.Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0}},
		{"a framed snappy block of 4 GiB", record.Snappy, append([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"), 0xff, 0xff, 0xff, 0xff, 0, 0)},
		{"a framed snappy block of half a MiB in 5 bytes", record.Snappy, append([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"), 0, 0, 0, 5, 0x80, 0x80, 0x20, 0, 0)},
		{"a zstd frame of 2^62 bytes", record.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0}},
		{"a zstd frame of no bytes that has some", record.Zstd, []byte("\x28\xb5\x2f\xfd0\x00=\x01\x00\xf4\x01some text that \x10epeats itself, \x01T\x15\x05\x1a\x8b")},
		{"a zstd frame of a MiB in 10 bytes", record.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x10, 0, 1, 0, 0}},
		{"a zstd window of 2^41 bytes", record.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0}},
		{"an lz4 frame of blocks of 4 MiB", record.LZ4, []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 0xff, 0xff, 0x3f, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			codec := record.NewCodec(limit)
			var err error
			allocated := measure(func() { _, err = codec.Decompress(nil, tc.c, tc.bytes) })
			require.Error(t, err)
			require.Contains(t, []fault.Code{fault.CorruptMessage, fault.ExpandsTooFar}, fault.CodeOf(err))
			require.Less(t, allocated, uint64(24<<20))
		})
	}
}

// TestShortBlockOfSixtyMiB claims nearly all that the codec allows, in twenty
// bytes, and measures that nothing is allocated for it.
func TestShortBlockOfSixtyMiB(t *testing.T) {
	codec := record.NewCodec(64 << 20)
	_, err := codec.Decompress(nil, record.Zstd, streamedZstd(t, []byte("the decoder is made before it is measured")))
	require.NoError(t, err)
	bare := append([]byte{0x80, 0x80, 0x80, 0x1e}, make([]byte, 16)...)
	framed := append([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x14"), bare...)
	frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0xc0, 3}, 5, 0, 0, 0, 0, 0)
	for name, c := range map[string]struct {
		c     record.Compression
		bytes []byte
	}{"bare": {record.Snappy, bare}, "framed": {record.Snappy, framed}, "zstd": {record.Zstd, frame}} {
		var err error
		allocated := measure(func() { _, err = codec.Decompress(nil, c.c, c.bytes) })
		require.ErrorIs(t, err, fault.CorruptMessage, name)
		require.Less(t, allocated, uint64(1<<20), name)
	}
}

// TestWhatExpandsMost reads back the densest input of each algorithm, and
// streams that do not state their length.
func TestWhatExpandsMost(t *testing.T) {
	codec := record.NewCodec(0)
	lines := logLines(50_000)
	for _, plain := range [][]byte{make([]byte, 32<<10), make([]byte, 1<<20), make([]byte, 5_000_000), lines, lines[:1000]} {
		for _, c := range compressions {
			packed, err := codec.Compress(nil, c, 0, plain)
			require.NoError(t, err)
			for _, room := range [][]byte{nil, make([]byte, 100), make([]byte, 200_000)} {
				got, err := codec.Decompress(room, c, packed)
				require.NoError(t, err, "%d bytes in %d of %s", len(plain), len(packed), c)
				require.True(t, bytes.Equal(plain, got))
			}
		}
		packed := streamedZstd(t, plain)
		for _, frames := range []int{1, 3} {
			got, err := codec.Decompress(nil, record.Zstd, bytes.Repeat(packed, frames))
			require.NoError(t, err, "%d bytes in %d", len(plain), len(packed))
			require.True(t, bytes.Equal(bytes.Repeat(plain, frames), got))
		}
	}

	// One literal, followed by copies of 64 bytes that take 3, is the densest
	// snappy.
	densest := append(binary.AppendUvarint(nil, 1+64*1000), 0, 'x')
	for range 1000 {
		densest = append(densest, 63<<2|2, 1, 0)
	}
	got, err := codec.Decompress(nil, record.Snappy, densest)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte("x"), 1+64*1000), got)

	// Concatenated streams, as Java reads them.
	framed, err := codec.Compress(nil, record.Snappy, 0, []byte("one"))
	require.NoError(t, err)
	got, err = codec.Decompress(nil, record.Snappy, bytes.Repeat(framed, 2))
	require.NoError(t, err)
	require.Equal(t, "oneone", string(got))
}

// logLines returns ordinary log lines.
func logLines(n int) []byte {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, `{"time":"2026-11-27T08:%02d:%02d.%03dZ","level":"info","service":"orders","message":"request served","status":200,"path":"/orders/%d","ms":%d}`+"\n", i/60%60, i%60, i%1000, i*7919%100000, i*31%97)
	}
	return b
}

// TestDecompressIntoAnyRoom gives zstd, whose output buffer has a fixed size,
// every size from none to enough.
func TestDecompressIntoAnyRoom(t *testing.T) {
	codec := record.NewCodec(0)
	batch, err := record.Parse(goldenBytes(t, "zstd.bin")) // does not say how long it will be
	require.NoError(t, err)
	packed := batch.Bytes[record.HeaderLen:]
	want, err := codec.Decompress(nil, record.Zstd, packed)
	require.NoError(t, err)
	for room := range len(want) + 100 {
		got, err := codec.Decompress(make([]byte, room), record.Zstd, packed)
		require.NoError(t, err, room)
		require.Equal(t, want, got, room)
	}
	for _, limit := range []int{len(want) - 1, len(want), len(want) + 1} {
		got, err := record.NewCodec(limit).Decompress(nil, record.Zstd, packed)
		if limit < len(want) {
			require.ErrorIs(t, err, fault.ExpandsTooFar)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestDecompressAtTheLimit(t *testing.T) {
	const limit = 100_000
	roomy, tight := record.NewCodec(0), record.NewCodec(limit)
	for _, c := range compressions {
		packed, err := roomy.Compress(nil, c, 0, make([]byte, limit))
		require.NoError(t, err)
		plain, err := tight.Decompress(make([]byte, 10), c, packed)
		require.NoError(t, err, c)
		require.Len(t, plain, limit)
		packed, err = roomy.Compress(nil, c, 0, make([]byte, limit+1))
		require.NoError(t, err)
		_, err = tight.Decompress(nil, c, packed)
		require.ErrorIs(t, err, fault.ExpandsTooFar, c)
	}
}

// TestCutStreams wants an error or fewer bytes from every stream that is cut
// short, never the whole.
func TestCutStreams(t *testing.T) {
	codec := record.NewCodec(0)
	plain := bytes.Repeat([]byte("some text that repeats itself, "), 20)
	for _, c := range compressions[1:] {
		packed, err := codec.Compress(nil, c, 0, plain)
		require.NoError(t, err)
		for n := range packed {
			got, err := codec.Decompress(nil, c, packed[:n])
			if err == nil {
				require.Less(t, len(got), len(plain), "%s cut at %d", c, n)
				continue
			}
			require.ErrorIs(t, err, fault.CorruptMessage, "%s cut at %d", c, n)
		}
		got, err := codec.Decompress(nil, c, packed)
		require.NoError(t, err, "%s after errors", c)
		require.Equal(t, plain, got)
	}
}

func TestCodecServesManyGoroutines(t *testing.T) {
	codec := record.NewCodec(0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			plain := bytes.Repeat([]byte{byte(g)}, 10_000)
			for i := range 20 {
				c := compressions[i%len(compressions)]
				packed, err := codec.Compress(nil, c, 0, plain)
				if err == nil {
					packed, err = codec.Decompress(nil, c, packed)
				}
				if err != nil || !bytes.Equal(plain, packed) {
					t.Errorf("%s: %v", c, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestCodecBelongsToItsBubble uses a codec in one bubble after the other: nothing
// that one made may be left for the next.
func TestCodecBelongsToItsBubble(t *testing.T) {
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			codec := record.NewCodec(0)
			for _, c := range compressions {
				packed, err := codec.Compress(nil, c, 0, []byte("in a bubble"))
				require.NoError(t, err)
				plain, err := codec.Decompress(nil, c, packed)
				require.NoError(t, err)
				require.Equal(t, "in a bubble", string(plain))
			}
		})
	}
}
