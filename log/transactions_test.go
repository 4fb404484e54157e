package log

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// transact appends a batch of a producer's transaction.
func transact(t tb, l *Log, id int64, epoch int16, sequence int32, count int) {
	t.Helper()
	b := batchOf(l.EndOffset(), 0, count, 10)
	h := headerOf(b)
	h.Attributes |= record.AttrTransactional
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = id, epoch, sequence
	require.NoError(t, l.Append(record.Seal(b, h).Bytes, nil))
}

// endTxn appends the marker that ends a producer's transaction.
func endTxn(t tb, l *Log, id int64, epoch int16, m Marker) {
	t.Helper()
	b := m.Batch(id, epoch, l.EndOffset()*1000)
	record.Stamp(b, l.EndOffset(), 0)
	require.NoError(t, l.Append(b, nil))
}

func TestLastStableOffsetIsTheFirstOpenTransaction(t *testing.T) {
	l, _ := open(t, memoryConfig())
	stable := func() int64 { return l.StableOffset(l.EndOffset()) }
	appendN(t, l, 1, 2, 10) // 0, 1
	require.EqualValues(t, 2, stable())
	transact(t, l, 7, 0, 0, 3) // 2 to 4
	transact(t, l, 8, 0, 0, 1) // 5
	require.EqualValues(t, 2, stable())
	endTxn(t, l, 7, 0, Marker{Commit: true}) // 6
	require.EqualValues(t, 2, l.StableOffset(6), "as long as the marker is not below the high watermark")
	require.EqualValues(t, 5, stable())
	appendN(t, l, 1, 2, 10)                         // 7, 8
	endTxn(t, l, 8, 1, Marker{CoordinatorEpoch: 4}) // 9
	require.EqualValues(t, 10, stable())

	p := l.Producer(8)
	require.EqualValues(t, 1, p.Epoch)
	require.EqualValues(t, 4, p.CoordinatorEpoch)
	require.EqualValues(t, -1, p.TxnFirst)
	require.Zero(t, p.Next(), "a new epoch begins with sequence 0")
	require.Equal(t, noBatch, p.Last())

	in, err := l.Aborted(0, 10)
	require.NoError(t, err)
	require.Equal(t, Aborted{{8, 5, 9, 10}}, in)
	require.True(t, in.Has(8, 5))
	require.False(t, in.Has(8, 4), "before it began")
	require.False(t, in.Has(8, 10), "after its marker")
	require.False(t, in.Has(7, 2), "committed")
	in, err = l.Aborted(0, 5)
	require.NoError(t, err)
	require.Empty(t, in, "it begins behind the range")
	in, err = l.Aborted(9, 10)
	require.NoError(t, err)
	require.Len(t, in, 1, "its marker is in the range")
}

// TestDecidedTransactionsAreForgotten: what a log keeps of transactions to find the last
// stable offset does not grow with those that were decided, also where no one asks for it.
func TestDecidedTransactionsAreForgotten(t *testing.T) {
	l, _ := open(t, memoryConfig())
	transact(t, l, 8, 0, 0, 1) // stays open
	for epoch := range int16(20) {
		transact(t, l, 7, epoch, 0, 3)
		require.Len(t, l.transactions.list(), 2, "transaction %d", epoch)
		endTxn(t, l, 7, epoch+1, Marker{Commit: epoch%2 == 0})
		l.SetHighWatermark(l.EndOffset())
	}
	require.EqualValues(t, 0, l.StableOffset(l.EndOffset()))
}

// TestMarkersAreKafkas compares a marker with the bytes of Kafka's
// EndTransactionMarker: version, type; version, coordinator epoch.
func TestMarkersAreKafkas(t *testing.T) {
	for _, m := range []Marker{{Commit: true, CoordinatorEpoch: 7}, {CoordinatorEpoch: 1 << 20}} {
		b, err := record.Parse(m.Batch(1234, 5, 99))
		require.NoError(t, err)
		require.Len(t, b.Bytes, 78)
		require.True(t, b.Control() && b.Transactional())
		require.EqualValues(t, 1234, b.ProducerID)
		require.EqualValues(t, 5, b.ProducerEpoch)
		require.Equal(t, record.NoSequence, b.BaseSequence)
		got, ok := MarkerOf(b)
		require.True(t, ok)
		require.Equal(t, m, got)
	}
}

