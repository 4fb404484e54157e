package record

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/runnel-go/runnel/fault"
)

// DefaultMaxDecompressed is the default limit of a Codec: 64 MiB.
const DefaultMaxDecompressed = 64 << 20

// Codec compresses and decompresses the records of batches, and pools the state
// that the algorithms need. It belongs to a broker or a session, has no
// goroutine, needs no closing, and may be used by many goroutines at once.
type Codec struct {
	maxDecompressed int

	gzipReaders sync.Pool     // of *reader
	lz4Readers  sync.Pool     // of *reader
	gzipWriters [10]sync.Pool // of *gzip.Writer, by level
	lz4Writers  sync.Pool     // of *lz4.Writer

	zstdDecoder func() (*zstd.Decoder, error)
	zstdEncoder [zstd.SpeedBestCompression + 1]func() (*zstd.Encoder, error) // by speed
}

// NewCodec returns a Codec that decompresses no batch to more than
// maxDecompressed bytes. 0 means DefaultMaxDecompressed.
func NewCodec(maxDecompressed int) *Codec {
	if maxDecompressed <= 0 {
		maxDecompressed = DefaultMaxDecompressed
	}
	c := &Codec{maxDecompressed: maxDecompressed}
	c.zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
			zstd.WithDecoderMaxMemory(uint64(max(maxDecompressed, zstdMaxWindow))), zstd.WithDecoderMaxWindow(zstdMaxWindow))
	})
	for speed := zstd.SpeedFastest; speed <= zstd.SpeedBestCompression; speed++ {
		c.zstdEncoder[speed] = sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderCRC(false),
				zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		})
	}
	return c
}

const (
	// zstdWindow is how far back an encoder looks, which determines its memory.
	// It is as large as a batch is at most by default.
	zstdWindow = 1 << 20

	// zstdMaxWindow is the largest window that zstd itself writes and reads.
	// Frames announce larger windows than their content needs, and the decoder
	// never allocates one.
	zstdMaxWindow = 1 << 31
)

// CheckLevel returns fault.InvalidConfig for a level that c does not have.
// Level 0 is the default of each compression. Kafka's other levels are 1 to 9
// for gzip, 1 to 17 for lz4 (9 and above are the same here) and 1 to 22 for
// zstd (mapped to four levels here).
func (c Compression) CheckLevel(level int) error {
	highest := [...]int{None: 0, Gzip: 9, Snappy: 0, LZ4: 17, Zstd: 22}
	if c < None || c > Zstd {
		return fault.Newf(fault.UnsupportedCompression, "%s", c)
	}
	if level < 0 || level > highest[c] {
		return fault.Newf(fault.InvalidConfig, "%s has levels 0 to %d, not %d", c, highest[c], level)
	}
	return nil
}

// Compress appends src to dst, compressed the way Kafka's Java client does it,
// and returns the extended slice. Level 0 is c's default; see
// Compression.CheckLevel, whose errors it returns. None appends src unchanged.
func (k *Codec) Compress(dst []byte, c Compression, level int, src []byte) ([]byte, error) {
	if err := c.CheckLevel(level); err != nil {
		return dst, err
	}
	switch c {
	case Gzip:
		return k.gzip(dst, level, src)
	case Snappy:
		return appendXerial(dst, src), nil
	case LZ4:
		return k.lz4(dst, level, src)
	case Zstd:
		speed := zstd.SpeedDefault
		if level > 0 {
			speed = zstd.EncoderLevelFromZstd(level)
		}
		encoder, err := k.zstdEncoder[speed]()
		if err != nil {
			return dst, err
		}
		return encoder.EncodeAll(src, dst), nil
	}
	return append(dst, src...), nil
}

