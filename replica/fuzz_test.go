package replica

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// sampleBatches are a batch of records, one of the leader's and one of members.
func sampleBatches() [][]byte {
	b := record.NewBuilder(1 << 10)
	b.Add(1, nil, []byte("value"), nil)
	records, _ := b.Batch(nil, record.None, 0)
	record.Stamp(records.Bytes, 7, 3)
	change, _ := parseChanges([]byte{0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4})
	return [][]byte{
		records.Bytes,
		controlBatch(5, controlLeaderChange, []byte{0, 0, 0, 0, 0, 1, 1, 1, 0}, 8, 3),
		controlBatch(5, controlMembers, encodeChanges(change), 9, 3),
	}
}

// A batch becomes an entry with the same bytes, or is refused.
func FuzzEntry(f *testing.F) {
	for _, b := range sampleBatches() {
		f.Add(uint64(4), b)
	}
	f.Fuzz(func(t *testing.T, index uint64, batch []byte) {
		e, err := entryOf(index, batch)
		if err != nil {
			return
		}
		h, err := record.ParseHeader(batch)
		require.NoError(t, err)
		require.Equal(t, batch, e.GetData())
		require.Equal(t, index, e.GetIndex())
		require.Equal(t, uint64(h.LeaderEpoch), e.GetTerm())
		require.NoError(t, record.Batch{BatchHeader: h, Bytes: batch}.VerifyCRC())
		s, err := slotOf(record.Batch{BatchHeader: h, Bytes: batch})
		if err != nil {
			return
		}
		require.Equal(t, batch, s.entry(index).GetData())
	})
}

func FuzzMessage(f *testing.F) {
	all := sampleBatches()
	for _, m := range []Message{
		{Kind: KindHeartbeat, From: 1, To: 2, Term: 3, Commit: 4, Context: []byte("context")},
		{Kind: KindAppend, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 2},
		{Kind: KindAppendReply, From: NewID(1, 2), To: 2, Term: 3, Index: 4, Reject: true, RejectHint: 2},
		{Kind: KindSnapshot, From: 1, To: 2, Term: 3, Snapshot: &Start{Index: 9, Term: 2, Offset: 30, Membership: Membership{Voters: []ID{1, 2}, Learners: []ID{3}}}},
	} {
		f.Add(m.AppendHeader(nil), bytes.Join(all, nil))
	}
	f.Fuzz(func(t *testing.T, header, batches []byte) {
		m, err := ParseMessage(header, batches)
		if err != nil {
			return
		}
		require.Equal(t, header, m.AppendHeader(nil))
		require.Equal(t, len(batches), len(bytes.Join(m.Batches, nil)))
		if r, err := m.toRaft(); err == nil && (m.Snapshot != nil) == (m.Kind == KindSnapshot) {
			require.Len(t, r.GetEntries(), len(m.Batches))
			back, err := fromRaft(r)
			require.NoError(t, err)
			back.Batches = m.Batches
			require.Equal(t, header, back.AppendHeader(nil))
		}
	})
}

func FuzzFiles(f *testing.F) {
	state := slotRecord{running: true, sequence: 4, id: 3, HardState: HardState{5, 2, 90}, synced: ending{88, 120, 5, 7}, origin: 11, group: 9, boot: 1}
	home := base{generation: 2, id: 3, start: Start{Index: 4, Term: 2, Offset: 17, Membership: Membership{Voters: []ID{1, 2, 3}, AutoLeave: true}}}
	home.changes = []Start{home.start}
	f.Add(state.encode())
	f.Add(home.encode())
	f.Add(mark{3, 2, 40, 5}.encode(2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := decodeSlot(b); ok {
			again, ok := decodeSlot(r.encode())
			require.True(t, ok)
			require.Equal(t, r, again)
		}
		if d, err := decodeBase(b); err == nil {
			again, err := decodeBase(d.encode())
			require.NoError(t, err)
			require.Equal(t, d, again)
		}
		if len(b) >= markLen {
			if m, ok := decodeMark(b, 2); ok {
				require.Equal(t, b[:markLen], m.encode(2))
			}
		}
		if change, err := parseChanges(b); err == nil {
			require.Equal(t, b, encodeChanges(change))
		}
	})
}

// What the fields of the files are worth is in their checksums.
func TestFilesNoticeEveryFlippedBit(t *testing.T) {
	state := slotRecord{running: true, sequence: 4, id: 3, HardState: HardState{5, 2, 90}, synced: ending{88, 120, 5, 7}}
	home := base{generation: 2, id: 3, start: Start{Index: 4, Term: 2, Offset: 17, Membership: Membership{Voters: []ID{1, 2, 3}}}}
	for name, c := range map[string]struct {
		b     []byte
		valid func(b []byte) bool
	}{
		"vote":    {state.encode(), func(b []byte) bool { _, ok := decodeSlot(b); return ok }},
		"replica": {home.encode(), func(b []byte) bool { _, err := decodeBase(b); return err == nil }},
		"index":   {mark{3, 2, 40, 5}.encode(2), func(b []byte) bool { _, ok := decodeMark(b, 2); return ok }},
	} {
		require.True(t, c.valid(c.b), name)
		for i := range len(c.b) * 8 {
			c.b[i/8] ^= 1 << (i % 8)
			require.False(t, c.valid(c.b), "%s, bit %d", name, i)
			c.b[i/8] ^= 1 << (i % 8)
		}
	}
}

// A write of a vote that the power cuts off anywhere leaves the one before.
func TestFilesSurviveTornWrites(t *testing.T) {
	for votes := 1; votes < 8; votes++ {
		for torn := range 2*slotLen + 1 {
			fs := vfs.NewMemory()
			require.NoError(t, fs.MkdirAll("/d"))
			require.NoError(t, createState(fs, "/d", slotRecord{id: 3}))
			s, err := openState(fs, "/d")
			require.NoError(t, err)
			for i := range votes {
				s.Term = uint64(i + 1)
				require.NoError(t, s.write())
				require.NoError(t, s.sync())
			}
			// The next write, of which so many bytes arrive and the rest of the slots is garbage.
			next := *s
			next.Term++
			next.sequence++
			b := next.encode()
			for k, slot := range []int{s.slot, (s.slot + 1) % slots} {
				part := bytes.Repeat([]byte{0xa5}, slotLen)
				copy(part, b[:min(max(torn-k*slotLen, 0), slotLen)])
				_, err := s.file.WriteAt(part, int64(slot*slotLen))
				require.NoError(t, err)
			}
			again, err := openState(fs, "/d")
			require.NoError(t, err)
			require.NotNil(t, again)
			require.GreaterOrEqual(t, again.Term, uint64(votes))
		}
	}
}
