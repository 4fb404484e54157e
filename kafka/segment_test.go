package kafka_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// decoded is a batch of a segment as franz-go reads it, without any code of
// package record.
type decoded struct {
	kmsg.RecordBatch
	records []kmsg.Record
}

// decode reads a segment file with franz-go's decoder, decompressors and
// hash/crc32. Zeros at the end are preallocated space.
func decode(t *testing.T, segment []byte) []decoded {
	t.Helper()
	var batches []decoded
	for len(bytes.TrimRight(segment, "\x00")) > 0 {
		require.GreaterOrEqual(t, len(segment), 61)
		size := 12 + int(binary.BigEndian.Uint32(segment[8:]))
		require.GreaterOrEqual(t, len(segment), size)
		raw := segment[:size]
		segment = segment[size:]

		var d decoded
		require.NoError(t, d.ReadFrom(raw))
		require.EqualValues(t, 2, d.Magic)
		sum := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))
		require.Equal(t, sum, uint32(d.CRC), "checksum of the batch at offset %d", d.FirstOffset)
		records, err := kgo.DefaultDecompressor().Decompress(d.Records, kgo.CompressionCodecType(d.Attributes&7))
		require.NoError(t, err)
		for range d.NumRecords {
			_, n := binary.Varint(records)
			length, _ := binary.Varint(records)
			end := n + int(length)
			require.LessOrEqual(t, end, len(records))
			var r kmsg.Record
			require.NoError(t, r.ReadFrom(records[:end]))
			d.records = append(d.records, r)
			records = records[end:]
		}
		require.Empty(t, records, "bytes after the last record")
		batches = append(batches, d)
	}
	return batches
}

