package log

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
)

func TestList(t *testing.T) {
	cfg := manySegments(t, true)
	list := func(name string) Listing {
		l, err := List(filepath.Join(cfg.Dir, name), readFile(t, cfg.FS, filepath.Join(cfg.Dir, name)))
		require.NoError(t, err)
		for _, row := range l.Rows {
			require.Len(t, row, len(l.Columns))
		}
		return l
	}
	require.Equal(t, [][]any{{int64(0), int64(13), int64(172)}}, list("00000000000000000008.index").Rows)
	require.Equal(t, [][]any{{int64(0), int64(13000), int64(13)}, {int64(12), int64(15000), int64(15)}}, list("00000000000000000008.timeindex").Rows)
	require.Equal(t, []any{int32(0), int64(0)}, list(epochName).Rows[0])
	checkpoint := fmt.Sprint(list(checkpointName).Rows)
	require.Contains(t, checkpoint, "[closed true false]")
	require.Contains(t, checkpoint, "[durable offset 30 28]")

	l, err := List("partition.metadata", []byte("version: 0\ntopic_id: AQ\n"))
	require.NoError(t, err)
	require.Equal(t, [][]any{{"version", "0"}, {"topic_id", "AQ"}}, l.Rows)

	ps := producers{}
	h := headerOf(batchOf(0, 0, 3, 10))
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = 7, 1, 4
	ps.fold(&h, nil)
	l, err = List("00000000000000000003.snapshot", ps.encode())
	require.NoError(t, err)
	require.Equal(t, [][]any{{int64(7), int16(1), int32(6), int64(0), int64(2), int64(2000), int32(-1), int64(-1)}}, l.Rows)

	_, err = List("README", nil)
	require.ErrorIs(t, err, fault.InvalidRequest)
}

// TestListOfKafka lists what a transactional producer leaves, and what only Kafka
// keeps.
func TestListOfKafka(t *testing.T) {
	// An open transaction, and a producer that has only ended one, as Kafka 4.3 wrote them.
	snapshot, err := hex.DecodeString("0001be71a531000000020000000000000008001effffffffffffffffffffffff00000000000001a21bf97a5800000000ffffffffffffffff" +
		"000000000000000e0000000000630000000000000531000000630000" + "01a21bf98d86ffffffff00000000000004ce")
	require.NoError(t, err)
	aborted := append(make([]byte, 2), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(
		binary.BigEndian.AppendUint64(nil, 8), 82), 122), 123)...)
	for name, test := range map[string]struct {
		bytes []byte
		rows  [][]any
	}{
		"00000000000000001330.snapshot": {snapshot, [][]any{
			{int64(8), int16(30), int32(-1), int64(-1), int64(-1), int64(1795765664344), int32(0), int64(-1)},
			{int64(14), int16(0), int32(99), int64(1230), int64(1329), int64(1795765669254), int32(-1), int64(1230)},
		}},
		"00000000000000000000.txnindex": {aborted, [][]any{{int64(0), int64(8), int64(82), int64(122), int64(123)}}},
		"00000000000000000000.index": {append(encodeOffsets([]offsetEntry{newOffsetEntry(5, 256)}), make([]byte, 4096)...), [][]any{
			{int64(0), int64(5), int64(256)},
		}}, // with room that a broker has made
		"log-start-offset-checkpoint": {[]byte("0\n1\nkcut 0 1234\n"), [][]any{{"kcut", int32(0), int64(1234)}}},
		"meta.properties":             {[]byte("#\n#Fri Nov 27\nnode.id=1\nversion=1\n"), [][]any{{"node.id", "1"}, {"version", "1"}}},
		"quorum-state":                {[]byte(`{"clusterId":"","leaderId":1,"currentVoters":[{"voterId":1}]}`), [][]any{{`{"clusterId":"","leaderId":1,"currentVoters":[{"voterId":1}]}`}}},
		".kafka_cleanshutdown":        {nil, nil},
	} {
		require.True(t, Listed("data/x-0/"+name), name)
		l, err := List("data/x-0/"+name, test.bytes)
		require.NoError(t, err, name)
		require.Equal(t, test.rows, l.Rows, name)
	}
}

// TestListDamage lists what is sound, and names the place of what is not.
func TestListDamage(t *testing.T) {
	for name, test := range map[string]struct {
		bytes []byte
		rows  int
		pos   int64
	}{
		"00000000000000000000.index":     {encodeOffsets([]offsetEntry{newOffsetEntry(5, 100), newOffsetEntry(4, 200)}), 2, 8},
		"00000000000000000001.index":     {append(encodeOffsets([]offsetEntry{newOffsetEntry(5, 100)}), 1), 1, 8},
		"00000000000000000000.timeindex": {encodeTimes([]timeEntry{{9, 1}, {9, 2}}), 2, 12},
		"00000000000000000000.snapshot":  {[]byte("?"), 0, 0},
		epochName:                        {[]byte("?"), 0, 0},
		"00000000000000000000.txnindex":  {append(make([]byte, txnEntryLen-1), 1, 0, 7), 1, txnEntryLen},
		"replication-offset-checkpoint":  {[]byte("0\n2\norders 0 7\n"), 0, 0},
		checkpointName:                   {append(make([]byte, slotStride), "?"...), 15, slotStride},
	} {
		l, err := List(name, test.bytes)
		var damage *fault.Corruption
		require.ErrorAs(t, err, &damage, name)
		require.Equal(t, test.pos, damage.Pos, name)
		require.Len(t, l.Rows, test.rows, name)
	}
}

func FuzzList(f *testing.F) {
	names := []string{
		"00000000000000000000.index", "00000000000000000000.timeindex", "00000000000000000000.snapshot", epochName, checkpointName, "partition.metadata",
		"00000000000000000000.txnindex", "meta.properties", "quorum-state", "log-start-offset-checkpoint",
	}
	f.Add(0, encodeOffsets([]offsetEntry{newOffsetEntry(5, 100)}))
	f.Add(1, encodeTimes([]timeEntry{{9, 1}}))
	f.Add(3, encodeEpochs([]EpochEntry{{1, 2}}))
	f.Add(4, (&checkpoint{sequence: 2}).encode())
	f.Fuzz(func(t *testing.T, n int, b []byte) {
		l, _ := List(names[uint(n)%uint(len(names))], b)
		for _, row := range l.Rows {
			require.Len(t, row, len(l.Columns))
		}
	})
}
