package record_test

import (
	"hash/crc32"
	"testing"

	"github.com/runnel-go/runnel/record"
)

// The shape of record that Runnel's speed is stated for.
var (
	benchKey   = []byte("key-000000000016")
	benchValue = make([]byte, 100)
)

const benchBatch = 1 << 20

func BenchmarkPut(b *testing.B) {
	buf := make([]byte, benchBatch)
	b.ReportAllocs()
	b.SetBytes(int64(len(benchKey) + len(benchValue)))
	pos, delta := 0, int32(0)
	for b.Loop() {
		size := record.Size(delta, int64(delta&15), benchKey, benchValue, nil)
		if pos+size > len(buf) {
			pos, delta = 0, 0
			continue
		}
		pos += record.Put(buf[pos:pos+size], delta, int64(delta&15), benchKey, benchValue, nil)
		delta++
	}
}

func BenchmarkBuilderAdd(b *testing.B) {
	builder := record.NewBuilder(benchBatch)
	b.ReportAllocs()
	b.SetBytes(int64(len(benchKey) + len(benchValue)))
	for b.Loop() {
		if !builder.Add(1700000000000, benchKey, benchValue, nil) {
			builder.Reset()
		}
	}
}

// fullBatch returns a batch of about a MiB.
func fullBatch(tb testing.TB, codec *record.Codec, c record.Compression, headers []record.Header) record.Batch {
	builder := record.NewBuilder(benchBatch)
	for ms := int64(1700000000000); builder.Add(ms, benchKey, benchValue, headers); ms += 1 {
	}
	batch, err := builder.Batch(codec, c, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return batch
}

func BenchmarkNext(b *testing.B) {
	for name, headers := range map[string][]record.Header{
		"plain":   nil,
		"headers": {{Key: "trace", Value: []byte("0123456789abcdef")}, {Key: "kind", Value: []byte("order")}},
	} {
		b.Run(name, func(b *testing.B) {
			batch := fullBatch(b, nil, record.None, headers)
			b.ReportAllocs()
			b.SetBytes(int64(batch.Size()) / int64(batch.Count))
			var it record.Iterator
			var r record.Record
			for b.Loop() {
				if !it.Next(&r) {
					it, _ = batch.Records(nil)
				}
			}
		})
	}
}

// BenchmarkReplay is what a consumer pays for each record of a batch that it
// read: header, checksum, decoding.
func BenchmarkReplay(b *testing.B) {
	raw := fullBatch(b, nil, record.None, nil).Bytes
	records := make([]record.Record, 512)
	var it record.Iterator
	left := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(benchKey) + len(benchValue)))
	for b.Loop() {
		if left > 0 {
			left--
			continue
		}
		if left = it.Fill(records, "topic", 0); left == 0 {
			batch, err := record.Parse(raw)
			if err != nil {
				b.Fatal(err)
			}
			it, _ = batch.Records(nil)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	batch := fullBatch(b, nil, record.None, nil)
	b.ReportAllocs()
	b.SetBytes(int64(batch.Size()))
	for b.Loop() {
		record.Seal(batch.Bytes, batch.BatchHeader)
	}
}

func BenchmarkChecksum(b *testing.B) {
	raw := make([]byte, benchBatch)
	table := crc32.MakeTable(crc32.Castagnoli)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		crc32.Checksum(raw, table)
	}
}

func BenchmarkCompression(b *testing.B) {
	codec := record.NewCodec(0)
	plain := fullBatch(b, nil, record.None, nil).Bytes[record.HeaderLen:]
	for c := record.Gzip; c <= record.Zstd; c++ {
		packed, err := codec.Compress(nil, c, 0, plain)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("compress/"+c.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(plain)))
			dst := make([]byte, 0, len(plain))
			for b.Loop() {
				dst, _ = codec.Compress(dst[:0], c, 0, plain)
			}
		})
		b.Run("decompress/"+c.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(plain)))
			dst := make([]byte, 0, len(plain))
			for b.Loop() {
				dst, _ = codec.Decompress(dst[:0], c, packed)
			}
		})
	}
}
