package record_test

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// seal fixes the length and the checksum of raw, so that a test can lie about
// everything else.
func seal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	return sum(raw)
}

// sum fixes only the checksum.
func sum(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// twoRecords returns a fresh valid batch of two records.
func twoRecords(t testing.TB) []byte {
	b := record.NewBuilder(1 << 10)
	require.True(t, b.Add(1700000000000, []byte("k"), []byte("v"), nil))
	require.True(t, b.Add(1700000000005, nil, nil, []record.Header{{Key: "h", Value: []byte("x")}}))
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return batch.Bytes
}

// readAll parses raw and decodes every record.
func readAll(raw []byte) ([]record.Record, error) {
	b, err := record.Parse(raw)
	if err != nil {
		return nil, err
	}
	return decodeAll(b, record.NewCodec(0))
}

func decodeAll(b record.Batch, codec *record.Codec) ([]record.Record, error) {
	it, err := b.Records(codec)
	if err != nil {
		return nil, err
	}
	var records []record.Record
	var r record.Record
	for it.Next(&r) {
		records = append(records, r)
	}
	return records, it.Err()
}

func TestParseTakesTheFirstBatch(t *testing.T) {
	raw := twoRecords(t)
	b, err := record.Parse(append(raw, "what follows"...))
	require.NoError(t, err)
	require.Equal(t, raw, b.Bytes)
	require.Equal(t, len(b.Bytes), cap(b.Bytes))
	require.Equal(t, len(raw), b.Size())
	require.Equal(t, int32(2), b.Count)
	require.Equal(t, int64(2), b.NextOffset())
	require.Equal(t, record.NoSequence, b.LastSequence())
}

// TestMalformed lies in one place at a time, with the checksum made to fit.
func TestMalformed(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return sum(b) }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint64(b[at:], v); return sum(b) }
	}
	putByte := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return sum(b) }
	}
	// payload replaces the records, of which the header promises n.
	payload := func(n int, records ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			b = append(b[:record.HeaderLen], records...)
			binary.BigEndian.PutUint32(b[23:], uint32(max(n-1, 0)))
			binary.BigEndian.PutUint32(b[57:], uint32(n))
			return seal(b)
		}
	}
	const null, huge = 1, 0xfe
	for _, tc := range []struct {
		name   string
		damage func([]byte) []byte
		code   fault.Code
		text   string
	}{
		{"length negative", put32(8, 1<<31), fault.CorruptMessage, "-2147483648 bytes after its length"},
		{"length zero, as in preallocated space", put32(8, 0), fault.CorruptMessage, "0 bytes after its length"},
		{"length below a header's", put32(8, 48), fault.CorruptMessage, "48 bytes after its length"},
		{"length near 2^31", put32(8, math.MaxInt32), fault.CorruptMessage, "2147483647 bytes after its length"},
		{"length beyond the bytes", put32(8, math.MaxInt32-12), fault.CorruptMessage, "a batch of 2147483647 bytes, here are"},
		{"length one short", func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)-13))
			return b
		}, fault.CorruptMessage, "checksum"},
		{"magic 0", putByte(16, 0), fault.UnsupportedFormat, "format 0"},
		{"magic 1", putByte(16, 1), fault.UnsupportedFormat, "format 1"},
		{"magic 3", putByte(16, 3), fault.CorruptMessage, "unknown format 3"},
		{"magic 255", putByte(16, 255), fault.CorruptMessage, "unknown format 255"},
		{"compression 5", putByte(22, 5), fault.UnsupportedCompression, "compression 5"},
		{"compression 7", putByte(22, 7), fault.UnsupportedCompression, "compression 7"},
		{"gzip that is none", putByte(22, 1), fault.CorruptMessage, "gzip"},
		{"snappy that is none", putByte(22, 2), fault.CorruptMessage, "snappy"},
		{"lz4 that is none", putByte(22, 3), fault.CorruptMessage, "lz4"},
		{"zstd that is none", putByte(22, 4), fault.CorruptMessage, "zstd"},
		{"base offset negative", put64(0, 1<<63), fault.CorruptMessage, "a batch from offset -9223372036854775808"},
		{"last offset beyond 2^63", put64(0, math.MaxInt64), fault.CorruptMessage, "a batch from offset 9223372036854775807"},
		{"last offset delta negative", put32(23, math.MaxUint32), fault.CorruptMessage, "a batch from offset 0 to -1 later"},
		{"more records than offsets", put32(23, 0), fault.CorruptMessage, "2 records over 1 offsets"},
		{"count negative", put32(57, 1<<31), fault.CorruptMessage, "-2147483648 records"},
		{"count one too many", func(b []byte) []byte { put32(57, 3)(b); return put32(23, 2)(b) }, fault.CorruptMessage, "3 records in 81 bytes"},
		{"count one too few", put32(57, 1), fault.CorruptMessage, "bytes after its last record"},
		{"count zero over records", put32(57, 0), fault.CorruptMessage, "bytes after its last record"},
		{"count beyond the bytes", func(b []byte) []byte { put32(57, 1<<30)(b); return put32(23, 1<<30)(b) }, fault.CorruptMessage, "1073741824 records in"},

		{"record of no bytes", payload(1, 0, 0, 0, 0, 0, 0, 0), fault.CorruptMessage, "bad record timestamp"},
		{"record length negative", payload(1, null, 0, 0, 0, 0, 0, 0), fault.CorruptMessage, "bad record length"},
		{"record length beyond the batch", payload(1, 14, 0, 0, 0, null, null, 0), fault.CorruptMessage, "bad record length"},
		{"record length below its fields", payload(1, 10, 0, 0, 0, null, null, 0), fault.CorruptMessage, "bad record headers"},
		{"record length above its fields", payload(1, 14, 0, 0, 0, null, null, 0, 0), fault.CorruptMessage, "bad record headers"},
		{"record length of six bytes", payload(1, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 0), fault.CorruptMessage, "bad record length"},
		{"record length of 33 bits", payload(1, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0, 0), fault.CorruptMessage, "bad record length"},
		{"record length of 2^31-1", payload(1, huge, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0), fault.CorruptMessage, "bad record length"},
		{"timestamp of eleven bytes", payload(1, 28, 0, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0, 0, 0), fault.CorruptMessage, "bad record timestamp"},
		{"timestamp of 65 bits", payload(1, 26, 0, 128, 128, 128, 128, 128, 128, 128, 128, 128, 2, 0, 0), fault.CorruptMessage, "bad record timestamp"},
		{"offset beyond the last", payload(1, 12, 0, 0, 2, null, null, 0), fault.CorruptMessage, "bad record offset"},
		{"offset negative", payload(1, 12, 0, 0, null, null, null, 0), fault.CorruptMessage, "bad record offset"},
		{"offset twice", payload(2, 12, 0, 0, 2, null, null, 0, 12, 0, 0, 2, null, null, 0), fault.CorruptMessage, "bad record offset"},
		{"offsets falling", payload(2, 12, 0, 0, 2, null, null, 0, 12, 0, 0, 0, null, null, 0), fault.CorruptMessage, "bad record offset"},
		{"key length -2", payload(1, 12, 0, 0, 0, 3, null, 0), fault.CorruptMessage, "bad record key"},
		{"key beyond the record", payload(1, 12, 0, 0, 0, 8, null, 0), fault.CorruptMessage, "bad record key"},
		{"value length -2", payload(1, 12, 0, 0, 0, null, 3, 0), fault.CorruptMessage, "bad record value"},
		{"value beyond the record", payload(1, 12, 0, 0, 0, null, 4, 0), fault.CorruptMessage, "bad record value"},
		{"value takes the header count", payload(1, 12, 0, 0, 0, null, 2, 0), fault.CorruptMessage, "bad record headers"},
		{"header count negative", payload(1, 12, 0, 0, 0, null, null, null), fault.CorruptMessage, "bad record headers"},
		{"header count beyond the bytes", payload(1, 16, 0, 0, 0, null, null, huge, 0, 0), fault.CorruptMessage, "bad record headers"},
		{"header key null", payload(1, 16, 0, 0, 0, null, null, 2, null, null), fault.CorruptMessage, "bad record headers"},
		{"header key beyond the record", payload(1, 16, 0, 0, 0, null, null, 2, 8, null), fault.CorruptMessage, "bad record headers"},
		{"header value beyond the record", payload(1, 16, 0, 0, 0, null, null, 2, 0, 8), fault.CorruptMessage, "bad record headers"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readAll(tc.damage(twoRecords(t)))
			require.ErrorIs(t, err, tc.code)
			require.ErrorContains(t, err, tc.text)
		})
		t.Run(tc.name+", with room behind", func(t *testing.T) {
			// While many bytes follow, the iterator takes a faster path. The
			// same damage is read with a larger array: bytes after the batch
			// must not count.
			raw := tc.damage(twoRecords(t))
			roomy := append(raw, make([]byte, 64)...)[:len(raw)]
			_, err := readAll(roomy)
			require.ErrorIs(t, err, tc.code)
		})
	}
}

