package record_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// nullableBytes draws null, empty and other bytes, now and then long ones.
func nullableBytes() *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.Just([]byte(nil)),
		rapid.Just([]byte{}),
		rapid.SliceOfN(rapid.Byte(), 1, 24),
		rapid.Custom(func(t *rapid.T) []byte {
			return make([]byte, rapid.SampledFrom([]int{62, 63, 64, 65, 8190, 8191, 8192, 70000}).Draw(t, "length"))
		}),
	)
}

type event struct {
	ms         int64
	key, value []byte
	headers    []record.Header
}

func events() *rapid.Generator[event] {
	return rapid.Custom(func(t *rapid.T) event {
		e := event{
			ms:    rapid.OneOf(rapid.Int64Range(1700000000000, 1700000000100), rapid.Int64()).Draw(t, "ms"),
			key:   nullableBytes().Draw(t, "key"),
			value: nullableBytes().Draw(t, "value"),
		}
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 2, 40, 70}).Draw(t, "headers") {
			e.headers = append(e.headers, record.Header{
				Key: rapid.StringN(0, 5, -1).Draw(t, "header"), Value: nullableBytes().Draw(t, "header value"),
			})
		}
		return e
	})
}

// TestRoundTrip encodes any records with any compression, and reads them back
// exactly, at any offset.
func TestRoundTrip(t *testing.T) {
	codec := record.NewCodec(0)
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(events(), 1, 30).Draw(t, "events")
		c := record.Compression(rapid.IntRange(0, 4).Draw(t, "compression"))
		base := rapid.Int64Range(0, 1<<60).Draw(t, "base")

		b := record.NewBuilder(16 << 20)
		length := record.HeaderLen
		for i, e := range want {
			require.True(t, b.Add(e.ms, e.key, e.value, e.headers))
			length += record.Size(int32(i), e.ms-want[0].ms, e.key, e.value, e.headers)
			require.Equal(t, length, b.Len())
			require.Equal(t, i+1, b.Count())
			overhead := record.MaxRecordOverhead + len(e.key) + len(e.value)
			for _, h := range e.headers {
				overhead += record.MaxHeaderOverhead + len(h.Key) + len(h.Value)
			}
			require.LessOrEqual(t, record.Size(int32(i), e.ms-want[0].ms, e.key, e.value, e.headers), overhead)
		}
		built, err := b.Batch(codec, c, 0)
		require.NoError(t, err)
		record.Stamp(built.Bytes, base, 3)

		batch, err := record.Parse(built.Bytes)
		require.NoError(t, err)
		require.Equal(t, c, batch.Compression())
		records, err := decodeAll(batch, codec)
		require.NoError(t, err)
		require.Len(t, records, len(want))
		for i, r := range records {
			require.Equal(t, record.Record{
				LeaderEpoch: 3, Offset: base + int64(i), Timestamp: r.Timestamp,
				Key: want[i].key, Value: want[i].value, Headers: want[i].headers,
			}, r)
			require.Equal(t, want[i].ms, r.Timestamp.UnixMilli())
		}
	})
}

// TestPutAtAnyDelta checks Size and Put for deltas that a Builder reaches late or
// never.
func TestPutAtAnyDelta(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delta := rapid.Int32Range(0, 1<<31-1).Draw(t, "offset delta")
		ms := rapid.Int64().Draw(t, "timestamp delta")
		e := events().Draw(t, "event")
		size := record.Size(delta, ms, e.key, e.value, e.headers)
		raw := make([]byte, record.HeaderLen+size)
		require.Equal(t, size, record.Put(raw[record.HeaderLen:], delta, ms, e.key, e.value, e.headers))
		b := record.Seal(raw, record.BatchHeader{LastOffsetDelta: delta, Count: 1})
		records, err := readAll(b.Bytes)
		require.NoError(t, err)
		require.Equal(t, int64(delta), records[0].Offset)
		require.Equal(t, ms, records[0].Timestamp.UnixMilli())
		require.Equal(t, e.key, records[0].Key)
		require.Equal(t, e.value, records[0].Value)
		require.Equal(t, e.headers, records[0].Headers)
	})
}

func TestPutWantsExactlySizeBytes(t *testing.T) {
	size := record.Size(0, 0, nil, []byte("value"), nil)
	for _, n := range []int{0, size - 1, size + 1, size + 100} {
		require.Panics(t, func() { record.Put(make([]byte, n), 0, 0, nil, []byte("value"), nil) }, n)
	}
}

func TestBuilderKeepsItsLimit(t *testing.T) {
	value := make([]byte, 100)
	one := record.Size(0, 0, nil, value, nil)
	b := record.NewBuilder(record.HeaderLen + 3*one)
	for range 3 {
		require.True(t, b.Add(5, nil, value, nil))
	}
	require.False(t, b.Add(5, nil, nil, nil), "one byte more would pass the limit")
	require.Equal(t, 3, b.Count())
	require.Equal(t, record.HeaderLen+3*one, b.Len())
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	require.Equal(t, record.HeaderLen+3*one, batch.Size())

	b.Reset()
	require.Zero(t, b.Count())
	require.True(t, b.Add(9, nil, make([]byte, 10000), nil), "an only record may be larger")
	require.False(t, b.Add(9, nil, nil, nil))
	batch, err = b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	require.Equal(t, int64(9), batch.BaseTimestamp)
	require.Equal(t, int64(9), batch.MaxTimestamp)
}

func TestBuilderIsFilledToTheByte(t *testing.T) {
	full := record.HeaderLen + record.Size(0, 0, nil, nil, nil) + record.Size(1, 0, nil, nil, nil)
	for _, limit := range []int{full, full - 1} {
		b := record.NewBuilder(limit)
		require.True(t, b.Add(5, nil, nil, nil))
		require.Equal(t, limit == full, b.Add(5, nil, nil, nil))
	}
}

// A batch's largest timestamp is that of its latest record, wherever that is.
func TestBuilderKeepsTheLatestTime(t *testing.T) {
	b := record.NewBuilder(1 << 10)
	for _, ms := range []int64{5, 9, 7} {
		require.True(t, b.Add(ms, nil, nil, nil))
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	require.Equal(t, int64(9), batch.MaxTimestamp)
	require.Equal(t, int64(5), batch.BaseTimestamp)
}

// Sequences continue at 0 after 2^31-1, also within a batch.
func TestSequencesBeginAgain(t *testing.T) {
	h := record.BatchHeader{BaseSequence: math.MaxInt32 - 1, LastOffsetDelta: 3}
	require.Equal(t, int32(1), h.LastSequence())
	h.BaseSequence = record.NoSequence
	require.Equal(t, record.NoSequence, h.LastSequence())
}

func TestBuilderWithoutRecords(t *testing.T) {
	_, err := record.NewBuilder(100).Batch(nil, record.None, 0)
	require.ErrorIs(t, err, fault.InvalidRecord)
}

func TestBuilderInSteadyUseAllocatesNothing(t *testing.T) {
	b := record.NewBuilder(64 << 10)
	run := func() {
		b.Reset()
		for b.Add(1, benchKey, benchValue, nil) {
		}
		if _, err := b.Batch(nil, record.None, 0); err != nil {
			panic(err)
		}
	}
	run()
	require.Zero(t, testing.AllocsPerRun(10, run))
}
