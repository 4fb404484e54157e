package record

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
)

// TestFillIsNextOverAndOver decodes batches, sound or damaged, both ways.
func TestFillIsNextOverAndOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBuilder(1 << 16)
		text := rapid.OneOf(
			rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 20), rapid.SliceOfN(rapid.Byte(), 100, 300))
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			var headers []Header
			if rapid.IntRange(0, 9).Draw(t, "headers") == 0 {
				headers = []Header{{Key: "h", Value: []byte("v")}}
			}
			ms := rapid.Int64Range(0, 1<<24).Draw(t, "time")
			b.Add(ms, text.Draw(t, "key"), text.Draw(t, "value"), headers)
		}
		batch, err := b.Batch(nil, None, 0)
		require.NoError(t, err)
		payload := slices.Clone(batch.Bytes[HeaderLen:])
		if rapid.Bool().Draw(t, "damage") {
			payload[rapid.IntRange(0, len(payload)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		if rapid.Bool().Draw(t, "append time") {
			batch.Attributes |= AttrLogAppendTime
		}

		var want []Record
		next := batch.Iterate(payload)
		for r := (Record{Topic: "t", Partition: 3}); next.Next(&r); {
			want = append(want, r)
		}
		var got []Record
		fill := batch.Iterate(payload)
		for {
			dst := make([]Record, rapid.IntRange(1, 7).Draw(t, "room"))
			n := fill.Fill(dst, "t", 3)
			got = append(got, dst[:n]...)
			if n < len(dst) {
				break
			}
		}
		require.Equal(t, want, got)
		require.Equal(t, next.Err(), fill.Err())
	})
}

func TestFillAllocatesNothing(t *testing.T) {
	b := NewBuilder(1 << 16)
	for b.Add(1, []byte("key"), make([]byte, 100), nil) {
	}
	batch, err := b.Batch(nil, None, 0)
	require.NoError(t, err)
	dst := make([]Record, 500)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		it := batch.Iterate(batch.Bytes[HeaderLen:])
		for it.Fill(dst, "t", 0) > 0 {
		}
	}))
}

// Offsets rise within a batch: a repeated one is damage, for usual records as
// for others.
func TestFillRefusesAnOffsetThatStandsTwice(t *testing.T) {
	buf := make([]byte, HeaderLen)
	for _, delta := range []int32{0, 0, 2} {
		value := make([]byte, 40)
		body := make([]byte, Size(delta, 0, nil, value, nil))
		Put(body, delta, 0, nil, value, nil)
		buf = append(buf, body...)
	}
	batch := Seal(buf, BatchHeader{Count: 3, LastOffsetDelta: 2, ProducerID: NoProducerID, BaseSequence: NoSequence})
	it, err := batch.Records(nil)
	require.NoError(t, err)
	require.Equal(t, 1, it.Fill(make([]Record, 3), "orders", 0))
	require.ErrorIs(t, it.Err(), fault.CorruptMessage)
}