// TestDerivedFilesAreKafkas reads the log of a topic that Kafka wrote, with 30 transactions
// of which every third was aborted and one was left open, and makes its derived files.
func TestDerivedFilesAreKafkas(t *testing.T) {
	files := kafkaPartition(t, "ktxn-0")
	cfg := memoryConfig()
	require.NoError(t, cfg.FS.MkdirAll(cfg.Dir))
	writeFile(t, cfg.FS, filepath.Join(cfg.Dir, "00000000000000000000.log"), files["00000000000000000000.log"])
	l, _ := open(t, cfg)
	require.EqualValues(t, 1330, l.EndOffset())
	require.EqualValues(t, 1230, l.StableOffset(1330))
	require.NoError(t, l.Close())
	want := files["00000000000000000000.txnindex"]
	require.NotEmpty(t, want)
	require.Equal(t, decodeAborted(want), decodeAborted(readFile(t, cfg.FS, filepath.Join(cfg.Dir, "00000000000000000000.txnindex"))))

	theirs, ok := decodeProducers(files["00000000000000001330.snapshot"], 1330)
	require.True(t, ok)
	ours, ok := decodeProducers(readFile(t, cfg.FS, cfg.snapshotPath(1330)), 1330)
	require.True(t, ok)
	require.Equal(t, theirs, ours)
}

// kafkaPartition returns the files of a partition's directory that Kafka wrote.
func kafkaPartition(t *testing.T, name string) map[string][]byte {
	t.Helper()
	f, err := os.Open("../testdata/kafka.tar.gz")
	require.NoError(t, err)
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	require.NoError(t, err)
	files := map[string][]byte{}
	for archive := tar.NewReader(unpacked); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, files)
			return files
		}
		require.NoError(t, err)
		if filepath.Base(filepath.Dir(h.Name)) == name {
			b, err := io.ReadAll(archive)
			require.NoError(t, err)
			files[filepath.Base(h.Name)] = b
		}
	}
}

// txnModel knows of each batch of a log what a reader of committed records may see.
type txnModel struct {
	log     *Log
	cfg     Config
	batches []record.Batch
	epoch   map[int64]int16
	high    int64 // the high watermark
}

func (m *txnModel) add(b []byte) {
	parsed, err := record.Parse(b)
	if err != nil {
		panic(err)
	}
	m.batches = append(m.batches, parsed)
}

// outcome returns the offset of the marker that ends the transaction of the i-th batch,
// and whether it aborts. math.MaxInt64 if there is none.
func (m *txnModel) outcome(i int) (end int64, aborted bool) {
	for _, b := range m.batches[i:] {
		if marker, ok := MarkerOf(b); ok && b.ProducerID == m.batches[i].ProducerID {
			return b.BaseOffset, !marker.Commit
		}
	}
	return math.MaxInt64, false
}

// check compares the log with the model.
func (m *txnModel) check(t tb) {
	stable := m.high
	for i, b := range m.batches {
		if marked, _ := m.outcome(i); b.Transactional() && !b.Control() && marked >= m.high {
			stable = min(stable, b.BaseOffset)
			break
		}
	}
	require.Equal(t, max(stable, m.log.StartOffset()), m.log.StableOffset(m.high))
	from, to := m.log.StartOffset(), m.log.StableOffset(m.high)
	in, err := m.log.Aborted(from, to)
	require.NoError(t, err)
	for i, b := range m.batches {
		if b.BaseOffset < from || b.BaseOffset >= to || b.Control() {
			continue
		}
		_, aborted := m.outcome(i)
		require.Equal(t, aborted && b.Transactional(), b.Transactional() && in.Has(b.ProducerID, b.BaseOffset), "the batch at %d", b.BaseOffset)
		alone, err := m.log.Aborted(b.BaseOffset, b.NextOffset())
		require.NoError(t, err)
		require.Equal(t, aborted && b.Transactional(), b.Transactional() && alone.Has(b.ProducerID, b.BaseOffset), "the batch at %d, alone", b.BaseOffset)
	}
}

func (m *txnModel) reopen(rt *rapid.T, cfg Config) {
	l, found, err := Open(cfg)
	require.NoError(rt, err)
	require.Empty(rt, found.Damage)
	_ = m.log.Close()
	m.log, m.cfg, m.high = l, cfg, l.EndOffset()
}