// TestMalformedAmongOthers damages a record that has a valid one before it and
// a large one after it, so that the iterator meets it on its fast path.
func TestMalformedAmongOthers(t *testing.T) {
	good := func(delta int32) []byte {
		dst := make([]byte, record.Size(delta, 0, []byte("key"), make([]byte, 64), nil))
		record.Put(dst, delta, 0, []byte("key"), make([]byte, 64), nil)
		return dst
	}
	for _, tc := range []struct {
		name string
		at   int // in the second record: 0, 1 length, 2 attributes, 3 timestamp, 4 offset, 5 key length, 9 and 10 value length, 75 headers
		to   byte
	}{
		{"length shorter", 0, 0x94 - 2},
		{"length longer", 0, 0x94 + 2},
		{"length of four bytes", 1, 0xff},
		{"timestamp of many bytes", 3, 0xff},
		{"offset again", 4, 0},
		{"offset beyond", 4, 20},
		{"offset negative", 4, 1},
		{"key length -2", 5, 3},
		{"key one longer", 5, 8},
		{"key null", 5, 1},
		{"key longer than all", 5, 0x7e},
		{"value length shorter", 9, 0x80 - 2},
		{"value length longer", 9, 0x82},
		{"headers", 75, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first, second, third := good(0), good(1), good(2)
			require.Len(t, second, 76)
			second[tc.at] = tc.to
			raw := make([]byte, record.HeaderLen)
			raw = append(append(append(raw, first...), second...), third...)
			b := record.Seal(raw, record.BatchHeader{LastOffsetDelta: 2, Count: 3})
			_, err := readAll(b.Bytes)
			require.ErrorIs(t, err, fault.CorruptMessage)
		})
	}
}

