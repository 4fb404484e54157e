package record_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// fuzzLimit is what a fuzzed batch may decompress to.
const fuzzLimit = 1 << 18

func addGolden(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.bin"))
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(f, err)
		if len(raw) < 4096 {
			f.Add(raw)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	addGolden(f)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := record.ParseHeader(raw)
		if err != nil {
			require.NotEqual(t, fault.Unknown, fault.CodeOf(err))
			return
		}
		require.GreaterOrEqual(t, h.Size(), record.HeaderLen)
		require.GreaterOrEqual(t, h.BaseOffset, int64(0))
		require.GreaterOrEqual(t, h.LastOffset(), h.BaseOffset)
		require.Greater(t, h.NextOffset(), h.LastOffset())
		require.LessOrEqual(t, int64(h.Count), int64(h.LastOffsetDelta)+1)
		require.LessOrEqual(t, h.Compression(), record.Zstd)

		// The header that was read writes the same bytes.
		again := record.Seal(make([]byte, record.HeaderLen), h).Bytes
		copy(again[8:], raw[8:12])   // length, which Seal computes
		copy(again[17:], raw[17:21]) // and checksum
		require.Equal(t, raw[:record.HeaderLen], again)
	})
}

// FuzzBatch gives every input a valid length and checksum, and then reads it as
// a consumer does.
func FuzzBatch(f *testing.F) {
	addGolden(f)
	f.Add(twoRecords(f))
	codec := record.NewCodec(fuzzLimit)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < record.HeaderLen {
			return
		}
		b, err := record.Parse(seal(bytes.Clone(raw)))
		if err != nil {
			require.NotEqual(t, fault.Unknown, fault.CodeOf(err))
			return
		}
		payload, err := b.Payload(codec, nil)
		if err != nil {
			require.Contains(t, []fault.Code{fault.CorruptMessage, fault.ExpandsTooFar}, fault.CodeOf(err))
			return
		}
		require.LessOrEqual(t, len(payload), max(fuzzLimit, len(raw)))
		it := b.Iterate(payload)
		var r record.Record
		var records []record.Record
		held := 0
		for it.Next(&r) {
			records = append(records, r)
			require.LessOrEqual(t, len(records), int(b.Count))
			held += record.MinRecordLen + len(r.Key) + len(r.Value) + 2*len(r.Headers)
			require.Equal(t, len(r.Headers), cap(r.Headers))
		}
		require.LessOrEqual(t, held, len(payload)+record.MinRecordLen, "records hold more than the bytes there are")
		if it.Err() != nil {
			require.ErrorIs(t, it.Err(), fault.CorruptMessage)
			return
		}
		require.Len(t, records, int(b.Count))
		requireSameAgain(t, b, payload, records)
	})
}

// requireSameAgain encodes records that were accepted, and requires that
// decoding returns the same records. The encoding is never longer than the
// payload. It is shorter if the payload had numbers in more bytes than needed.
func requireSameAgain(t *testing.T, b record.Batch, payload []byte, records []record.Record) {
	buf := make([]byte, record.HeaderLen)
	timestamp := func(r record.Record) int64 {
		if b.LogAppendTime() {
			return 0 // its own size is not available
		}
		return r.Timestamp.UnixMilli() - b.BaseTimestamp
	}
	for _, r := range records {
		delta := int32(r.Offset - b.BaseOffset)
		size := record.Size(delta, timestamp(r), r.Key, r.Value, r.Headers)
		at := len(buf)
		buf = append(buf, make([]byte, size)...)
		record.Put(buf[at:], delta, timestamp(r), r.Key, r.Value, r.Headers)
	}
	require.LessOrEqual(t, len(buf)-record.HeaderLen, len(payload))
	h := b.BatchHeader
	h.Attributes &^= record.AttrCompression
	sealed := record.Seal(buf, h)
	again, err := readAll(sealed.Bytes)
	require.NoError(t, err)
	require.Equal(t, records, again)
}

func FuzzDecompress(f *testing.F) {
	codec := record.NewCodec(fuzzLimit)
	for _, c := range compressions {
		for _, plain := range []string{"", "a", "some text that repeats itself, some text that repeats itself"} {
			packed, err := codec.Compress(nil, c, 0, []byte(plain))
			require.NoError(f, err)
			f.Add(byte(c), packed)
		}
	}
	for _, file := range []string{"gzip.bin", "snappy.bin", "lz4.bin", "zstd.bin"} {
		b, err := record.Parse(goldenBytes(f, file))
		require.NoError(f, err)
		f.Add(byte(b.Compression()), b.Bytes[record.HeaderLen:])
	}
	f.Fuzz(func(t *testing.T, compression byte, packed []byte) {
		c := record.Compression(compression % 5)
		plain, err := codec.Decompress(nil, c, packed)
		if err != nil {
			require.Contains(t, []fault.Code{fault.CorruptMessage, fault.ExpandsTooFar}, fault.CodeOf(err))
			require.Nil(t, plain)
			return
		}
		require.LessOrEqual(t, len(plain), fuzzLimit)
		repacked, err := codec.Compress(nil, c, 0, plain)
		require.NoError(t, err)
		again, err := codec.Decompress(nil, c, repacked)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, again))
	})
}