// TestTransactionsAgainstAModel runs random transactions of several producers, which are
// interleaved, and damages and removes what is derived from them.
func TestTransactionsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := memoryConfig()
		cfg.SegmentBytes = rapid.Int64Range(300, 2000).Draw(rt, "segment")
		l, _, err := Open(cfg)
		require.NoError(rt, err)
		m := &txnModel{log: l, cfg: cfg, epoch: map[int64]int16{}}
		copies := 0
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) { m.check(rt) },
			"data": func(rt *rapid.T) {
				id, count := rapid.Int64Range(0, 3).Draw(rt, "producer"), rapid.IntRange(1, 3).Draw(rt, "records")
				end := m.log.EndOffset()
				next := int32(0)
				if p := m.log.Producer(id); p != nil && p.Epoch == m.epoch[id] {
					next = p.Next()
				}
				if id == 0 {
					produce(rt, m.log, id, 0, next, count)
				} else {
					transact(rt, m.log, id, m.epoch[id], next, count)
				}
				m.keep(rt, end)
			},
			"marker": func(rt *rapid.T) {
				id, commit := rapid.Int64Range(1, 3).Draw(rt, "producer"), rapid.Bool().Draw(rt, "commit")
				end := m.log.EndOffset()
				if rapid.Bool().Draw(rt, "new epoch") {
					m.epoch[id]++
				}
				endTxn(rt, m.log, id, m.epoch[id], Marker{Commit: commit})
				m.keep(rt, end)
			},
			"close": func(rt *rapid.T) {
				require.NoError(rt, m.log.Close())
				m.spoil(rt)
				m.reopen(rt, m.cfg)
			},
			"kill": func(rt *rapid.T) {
				copies++
				killed := copyDir(rt, m.cfg, "killed-"+string(rune('a'+copies%26))+string(rune('a'+copies/26%26)))
				m.cfg = killed
				m.spoil(rt)
				m.reopen(rt, killed)
			},
			"truncate": func(rt *rapid.T) {
				to := rapid.Int64Range(m.high, m.log.EndOffset()).Draw(rt, "to")
				require.NoError(rt, m.log.Truncate(to))
				m.batches = slices.DeleteFunc(m.batches, func(b record.Batch) bool { return b.BaseOffset >= m.log.EndOffset() })
				for id := range m.epoch {
					if p := m.log.Producer(id); p != nil {
						m.epoch[id] = p.Epoch
					}
				}
			},
			"commit": func(rt *rapid.T) { // of whole batches: the high watermark only rises, wherever the log is cut later
				high := rapid.Int64Range(m.high, m.log.EndOffset()).Draw(rt, "high")
				for _, b := range m.batches {
					if b.NextOffset() <= high {
						m.high = max(m.high, b.NextOffset())
					}
				}
				if rapid.Bool().Draw(rt, "told") {
					m.log.SetHighWatermark(m.high)
				}
			},
			"start": func(rt *rapid.T) {
				to := rapid.Int64Range(m.log.StartOffset(), m.log.StableOffset(m.high)).Draw(rt, "to")
				require.NoError(rt, m.log.SetStart(to))
			},
		})
		require.NoError(rt, m.log.Close())
	})
}

// keep adds what was appended from an offset on.
func (m *txnModel) keep(rt *rapid.T, from int64) {
	s, err := m.log.Read(from, m.log.EndOffset(), 1<<20, nil)
	require.NoError(rt, err)
	m.add(bytes.Clone(s.Bytes))
}

