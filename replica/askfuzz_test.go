package replica

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func batchAt(offset int64) []byte {
	b := record.NewBuilder(1 << 10)
	b.Add(1000, nil, []byte("value"), nil)
	batch, _ := b.Batch(nil, record.None, 0)
	record.Stamp(batch.Bytes, offset, 3)
	return append([]byte(nil), batch.Bytes...)
}

// Another node's question is one that could have been asked, or an error.
func FuzzAsk(f *testing.F) {
	for what := askView; what <= askDelete; what++ {
		q := ask{what: what, level: 1, group: GroupID{topic.ID{1}, 7}, a: 100, b: 1 << 20}
		f.Add(q.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseAsk(b)
		if err != nil {
			require.ErrorIs(t, err, fault.InvalidRequest)
			return
		}
		require.Equal(t, b, q.encode())
	})
}

// Another node's answer has bounds that can be, and whole batches that follow each other,
// or is an error.
func FuzzReply(f *testing.F) {
	known := view{start: 2, high: 9, visible: [levels]int64{8, 7}, epoch: 3, leader: 1, voters: 3}
	for _, y := range []reply{
		{view: known},
		{view: known, batches: append(batchAt(4), batchAt(5)...)},
		{view: known, batches: batchAt(4), aborted: log.Aborted{{ProducerID: 1, FirstOffset: 2, LastOffset: 3, LastStable: 4}}},
		{view: known, value: 8, ms: 1000, found: true},
		{view: known, err: fault.Newf(fault.OffsetOutOfRange, "it holds 2 to 9").Try("seek")},
	} {
		f.Add(y.encode(5)[12:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		y, err := parseReply(b)
		if err != nil {
			require.ErrorIs(t, err, fault.InvalidRequest)
			return
		}
		require.LessOrEqual(t, slices.Max(y.visible[:]), y.high)
		next := int64(-1)
		for rest := y.batches; len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			require.NoError(t, err)
			require.True(t, next < 0 || h.BaseOffset == next)
			next, rest = h.NextOffset(), rest[h.Size():]
		}
		again, err := parseReply(y.encode(1)[12:])
		if y.err == nil || len(y.err.Detail) <= maxAnswer && len(y.err.Hint) <= maxAnswer {
			require.NoError(t, err)
			require.Equal(t, y, again)
		}
	})
}

// What an error says of its place, its cause and its remedy travels with it.
func TestErrorsOfAnotherNode(t *testing.T) {
	cause := fault.At(fault.OffsetOutOfRange, "orders", 3, 7).Detailf("it holds 2 to 9").Try("seek").Because(fault.Newf(fault.Storage, "why"))
	y, err := parseReply((&reply{err: errorIn(cause), view: view{leader: -1}}).encode(1)[12:])
	require.NoError(t, err)
	require.ErrorIs(t, y.err, fault.OffsetOutOfRange)
	require.Equal(t, int64(7), y.err.Offset)
	require.Equal(t, "seek", y.err.Hint)
	require.Contains(t, y.err.Detail, "it holds 2 to 9")
	require.Contains(t, y.err.Detail, "why")
}