// Decompress returns the decompressed src, in dst's array if it is large
// enough, else in a new one. Previous contents of dst are overwritten; dst may
// be nil.
//
// Output beyond the codec's limit is fault.ExpandsTooFar; bytes that are not in
// c's format are fault.CorruptMessage. Allocation depends on the actual output,
// not on the size that the bytes claim, and stays near the limit.
func (k *Codec) Decompress(dst []byte, c Compression, src []byte) ([]byte, error) {
	var out []byte
	var err error
	switch c {
	case None:
		out = append(dst[:0], src...)
	case Gzip:
		out, err = k.readAll(&k.gzipReaders, newGzipReader, dst[:0], src)
	case Snappy:
		out, err = k.unsnappy(dst[:0], src)
	case LZ4:
		out, err = k.readAll(&k.lz4Readers, newLZ4Reader, dst[:0], src)
	case Zstd:
		out, err = k.unzstd(dst[:0], src)
	default:
		return nil, fault.Newf(fault.UnsupportedCompression, "%s", c)
	}
	switch {
	case len(out) > k.maxDecompressed, errors.Is(err, errTooLarge):
		return nil, fault.Newf(fault.ExpandsTooFar, "with %s, beyond %d", c, k.maxDecompressed)
	case err != nil:
		return nil, fault.Newf(fault.CorruptMessage, "%s", c).Because(err)
	}
	return out, nil
}

// errTooLarge is used within this file for output beyond the limit.
var errTooLarge = errors.New("too large")

func (k *Codec) gzip(dst []byte, level int, src []byte) ([]byte, error) {
	w, ok := k.gzipWriters[level].Get().(*gzip.Writer)
	if !ok {
		setting := level
		if level == 0 {
			setting = gzip.DefaultCompression
		}
		var err error
		if w, err = gzip.NewWriterLevel(nil, setting); err != nil {
			return dst, err
		}
	}
	defer k.gzipWriters[level].Put(w)
	out := appender{dst}
	w.Reset(&out)
	w.ModTime = time.Unix(0, 0) // writes "no time" into the gzip header
	return out.finish(dst, w, src)
}

func (k *Codec) lz4(dst []byte, level int, src []byte) ([]byte, error) {
	w, ok := k.lz4Writers.Get().(*lz4.Writer)
	if !ok {
		w = lz4.NewWriter(nil)
	}
	defer k.lz4Writers.Put(w)
	out := appender{dst}
	w.Reset(&out)
	// Kafka's settings: independent blocks of 64 KiB, and no checksums except
	// the header's.
	setting := lz4.Fast
	if level > 0 {
		setting = 1 << (8 + min(level, 9)) // lz4.Level1 to lz4.Level9
	}
	err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.CompressionLevelOption(setting))
	if err != nil {
		return dst, err
	}
	return out.finish(dst, w, src)
}

// appender is an io.Writer that appends to a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// finish writes src through w, which writes into a, closes w, and returns the
// contents of a.
func (a *appender) finish(dst []byte, w io.WriteCloser, src []byte) ([]byte, error) {
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return a.b, nil
}

// reader is a reusable decompressing stream over bytes in memory.
type reader struct {
	src    bytes.Reader
	stream interface {
		io.Reader
		reset(src io.Reader) error
	}
}

type gzipStream struct{ gzip.Reader }

func (g *gzipStream) reset(src io.Reader) error { return g.Reset(src) }

type lz4Stream struct{ *lz4.Reader }

func (l lz4Stream) reset(src io.Reader) error { l.Reset(src); return nil }

func newGzipReader() *reader { return &reader{stream: &gzipStream{}} }
func newLZ4Reader() *reader  { return &reader{stream: lz4Stream{lz4.NewReader(nil)}} }

// readAll appends the output of a pooled reader over src to dst, which is
// empty.
func (k *Codec) readAll(pool *sync.Pool, fresh func() *reader, dst, src []byte) ([]byte, error) {
	r, ok := pool.Get().(*reader)
	if !ok {
		r = fresh()
	}
	defer pool.Put(r)
	r.src.Reset(src)
	defer r.src.Reset(nil)
	if err := r.stream.reset(&r.src); err != nil {
		return nil, err
	}
	out := slices.Grow(dst, min(4*len(src), k.maxDecompressed))
	for {
		if len(out) == cap(out) {
			out = slices.Grow(out, 1)
		}
		n, err := r.stream.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		switch {
		case len(out) > k.maxDecompressed:
			return nil, errTooLarge
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, err
		case n == 0:
			return nil, io.ErrNoProgress
		}
	}
}