// Segments that runnel writes through its public API are read with Kafka's own
// format: every record, whatever the compression, with its nulls, headers and
// times.
func TestSegmentsAreKafkas(t *testing.T) {
	dir := t.TempDir()
	broker, err := runnel.Open(dir)
	require.NoError(t, err)
	defer broker.Close()
	ctx := t.Context()
	require.NoError(t, broker.CreateTopics(ctx, topic.Spec{Name: "odd", Config: topic.Config{Retention: topic.Forever}}))

	records := []record.Record{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: time.UnixMilli(1_700_000_000_000)},
		{Value: []byte("no key"), Timestamp: time.UnixMilli(1_700_000_000_007)},
		{Key: []byte("tombstone"), Timestamp: time.UnixMilli(1_600_000_000_000)},
		{Key: []byte{}, Value: []byte{}, Timestamp: time.UnixMilli(0)},
		{Key: []byte("headers"), Value: []byte("这是第一条消息"), Timestamp: time.UnixMilli(1), Headers: []record.Header{
			{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "empty", Value: []byte{}}, {Key: "null"},
		}},
		{Key: []byte("large"), Value: []byte(strings.Repeat("compressible ", 5000)), Timestamp: time.UnixMilli(2)},
	}
	compressions := []record.Compression{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}
	for _, c := range compressions {
		p, err := producer.New(broker, producer.Compression(c), producer.Linger(time.Hour))
		require.NoError(t, err)
		for _, r := range records {
			r.Topic = "odd"
			p.SendAsync(ctx, r, func(_ record.Position, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		require.NoError(t, p.Flush(ctx))
		require.NoError(t, p.Close())
	}
	require.NoError(t, broker.Close())

	segment, err := os.ReadFile(filepath.Join(dir, "odd-0", fmt.Sprintf("%020d.log", 0)))
	require.NoError(t, err)
	next := 0
	for _, batch := range decode(t, segment) {
		require.EqualValues(t, next, batch.FirstOffset)
		for _, got := range batch.records {
			want := records[next%len(records)]
			require.EqualValues(t, compressions[next/len(records)], batch.Attributes&7)
			require.EqualValues(t, next, batch.FirstOffset+int64(got.OffsetDelta))
			require.Equal(t, want.Timestamp.UnixMilli(), batch.FirstTimestamp+got.TimestampDelta64)
			require.Equal(t, want.Key, got.Key)
			require.Equal(t, want.Value, got.Value)
			require.Len(t, got.Headers, len(want.Headers))
			for i, h := range want.Headers {
				require.Equal(t, h.Key, got.Headers[i].Key)
				require.Equal(t, h.Value, got.Headers[i].Value)
			}
			next++
		}
		require.EqualValues(t, next-1, batch.FirstOffset+int64(batch.LastOffsetDelta))
	}
	require.Equal(t, len(records)*len(compressions), next)
}

// franz-go and package record decode the same from batches that Kafka wrote.
func TestGoldenBatchesReadTheSame(t *testing.T) {
	const dir = "../record/testdata/golden"
	text, err := os.ReadFile(filepath.Join(dir, "batches.json"))
	require.NoError(t, err)
	var files []struct{ File string }
	require.NoError(t, json.Unmarshal(text, &files))
	require.NotEmpty(t, files)
	codec := record.NewCodec(0)
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join(dir, file.File))
		require.NoError(t, err)
		for _, theirs := range decode(t, raw) {
			ours, err := record.Parse(raw)
			require.NoError(t, err, file.File)
			raw = raw[ours.Size():]
			require.Equal(t, theirs.FirstOffset, ours.BaseOffset)
			require.Equal(t, uint32(theirs.CRC), ours.CRC)
			require.Equal(t, theirs.Attributes, ours.Attributes)
			require.Equal(t, theirs.MaxTimestamp, ours.MaxTimestamp)
			require.Equal(t, theirs.ProducerID, ours.ProducerID)
			require.EqualValues(t, theirs.NumRecords, ours.Count)
			it, err := ours.Records(codec)
			require.NoError(t, err)
			var r record.Record
			for _, their := range theirs.records {
				require.True(t, it.Next(&r), file.File)
				require.Equal(t, theirs.FirstOffset+int64(their.OffsetDelta), r.Offset)
				require.Equal(t, their.Key, r.Key)
				require.Equal(t, their.Value, r.Value)
				require.Len(t, r.Headers, len(their.Headers))
				for i, h := range their.Headers {
					require.Equal(t, record.Header{Key: h.Key, Value: h.Value}, r.Headers[i])
				}
			}
			require.False(t, it.Next(&r))
			require.NoError(t, it.Err())
		}
	}
}

// Package record reads what a Kafka client compresses, and the other way round.
// The suite's records already crossed the wire both ways; here both are applied
// to one batch.
func TestCompressionsAgree(t *testing.T) {
	b := record.NewBuilder(1 << 20)
	for i := range 100 {
		require.True(t, b.Add(int64(i), []byte("key"), bytes.Repeat([]byte{byte(i)}, 100), nil))
	}
	codec := record.NewCodec(0)
	for _, c := range []record.Compression{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		batch, err := b.Batch(codec, c, 0)
		require.NoError(t, err)
		require.Len(t, decode(t, batch.Bytes)[0].records, 100, c)

		plain, err := batch.Payload(codec, nil)
		require.NoError(t, err)
		compressor, err := kgo.DefaultCompressor(map[record.Compression]kgo.CompressionCodec{
			record.None: kgo.NoCompression(), record.Gzip: kgo.GzipCompression(), record.Snappy: kgo.SnappyCompression(),
			record.LZ4: kgo.Lz4Compression(), record.Zstd: kgo.ZstdCompression(),
		}[c])
		require.NoError(t, err)
		packed := plain
		if compressor != nil {
			packed, _ = compressor.Compress(new(bytes.Buffer), plain)
		}
		back, err := codec.Decompress(nil, c, packed)
		if c == record.None {
			back, err = packed, nil
		}
		require.NoError(t, err, c)
		require.True(t, bytes.Equal(plain, back), c)
	}
}
