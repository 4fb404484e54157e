package log

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// produce appends a batch of an idempotent producer and returns its header.
func produce(t tb, l *Log, id int64, epoch int16, sequence int32, count int) record.BatchHeader {
	t.Helper()
	b := batchOf(l.EndOffset(), 0, count, 10)
	record.StampProducer(b, id, epoch, sequence)
	require.NoError(t, l.Append(b, nil))
	return headerOf(b)
}

// producersOf returns a log's producers, each with its last batch alone.
func producersOf(l *Log) map[int64]Producer {
	all := map[int64]Producer{}
	for id, p := range l.producers {
		all[id] = Producer{ID: id, Epoch: p.Epoch, Timestamp: p.Timestamp, recent: [ProducerBatches]ProducerBatch{p.Last()}, n: 1}
	}
	return all
}

func TestProducerRemembersItsLastBatches(t *testing.T) {
	l, _ := open(t, memoryConfig())
	appendN(t, l, 1, 3, 10)
	require.Nil(t, l.Producer(7))
	for i := range int32(7) {
		produce(t, l, 7, 0, 10*i, 10)
	}
	p := l.Producer(7)
	require.Equal(t, ProducerBatch{60, 69, 63, 72}, p.Last())
	require.EqualValues(t, 70, p.Next())
	_, found := p.Find(10, 19)
	require.False(t, found, "the sixth last")
	b, found := p.Find(20, 29)
	require.True(t, found)
	require.Equal(t, ProducerBatch{20, 29, 23, 32}, b)
	_, found = p.Find(20, 28)
	require.False(t, found)

	produce(t, l, 7, 1, 0, 1)
	require.EqualValues(t, 1, p.Epoch)
	require.EqualValues(t, 1, p.Next())
	_, found = p.Find(60, 69)
	require.False(t, found, "of another epoch")

	produce(t, l, 7, 2, math.MaxInt32-1, 3)
	require.Equal(t, ProducerBatch{math.MaxInt32 - 1, 0, 74, 76}, p.Last())
	require.EqualValues(t, 1, p.Next())
}

// TestProducersOutliveTheLog opens logs that were closed, killed and robbed of
// their snapshots.
func TestProducersOutliveTheLog(t *testing.T) {
	eachFS(t, func(t *testing.T, cfg Config) {
		cfg.SegmentBytes = 2000
		l, _ := open(t, cfg)
		for i := range int32(30) {
			produce(t, l, int64(i%3), 0, i/3*4, 4)
		}
		produce(t, l, 1, 5, math.MaxInt32-1, 4)
		want := producersOf(l)
		require.Len(t, want, 3)
		reopen := func(cfg Config) *Log {
			l, r := open(t, cfg)
			require.Empty(t, r.Damage)
			require.Equal(t, want, producersOf(l))
			return l
		}
		killed := reopen(copyDir(t, cfg, cfg.Dir+"-killed"))
		require.NoError(t, killed.Close())
		require.NoError(t, l.Close())
		l, r := open(t, cfg)
		require.True(t, r.Clean)
		require.Zero(t, r.Batches)
		require.Equal(t, want, producersOf(l))
		require.NoError(t, l.Close())

		for name, damage := range map[string]func(path string){
			"lost":    func(path string) { require.NoError(t, cfg.FS.Remove(path)) },
			"flipped": func(path string) { b := readFile(t, cfg.FS, path); b[20] ^= 4; writeFile(t, cfg.FS, path, b) },
			"cut":     func(path string) { b := readFile(t, cfg.FS, path); writeFile(t, cfg.FS, path, b[:len(b)-1]) },
			"empty":   func(path string) { writeFile(t, cfg.FS, path, nil) },
		} {
			copied := copyDir(t, cfg, cfg.Dir+"-"+name)
			damage(copied.snapshotPath(124))
			require.NoError(t, reopen(copied).Close())
			require.Equal(t, want, producersOf(reopen(copied)), "it was written again")
		}
		all := copyDir(t, cfg, cfg.Dir+"-all")
		require.NoError(t, all.FS.Remove(filepath.Join(all.Dir, checkpointName)))
		require.NoError(t, reopen(all).Close())
	})
}

// TestSnapshotFilesAreFew: who has no idempotent producers has no snapshots, and
// there are never more than two.
func TestSnapshotFilesAreFew(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes = 500
	count := func() (n int) {
		entries, err := cfg.FS.ReadDir(cfg.Dir)
		require.NoError(t, err)
		for _, e := range entries {
			if filepath.Ext(e.Name) == snapshotSuffix {
				n++
			}
		}
		return n
	}
	l, _ := open(t, cfg)
	appendN(t, l, 20, 2, 20)
	require.Zero(t, count())
	for i := range int32(50) {
		produce(t, l, 1, 0, i, 1)
		require.LessOrEqual(t, count(), 2)
	}
	require.NoError(t, l.Close())
	require.Positive(t, count())
	l, _ = open(t, cfg)
	require.NotNil(t, l.Producer(1))
	l.ForgetProducers(func(p *Producer) bool { return p.ID == 1 })
	require.NoError(t, l.Close())
	l, _ = open(t, cfg)
	require.Nil(t, l.Producer(1), "forgotten for good")
	appendN(t, l, 20, 2, 20)
	require.Zero(t, count())
}