func TestCutAnywhere(t *testing.T) {
	raw := twoRecords(t)
	for n := range raw {
		_, err := record.Parse(raw[:n:n])
		require.ErrorIs(t, err, fault.CorruptMessage, "%d bytes", n)
		_, err = record.ParseHeader(raw[:n:n])
		require.Equal(t, n >= record.HeaderLen, err == nil, "%d bytes", n)
	}
}

// TestEveryFlippedBitIsNoticed flips each bit of a batch. Only base offset and
// leader epoch lie outside the checksum, and what differs there is their value
// alone.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	raw := twoRecords(t)
	sound, err := record.Parse(raw)
	require.NoError(t, err)
	for bit := range len(raw) * 8 {
		at := bit / 8
		flipped := append([]byte(nil), raw...)
		flipped[at] ^= 1 << (bit % 8)
		b, err := record.Parse(flipped)
		outside := at < 8 || at >= 12 && at < 16
		if !outside {
			require.Error(t, err, "bit %d of byte %d", bit%8, at)
			continue
		}
		if bit == 7 { // a negative base offset
			require.ErrorIs(t, err, fault.CorruptMessage)
			continue
		}
		require.NoError(t, err, "bit %d of byte %d", bit%8, at)
		b.BaseOffset, b.LeaderEpoch = sound.BaseOffset, sound.LeaderEpoch
		require.Equal(t, sound.BatchHeader, b.BatchHeader)
	}
}

