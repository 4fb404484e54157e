package log

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// opaqueOf returns a batch whose checksum matches, and whose records this program cannot
// decode.
func opaqueOf(base int64, epoch int32, count int32) []byte {
	raw := append(make([]byte, record.HeaderLen), bytes.Repeat([]byte("no zstd "), 20)...)
	record.Seal(raw, record.BatchHeader{
		BaseOffset: base, LeaderEpoch: epoch, Attributes: int16(record.Zstd), LastOffsetDelta: count - 1, Count: count,
		BaseTimestamp: base * 1000, MaxTimestamp: (base + int64(count) - 1) * 1000,
		ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
	})
	return raw
}

// TestOpaqueBatchIsNoDamage: what cannot be decoded and has its checksum is called
// what it is, and a repair of what lies around it leaves it alone, whatever else
// is to be made good.
func TestOpaqueBatchIsNoDamage(t *testing.T) {
	cfg := memoryConfig()
	cfg.Codec = testCodec
	l, _ := open(t, cfg)
	appendN(t, l, 2, 3, 40)
	opaque := opaqueOf(l.EndOffset(), 0, 4)
	at := int(l.list()[0].size.Load())
	require.NoError(t, l.Append(opaque, nil))
	appendN(t, l, 2, 3, 40)
	_, _, _, err := l.OffsetForTime(7000)
	require.ErrorIs(t, err, fault.Undecodable, "a time within it")
	require.NotErrorIs(t, err, fault.CorruptMessage)
	offset, _, ok, err := l.OffsetForTime(10_000)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 10, offset)
	require.NoError(t, l.Close())

	found := inspected(t, cfg)
	require.Equal(t, Opaque, found.Worst(), "%v", found.Findings)
	require.Len(t, found.Findings, 1)
	require.Equal(t, []int64{6, 10, int64(at)}, []int64{found.Findings[0].Offset, found.Findings[0].Next, found.Findings[0].Pos})
	require.Contains(t, found.Findings[0].Found, "the right checksum")
	require.EqualValues(t, 12, found.Records)
	require.Empty(t, repaired(t, cfg, true))

	for name, spoil := range map[string]func([]byte){
		"the batch before is damaged": func(b []byte) { b[at-1] ^= 1 },
		"the batch behind is damaged": func(b []byte) { b[at+len(opaque)+record.HeaderLen] ^= 1 },
		"its leader epoch is":         func(b []byte) { b[at+15] ^= 1 },
	} {
		cfg := copyDir(t, cfg, name)
		path := cfg.Dir + "/00000000000000000000.log"
		spoiled := readFile(t, cfg.FS, path)
		spoil(spoiled)
		writeFile(t, cfg.FS, path, spoiled)
		steps := repaired(t, cfg, false)
		require.NotEmpty(t, steps, name)
		require.Contains(t, string(readFile(t, cfg.FS, path)), string(opaque), name)
		require.Equal(t, Opaque, inspected(t, cfg).Worst(), name)
	}
}

// TestCompactionKeepsOpaqueBatches: it goes on over a batch that it cannot look
// into, keeps it byte for byte, and with it the tombstones behind: there may be
// records in it that they delete.
func TestCompactionKeepsOpaqueBatches(t *testing.T) {
	cfg := memoryConfig()
	cfg.Codec, cfg.SegmentBytes, cfg.TailBytes = testCodec, 1, -1 // a segment for each batch
	l, _ := open(t, cfg)
	add := func(raw []byte) { require.NoError(t, l.Append(raw, nil)) }
	add(encodeKeyed([]keyed{{offset: 0, ms: 1, key: "a", value: "old"}, {offset: 1, ms: 2, key: "b", value: "stays"}}, 0, record.None))
	opaque := opaqueOf(2, 0, 3)
	add(opaque)
	add(encodeKeyed([]keyed{{offset: 5, ms: 3, key: "a", value: "new"}, {offset: 6, ms: 4, key: "c", tombstone: true}}, 0, record.None))
	add(encodeKeyed([]keyed{{offset: 7, ms: 5, key: "end", value: "end"}}, 0, record.None))

	var done CompactStats
	for n := range 2 { // the second time the tombstone's time is over
		d, err := l.Compact(t.Context(), Compaction{Now: 10 + int64(n)*time.Hour.Milliseconds(), Limit: l.EndOffset(), DeleteRetention: time.Minute}, l.Swap)
		require.NoError(t, err)
		done.Records += d.Records
	}
	require.EqualValues(t, 1, done.Records, "the old a")
	dirt, err := l.DirtyRange(Compaction{Now: 2 * time.Hour.Milliseconds(), Limit: l.EndOffset()})
	require.NoError(t, err)
	require.Greater(t, dirt.Horizon, 2*time.Hour.Milliseconds(), "nothing is due again and again")
	require.NoError(t, l.Close())
	b := readFile(t, cfg.FS, cfg.Dir+"/00000000000000000000.log")
	require.Contains(t, string(b), string(opaque))
	require.Contains(t, string(b), "stays")
	require.NotContains(t, string(b), "old")
	require.Equal(t, Opaque, inspected(t, cfg).Worst())

	var kept []string
	for rest := b; len(rest) > 0; {
		batch, err := record.Parse(rest)
		require.NoError(t, err)
		rest = rest[batch.Size():]
		if it, err := batch.Records(testCodec); err == nil {
			for r := (record.Record{}); it.Next(&r); {
				kept = append(kept, string(r.Key)+"="+string(r.Value))
			}
		}
	}
	require.Equal(t, []string{"b=stays", "a=new", "c="}, kept)
}

// TestFutureCompression opens a log in which a newer Kafka has used a compression
// that this program lacks: everything else is read, and nothing is truncated.
func TestFutureCompression(t *testing.T) {
	cfg := memoryConfig()
	cfg.Codec = testCodec
	raw := opaqueOf(2, 0, 1)
	h := headerOf(raw)
	h.Attributes = 6
	record.Seal(raw, h)
	require.NoError(t, cfg.FS.MkdirAll(cfg.Dir))
	writeFile(t, cfg.FS, cfg.Dir+"/00000000000000000000.log", slices.Concat(batchOf(0, 0, 2, 40), raw, batchOf(3, 0, 2, 40)))
	require.Equal(t, Opaque, inspected(t, cfg).Worst())
	l, r := open(t, cfg)
	require.Zero(t, r.Cut)
	require.EqualValues(t, 5, l.EndOffset())
	s, err := l.Read(2, 5, 1, nil)
	require.NoError(t, err)
	require.Equal(t, raw, s.Bytes)
}
