package record_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// golden is testdata/golden/batches.json: what Kafka's own code says about the
// batches that it wrote beside it.
type golden struct {
	File    string
	Note    string
	Batches []goldenBatch
}

type goldenBatch struct {
	BaseOffset    int64  `json:"base_offset"`
	LastOffset    int64  `json:"last_offset"`
	LeaderEpoch   int32  `json:"leader_epoch"`
	CRC           uint32 `json:"crc"`
	Size          int    `json:"size"`
	Compression   string `json:"compression"`
	TimestampType string `json:"timestamp_type"`
	MaxTimestamp  int64  `json:"max_timestamp"`
	BaseTimestamp int64  `json:"base_timestamp"`
	Transactional bool   `json:"transactional"`
	Control       bool   `json:"control"`
	DeleteHorizon *int64 `json:"delete_horizon_ms"`
	ProducerID    int64  `json:"producer_id"`
	ProducerEpoch int16  `json:"producer_epoch"`
	BaseSequence  int32  `json:"base_sequence"`
	Records       []goldenRecord
}

type goldenRecord struct {
	Offset      int64
	Timestamp   int64
	Key, Value  *string
	Headers     [][2]*string
	ValueSHA    string `json:"value_sha256"`
	ValueLength int    `json:"value_length"`
}

func loadGolden(t testing.TB) []golden {
	text, err := os.ReadFile(filepath.Join("testdata", "golden", "batches.json"))
	require.NoError(t, err)
	var files []golden
	require.NoError(t, json.Unmarshal(text, &files))
	require.NotEmpty(t, files)
	return files
}

func goldenBytes(t testing.TB, file string) []byte {
	raw, err := os.ReadFile(filepath.Join("testdata", "golden", file))
	require.NoError(t, err)
	return raw
}

// unhex turns null into nil, and the empty string into an empty slice.
func unhex(t testing.TB, s *string) []byte {
	if s == nil {
		return nil
	}
	b, err := hex.DecodeString(*s)
	require.NoError(t, err)
	return b
}

func TestGoldenBatchesDecode(t *testing.T) {
	codec := record.NewCodec(0)
	for _, file := range loadGolden(t) {
		t.Run(file.File, func(t *testing.T) {
			raw := goldenBytes(t, file.File)
			for _, want := range file.Batches {
				b, err := record.Parse(raw)
				require.NoError(t, err)
				raw = raw[b.Size():]
				requireHeader(t, want, b.BatchHeader)
				requireRecords(t, want, b, codec)
			}
			require.Empty(t, raw)
		})
	}
}

func requireHeader(t *testing.T, want goldenBatch, h record.BatchHeader) {
	t.Helper()
	require.Equal(t, want.BaseOffset, h.BaseOffset)
	require.Equal(t, want.LastOffset, h.LastOffset())
	require.Equal(t, want.LastOffset+1, h.NextOffset())
	require.Equal(t, want.LeaderEpoch, h.LeaderEpoch)
	require.Equal(t, want.CRC, h.CRC)
	require.Equal(t, want.Size, h.Size())
	require.Equal(t, want.Compression, h.Compression().String())
	require.Equal(t, want.TimestampType == "LogAppendTime", h.LogAppendTime())
	require.Equal(t, want.MaxTimestamp, h.MaxTimestamp)
	require.Equal(t, want.BaseTimestamp, h.BaseTimestamp)
	require.Equal(t, want.Transactional, h.Transactional())
	require.Equal(t, want.Control, h.Control())
	horizon, ok := h.DeleteHorizon()
	require.Equal(t, want.DeleteHorizon != nil, ok)
	if ok {
		require.Equal(t, *want.DeleteHorizon, horizon)
	}
	require.Equal(t, want.ProducerID, h.ProducerID)
	require.Equal(t, want.ProducerEpoch, h.ProducerEpoch)
	require.Equal(t, want.BaseSequence, h.BaseSequence)
	require.Equal(t, len(want.Records), int(h.Count))
}

func requireRecords(t *testing.T, want goldenBatch, b record.Batch, codec *record.Codec) {
	t.Helper()
	it, err := b.Records(codec)
	require.NoError(t, err)
	var r record.Record
	for _, w := range want.Records {
		require.True(t, it.Next(&r), it.Err())
		require.Equal(t, w.Offset, r.Offset)
		require.Equal(t, want.LeaderEpoch, r.LeaderEpoch)
		require.Equal(t, time.UnixMilli(w.Timestamp), r.Timestamp)
		require.Equal(t, unhex(t, w.Key), r.Key)
		require.Equal(t, len(r.Value), cap(r.Value))
		if w.ValueSHA != "" {
			sum := sha256.Sum256(r.Value)
			require.Equal(t, w.ValueSHA, hex.EncodeToString(sum[:]))
			require.Len(t, r.Value, w.ValueLength)
		} else {
			require.Equal(t, unhex(t, w.Value), r.Value)
		}
		require.Len(t, r.Headers, len(w.Headers))
		for i, h := range w.Headers {
			require.Equal(t, record.Header{Key: *h[0], Value: unhex(t, h[1])}, r.Headers[i])
		}
	}
	require.False(t, it.Next(&r))
	require.NoError(t, it.Err())
}

// TestGoldenBatchesEncode encodes what was decoded from the uncompressed batches
// again and wants Kafka's bytes, every one of them.
func TestGoldenBatchesEncode(t *testing.T) {
	for _, file := range loadGolden(t) {
		raw := goldenBytes(t, file.File)
		for _, want := range file.Batches {
			b, err := record.Parse(raw)
			require.NoError(t, err)
			raw = raw[b.Size():]
			if want.Compression == "none" {
				t.Run(file.File, func(t *testing.T) {
					require.Equal(t, b.Bytes, encodeAgain(t, want, b.BatchHeader))
				})
			}
		}
	}
}

func encodeAgain(t *testing.T, want goldenBatch, h record.BatchHeader) []byte {
	buf := make([]byte, record.HeaderLen)
	for _, w := range want.Records {
		var headers []record.Header
		for _, hd := range w.Headers {
			headers = append(headers, record.Header{Key: *hd[0], Value: unhex(t, hd[1])})
		}
		key, value := unhex(t, w.Key), unhex(t, w.Value)
		offset, timestamp := int32(w.Offset-want.BaseOffset), w.Timestamp-want.BaseTimestamp
		if want.TimestampType == "LogAppendTime" {
			timestamp = int64(offset) // what its writer gave, which no reader sees
		}
		size := record.Size(offset, timestamp, key, value, headers)
		at := len(buf)
		buf = append(buf, make([]byte, size)...)
		require.Equal(t, size, record.Put(buf[at:], offset, timestamp, key, value, headers))
	}
	h.Length, h.CRC = 0, 0
	sealed := record.Seal(buf, h)
	require.Equal(t, want.Size, sealed.Size())
	require.Equal(t, want.CRC, sealed.CRC)
	return sealed.Bytes
}
