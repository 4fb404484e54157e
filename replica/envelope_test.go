package replica

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func groupOf(n int) GroupID { return GroupID{topic.ID{byte(n)}, int32(n)} }

func batchOf(t testing.TB, value string, offset int64, epoch int32) []byte {
	t.Helper()
	b := record.NewBuilder(1 << 20)
	require.True(t, b.Add(1, nil, []byte(value), nil))
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	record.Stamp(batch.Bytes, offset, epoch)
	return batch.Bytes
}

// One frame carries the messages of several groups, those with batches too.
func TestEnvelope(t *testing.T) {
	all := []Message{
		{Kind: KindHeartbeat, From: 1, To: 2, Term: 3, Commit: 4, Context: []byte("c")},
		{Kind: KindAppend, From: 1, To: 2, Term: 3, Index: 7, LogTerm: 2, Batches: [][]byte{batchOf(t, "a", 10, 3), batchOf(t, "b", 11, 3)}},
		{Kind: KindAppendReply, From: 1, To: 2, Term: 3, Index: 9, Reject: true, RejectHint: 5},
		{Kind: KindAppend, From: 1, To: 2, Term: 3, Index: 9, LogTerm: 2, Batches: [][]byte{batchOf(t, "c", 12, 3)}},
	}
	var e envelope
	for i := range all {
		require.True(t, e.add(groupOf(i), &all[i], 1<<20))
	}
	f := e.frame()
	require.Equal(t, f.Size(), f.Size())
	var got []Message
	require.NoError(t, openEnvelope(f.Header, f.Payload, func(g GroupID, m Message) {
		require.Equal(t, groupOf(len(got)), g)
		got = append(got, m)
	}))
	require.Equal(t, all, got)
}

// An envelope takes one message of any size, and further ones up to the limit.
func TestEnvelopeLimit(t *testing.T) {
	var e envelope
	large := Message{Kind: KindAppend, From: 1, To: 2, Term: 1, Batches: [][]byte{batchOf(t, string(make([]byte, 1000)), 0, 1)}}
	require.True(t, e.add(groupOf(1), &large, 100))
	size := e.size
	require.False(t, e.add(groupOf(1), &large, 2*size-4))
	require.Equal(t, size, e.frame().Size(), "what had no room left nothing behind")
	require.True(t, e.add(groupOf(1), &large, 2*size))
	require.True(t, e.add(groupOf(2), &large, 2*size))
	require.False(t, e.add(groupOf(3), &large, 2*size))
	n := 0
	f := e.frame()
	require.NoError(t, openEnvelope(f.Header, f.Payload, func(GroupID, Message) { n++ }))
	require.Equal(t, 2, n)
}

// Whatever a node sends, opening it returns an error or messages that encode to the
// same bytes.
func FuzzEnvelope(f *testing.F) {
	var e envelope
	m := Message{Kind: KindAppend, From: 1, To: 2, Term: 1, Batches: [][]byte{batchOf(f, "v", 0, 1)}}
	e.add(groupOf(1), &m, 1<<20)
	e.add(groupOf(2), &Message{Kind: KindVote, From: 1, To: 2, Term: 1}, 1<<20)
	frame := e.frame()
	f.Add(frame.Header, frame.Payload[0])
	f.Fuzz(func(t *testing.T, header, batch []byte) {
		var again envelope
		if openEnvelope(header, [][]byte{batch}, func(g GroupID, m Message) { again.add(g, &m, 1<<30) }) != nil {
			return
		}
		got := again.frame()
		require.Equal(t, header, got.Header)
		require.Equal(t, batch, bytes.Join(got.Payload, nil))
	})
}