func TestStamp(t *testing.T) {
	raw := twoRecords(t)
	record.Stamp(raw, 1<<40, 7)
	b, err := record.Parse(raw)
	require.NoError(t, err)
	require.Equal(t, int64(1<<40), b.BaseOffset)
	require.Equal(t, int32(7), b.LeaderEpoch)
	records, err := decodeAll(b, nil)
	require.NoError(t, err)
	require.Equal(t, int64(1<<40+1), records[1].Offset)
	require.Equal(t, int32(7), records[1].LeaderEpoch)
}

func TestStampAppendTime(t *testing.T) {
	raw := twoRecords(t)
	record.StampAppendTime(raw, 1800000000000)
	b, err := record.Parse(raw)
	require.NoError(t, err)
	require.True(t, b.LogAppendTime())
	require.Equal(t, int64(1800000000000), b.MaxTimestamp)
	records, err := decodeAll(b, nil)
	require.NoError(t, err)
	for _, r := range records {
		require.Equal(t, time.UnixMilli(1800000000000), r.Timestamp)
	}
}

func TestStampProducer(t *testing.T) {
	raw := twoRecords(t)
	record.StampProducer(raw, 4000, 3, math.MaxInt32)
	b, err := record.Parse(raw)
	require.NoError(t, err)
	require.Equal(t, int64(4000), b.ProducerID)
	require.Equal(t, int16(3), b.ProducerEpoch)
	require.Equal(t, int32(math.MaxInt32), b.BaseSequence)
	require.Equal(t, int32(0), b.LastSequence(), "after 2^31-1 comes 0")
}

func TestCompressedBatchNeedsACodec(t *testing.T) {
	b := record.NewBuilder(1 << 10)
	require.True(t, b.Add(0, nil, []byte("v"), nil))
	_, err := b.Batch(nil, record.Zstd, 0)
	require.ErrorIs(t, err, fault.UnsupportedCompression)
	batch, err := b.Batch(record.NewCodec(0), record.Zstd, 0)
	require.NoError(t, err)
	_, err = batch.Records(nil)
	require.ErrorIs(t, err, fault.UnsupportedCompression)
}

// TestEmptyCompressedBatch reads what compaction leaves of a compressed batch
// whose records are all gone: the header, with the compression still in it.
func TestEmptyCompressedBatch(t *testing.T) {
	b := record.Seal(make([]byte, record.HeaderLen), record.BatchHeader{Attributes: int16(record.Gzip), LastOffsetDelta: 9})
	records, err := readAll(b.Bytes)
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestTimestampsOutsideTheOrdinary(t *testing.T) {
	b := record.NewBuilder(1 << 10)
	want := []int64{0, -1, math.MaxInt64, math.MinInt64, 1 << 50}
	for _, ms := range want {
		require.True(t, b.Add(ms, nil, nil, nil))
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	require.Equal(t, int64(math.MaxInt64), batch.MaxTimestamp)
	records, err := readAll(batch.Bytes)
	require.NoError(t, err)
	for i, r := range records {
		require.Equal(t, want[i], r.Timestamp.UnixMilli())
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	batch := fullBatch(t, nil, record.None, nil)
	var r record.Record
	require.Zero(t, testing.AllocsPerRun(10, func() {
		it, err := batch.Records(nil)
		for it.Next(&r) {
		}
		if err != nil || it.Err() != nil {
			panic("a sound batch")
		}
	}))
}