// TestTruncateBringsProducersBack: after Truncate the log knows what it knew when
// it ended there.
func TestTruncateBringsProducersBack(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes = 700
	l, _ := open(t, cfg)
	known := map[int64]map[int64]Producer{0: producersOf(l)}
	grow := func(from int32) {
		for i := from; i < 40; i++ {
			produce(t, l, int64(i%4), int16(i/20), i, 2)
			known[l.EndOffset()] = producersOf(l)
		}
	}
	grow(0)
	for _, to := range []int64{70, 33, 32, 6, 0} {
		require.NoError(t, l.Truncate(to))
		require.Equal(t, known[l.EndOffset()], producersOf(l), "at %d", to)
		copied, _ := open(t, copyDir(t, cfg, cfg.Dir+"-copy"))
		require.Equal(t, known[l.EndOffset()], producersOf(copied), "at %d", to)
		require.NoError(t, cfg.FS.RemoveAll(cfg.Dir+"-copy"))
	}
	grow(20)
	require.NoError(t, l.Truncate(22))
	require.Equal(t, known[22], producersOf(l))
}

// TestTruncateOnAFullDisk: a truncation that finds no room for what it writes beside the
// records leaves the log as it was, and in use; tried again with room, it is done.
func TestTruncateOnAFullDisk(t *testing.T) {
	for _, suffix := range []string{snapshotSuffix + ".tmp", epochName + ".tmp"} {
		t.Run(suffix, func(t *testing.T) {
			l, fsys, cfg := failingLog(t)
			produce(t, l, 1, 0, 0, 2)
			end, known := l.EndOffset(), producersOf(l)
			produce(t, l, 1, 0, 2, 2)
			produce(t, l, 2, 0, 0, 2)
			last, all := l.EndOffset(), producersOf(l)

			fsys.fail = failOn("open", suffix, syscall.ENOSPC)
			err := l.Truncate(end)
			require.ErrorIs(t, err, fault.DiskFull)
			require.True(t, fault.Retriable(err))
			require.Equal(t, last, l.EndOffset())
			require.Equal(t, all, producersOf(l))
			readAll(t, l, 0)

			fsys.fail = nothingFails
			require.NoError(t, l.Truncate(end))
			require.Equal(t, end, l.EndOffset())
			require.Equal(t, known, producersOf(l))
			produce(t, l, 1, 0, 2, 2)
			copied, found := open(t, copyDir(t, cfg, "killed"))
			require.Empty(t, found.Damage)
			require.Equal(t, producersOf(l), producersOf(copied))
		})
	}
}

// TestSnapshotsAreKafkas holds the bytes against those that Kafka 3.9 itself
// wrote, with its ProducerStateManager.
func TestSnapshotsAreKafkas(t *testing.T) {
	golden, err := hex.DecodeString("0001" + // version
		"1bb5d5f3" + // checksum
		"00000002" + // producers, each: ID, epoch, last sequence, last offset, offset delta, timestamp, coordinator epoch, offset of its transaction
		"0000000000000009" + "0002" + "00000008" + "0000000000000067" + "00000003" + "00000000000004d2" + "ffffffff" + "ffffffffffffffff" +
		"00000000ee6b2800" + "0000" + "00000000" + "0000000000000032" + "00000002" + "0000000000000063" + "ffffffff" + "ffffffffffffffff")
	require.NoError(t, err)
	want := producers{}
	for _, h := range []record.BatchHeader{
		{ProducerID: 9, ProducerEpoch: 2, BaseSequence: 5, BaseOffset: 100, LastOffsetDelta: 3, MaxTimestamp: 1234},
		{ProducerID: 4_000_000_000, BaseSequence: math.MaxInt32 - 1, BaseOffset: 48, LastOffsetDelta: 2, MaxTimestamp: 99},
	} {
		want.fold(&h, nil)
	}
	got, ok := decodeProducers(golden, 104)
	require.True(t, ok)
	require.Equal(t, want, got)
	require.Equal(t, golden, got.encode())
	_, ok = decodeProducers(golden, 103)
	require.False(t, ok, "a batch that the log does not have")
}

// FuzzSnapshot: no bytes do harm, and what is read is written as it was.
func FuzzSnapshot(f *testing.F) {
	ps := producers{}
	for i := range int64(3) {
		h := record.BatchHeader{ProducerID: i, BaseSequence: math.MaxInt32, BaseOffset: 10 * i, LastOffsetDelta: 3}
		ps.fold(&h, nil)
	}
	f.Add(ps.encode())
	f.Add(producers{}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= snapshotHeaderLen {
			binary.BigEndian.PutUint32(b[2:], crcOf(b[6:]))
		}
		ps, ok := decodeProducers(b, math.MaxInt64)
		if !ok {
			return
		}
		again, ok := decodeProducers(ps.encode(), math.MaxInt64)
		require.True(t, ok)
		require.Equal(t, ps, again)
	})
}