// spoil damages or removes one of the indexes of aborted transactions, perhaps.
func (m *txnModel) spoil(rt *rapid.T) {
	entries, err := m.cfg.FS.ReadDir(m.cfg.Dir)
	require.NoError(rt, err)
	for _, e := range entries {
		if filepath.Ext(e.Name) != txnIndexSuffix || e.Size == 0 {
			continue
		}
		path := filepath.Join(m.cfg.Dir, e.Name)
		switch rapid.IntRange(0, 4).Draw(rt, "damage") {
		case 0:
			require.NoError(rt, m.cfg.FS.Remove(path))
		case 1:
			b := readFile(rt, m.cfg.FS, path)
			b[rapid.IntRange(0, len(b)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			writeFile(rt, m.cfg.FS, path, b)
		case 2:
			b := readFile(rt, m.cfg.FS, path)
			writeFile(rt, m.cfg.FS, path, b[:len(b)-txnEntryLen])
		}
	}
}

// TestDamagedTransactionIndexIsCollectedAgain damages the file of an open log.
func TestDamagedTransactionIndexIsCollectedAgain(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 400, -1
	l, _ := open(t, cfg)
	for i := range int64(20) {
		transact(t, l, i, 0, 0, 2)
		endTxn(t, l, i, 1, Marker{Commit: i%2 == 0})
	}
	require.NoError(t, l.Close())
	l, _ = open(t, cfg)
	require.Greater(t, l.Segments(), 3)
	flip(t, cfg.FS, filepath.Join(cfg.Dir, "00000000000000000000.txnindex"), 5)
	in, err := l.Aborted(0, l.EndOffset())
	require.NoError(t, err)
	require.Len(t, in, 10)
	for i := range int64(20) {
		require.Equal(t, i%2 == 1, in.Has(i, 3*i))
	}
}

// flip flips bits of a byte in a file.
func flip(t *testing.T, fsys vfs.FS, path string, at int) {
	t.Helper()
	b := readFile(t, fsys, path)
	b[at] ^= 0x5a
	writeFile(t, fsys, path, b)
}

// TestCompactionKnowsAbortedRecords holds that a record of an aborted transaction replaces
// no earlier one, and goes itself.
func TestCompactionKnowsAbortedRecords(t *testing.T) {
	cfg := memoryConfig()
	l, _ := open(t, cfg)
	keyed := func(id int64, sequence int32, key, value string) {
		b := record.NewBuilder(1 << 20)
		b.Add(l.EndOffset()*1000, []byte(key), []byte(value), nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		h := batch.BatchHeader
		h.Attributes |= record.AttrTransactional
		h.BaseOffset, h.LeaderEpoch, h.ProducerID, h.ProducerEpoch, h.BaseSequence = l.EndOffset(), 0, id, 0, sequence
		require.NoError(t, l.Append(record.Seal(batch.Bytes, h).Bytes, nil))
	}
	keyed(1, 0, "a", "committed")
	keyed(1, 1, "b", "replaced")
	endTxn(t, l, 1, 1, Marker{Commit: true})
	keyed(2, 0, "a", "aborted")
	keyed(2, 1, "b", "aborted")
	endTxn(t, l, 2, 1, Marker{})
	keyed(3, 0, "b", "the last")
	endTxn(t, l, 3, 1, Marker{Commit: true})
	require.NoError(t, l.Roll())
	before, err := l.Aborted(0, l.EndOffset())
	require.NoError(t, err)
	require.Len(t, before, 1)
	done, err := l.Compact(t.Context(), Compaction{Now: math.MaxInt32, Limit: l.EndOffset(), DeleteRetention: -1}, l.Swap)
	require.NoError(t, err)
	require.EqualValues(t, 3, done.Records)
	check := func(l *Log) {
		var left []string
		for offset := int64(0); offset < l.EndOffset(); {
			s, err := l.ReadStored(offset, l.EndOffset(), 1<<20, nil)
			require.NoError(t, err)
			for rest := s.Bytes; len(rest) > 0; {
				b, err := record.Parse(rest)
				require.NoError(t, err)
				rest, offset = rest[b.Size():], b.NextOffset()
				if b.Control() {
					continue
				}
				it, err := b.Records(nil)
				require.NoError(t, err)
				for r := (record.Record{}); it.Next(&r); {
					left = append(left, string(r.Key)+" "+string(r.Value))
				}
			}
		}
		require.Equal(t, []string{"a committed", "b the last"}, left)
		after, err := l.Aborted(0, l.EndOffset())
		require.NoError(t, err)
		require.Empty(t, after, "nothing is left of it")
		require.EqualValues(t, l.EndOffset(), l.StableOffset(l.EndOffset()))
	}
	check(l)
	require.NoError(t, l.Close())
	l, found := open(t, cfg)
	require.True(t, found.Clean)
	require.Zero(t, found.Indexes)
	check(l)
}
