package log

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// inTxn appends records with keys as one batch of a producer's transaction.
func inTxn(t tb, l *Log, id int64, epoch int16, sequence int32, keys ...string) {
	t.Helper()
	var records []keyed
	for i, k := range keys {
		records = append(records, keyed{offset: l.EndOffset() + int64(i), ms: 100, key: k, value: fmt.Sprint(l.EndOffset() + int64(i))})
	}
	b := encodeKeyed(records, 0, record.None)
	h := headerOf(b)
	h.Attributes |= record.AttrTransactional
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = id, epoch, sequence
	require.NoError(t, l.Append(record.Seal(b, h).Bytes, nil))
}

// batchesOf returns all batches of a log, which must follow each other without a gap.
func batchesOf(t tb, l *Log) (all []record.Batch) {
	t.Helper()
	for next := l.StartOffset(); next < l.EndOffset(); {
		s, err := l.Read(next, l.EndOffset(), 1, nil)
		require.NoError(t, err)
		b, err := record.Parse(slices.Clone(s.Bytes))
		require.NoError(t, err)
		s.Release()
		all, next = append(all, b), b.NextOffset()
	}
	return all
}

// committedIn returns the offsets of the records that a reader of committed records gets.
func committedIn(t tb, l *Log) (all []int64) {
	t.Helper()
	stable := l.StableOffset(l.EndOffset())
	for next := l.StartOffset(); next < stable; {
		s, aborted, err := l.ReadCommitted(next, stable, 1<<20, nil)
		require.NoError(t, err)
		require.NotEmpty(t, s.Bytes)
		for b := s.Bytes; len(b) > 0; {
			batch, err := record.Parse(b)
			require.NoError(t, err)
			if !batch.Control() && !(batch.Transactional() && aborted.Has(batch.ProducerID, batch.BaseOffset)) {
				it, err := batch.Records(testCodec)
				require.NoError(t, err)
				for r := (record.Record{}); it.Next(&r); {
					if r.Offset >= l.StartOffset() {
						all = append(all, r.Offset)
					}
				}
			}
			next, b = batch.NextOffset(), b[batch.Size():]
		}
		s.Release()
	}
	return all
}

// TestMarkersGoPastTheirHorizon tells the life of markers as Kafka has it (KIP-534): they stay
// while a record of their transaction does, then until a horizon that is in their batch.
func TestMarkersGoPastTheirHorizon(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1 // a segment for each batch
	l, _ := open(t, cfg)
	inTxn(t, l, 7, 0, 0, "a", "b")           // 0, 1
	endTxn(t, l, 7, 1, Marker{Commit: true}) // 2
	inTxn(t, l, 8, 0, 0, "c")                // 3
	endTxn(t, l, 8, 1, Marker{})             // 4: aborted
	inTxn(t, l, 7, 1, 0, "a")                // 5
	endTxn(t, l, 7, 2, Marker{Commit: true}) // 6
	inTxn(t, l, 9, 0, 0, "d")                // 7: open
	appendN(t, l, 1, 1, 10)                  // 8
	c := Compaction{Now: 1_000, Limit: l.StableOffset(l.EndOffset()), DeleteRetention: 500 * time.Millisecond, SegmentBytes: 1, Keep: l.LastBatches()}
	require.EqualValues(t, 7, c.Limit)
	compact := func(now int64) {
		t.Helper()
		c.Now = now
		_, err := l.Compact(context.Background(), c, l.Swap)
		require.NoError(t, err)
	}
	horizons := func() (all map[int64]int64) { // of the markers that are there, by their offset
		all = map[int64]int64{}
		for _, b := range batchesOf(t, l) {
			if _, ok := MarkerOf(b); ok {
				if all[b.BaseOffset] = 0; b.Attributes&record.AttrDeleteHorizon != 0 {
					all[b.BaseOffset] = b.BaseTimestamp
				}
			}
		}
		return all
	}
	compact(1_000)
	require.Equal(t, []int64{1, 5}, committedIn(t, l))
	require.Equal(t, map[int64]int64{2: 0, 4: 0, 6: 0}, horizons(), "of two, a record is left, and one is the last of its producer")
	d, err := l.DirtyRange(c)
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, d.Horizon, "nothing goes by the time")

	l.ForgetProducers(func(p *Producer) bool { return p.ID == 8 })
	c.Keep = l.LastBatches()
	compact(2_000)
	require.Equal(t, map[int64]int64{2: 0, 4: 2_500, 6: 0}, horizons())
	in, err := l.Aborted(0, 7)
	require.NoError(t, err)
	require.Empty(t, in, "nothing is left of it")
	for _, s := range l.list() {
		_, err := cfg.FS.Stat(s.abortedPath())
		require.Error(t, err, "and its file is gone")
	}
	d, err = l.DirtyRange(c)
	require.NoError(t, err)
	require.EqualValues(t, 2_500, d.Horizon)
	marker := batchesOf(t, l)[3]
	require.EqualValues(t, 4, marker.BaseOffset)
	require.EqualValues(t, 4_000, marker.MaxTimestamp, "its record's time is what it was")
	require.NotZero(t, marker.Attributes&record.AttrDeleteHorizon)
	require.EqualValues(t, 2_500, marker.BaseTimestamp)
	m, ok := MarkerOf(marker)
	require.True(t, ok)
	require.Equal(t, Marker{}, m)

	compact(2_499)
	require.Contains(t, horizons(), int64(4))
	compact(2_500)
	require.NotContains(t, horizons(), int64(4))
	d, err = l.DirtyRange(c)
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, d.Horizon)

	// From the files alone, all of it is the same.
	before, stable := committedIn(t, l), l.StableOffset(l.EndOffset())
	require.NoError(t, l.Close())
	names, err := cfg.FS.ReadDir(cfg.Dir)
	require.NoError(t, err)
	for _, e := range names {
		if _, ok := parseName(e.Name, logSuffix); !ok {
			require.NoError(t, cfg.FS.Remove(cfg.Dir+"/"+e.Name))
		}
	}
	l, r := open(t, cfg)
	require.Empty(t, r.Damage)
	require.Equal(t, stable, l.StableOffset(l.EndOffset()))
	require.Equal(t, before, committedIn(t, l))
	require.EqualValues(t, 2, l.Producer(7).Epoch)
	require.Nil(t, l.Producer(8))
}

// TestAMarkerStaysForAnEmptyBatch: the last batch of a producer stays without records, and
// would be an open transaction without its marker.
func TestAMarkerStaysForAnEmptyBatch(t *testing.T) {
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.TailBytes = 1, -1
	l, _ := open(t, cfg)
	inTxn(t, l, 7, 0, 0, "a") // 0
	endTxn(t, l, 7, 0, Marker{})
	appendN(t, l, 1, 1, 10)
	c := Compaction{Limit: 3, SegmentBytes: 1, Keep: l.LastBatches()}
	for c.Now = range int64(3) {
		_, err := l.Compact(context.Background(), c, l.Swap)
		require.NoError(t, err)
	}
	all := batchesOf(t, l)
	require.Zero(t, all[0].Count)
	require.EqualValues(t, 7, all[0].ProducerID)
	require.EqualValues(t, 1, all[1].Count)
	in, err := l.Aborted(0, 2)
	require.NoError(t, err)
	require.Len(t, in, 1)
	c.Keep = nil // the producer is forgotten: the batch goes, and then the marker
	for c.Now = range int64(3) {
		_, err := l.Compact(context.Background(), c, l.Swap)
		require.NoError(t, err)
	}
	for _, b := range batchesOf(t, l)[:2] {
		require.Zero(t, b.Count)
		require.EqualValues(t, -1, b.ProducerID)
	}
}

// compactedTxns is a log of records in transactions and outside of them, and what readers at
// both levels of isolation must find.
type compactedTxns struct {
	t       *rapid.T
	cfg     Config
	log     *Log
	now     int64
	clean   int64 // compaction went over everything before
	records []txnRecord
	open    map[int64]bool // the producers with a transaction
	epoch   map[int64]int16
	copies  int
}

type txnRecord struct {
	keyed
	producer int64 // -1 outside of transactions
	decided  int64 // the marker's offset; math.MaxInt64 while there is none
	aborted  bool
}

func (m *compactedTxns) data(rt *rapid.T) {
	id := rapid.Int64Range(-1, 3).Draw(rt, "producer")
	var records []keyed
	for range rapid.IntRange(1, 4).Draw(rt, "records") {
		r := keyed{
			offset: m.log.EndOffset() + int64(len(records)), ms: m.now, key: fmt.Sprint("k", rapid.IntRange(0, 5).Draw(rt, "key")),
			tombstone: rapid.IntRange(0, 3).Draw(rt, "tombstone") == 0,
		}
		r.value = fmt.Sprint(r.offset)
		records = append(records, r)
		m.records = append(m.records, txnRecord{keyed: r, producer: id, decided: math.MaxInt64})
	}
	b := encodeKeyed(records, 0, record.Compression(rapid.IntRange(0, 4).Draw(rt, "compression")))
	if id < 0 {
		require.NoError(rt, m.log.Append(b, nil))
		return
	}
	h := headerOf(b)
	h.Attributes |= record.AttrTransactional
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = id, m.epoch[id], 0
	if p := m.log.Producer(id); p != nil && p.Epoch == h.ProducerEpoch {
		h.BaseSequence = p.Next()
	}
	require.NoError(rt, m.log.Append(record.Seal(b, h).Bytes, nil))
	m.open[id] = true
}

func (m *compactedTxns) marker(rt *rapid.T) {
	id, commit := rapid.Int64Range(0, 3).Draw(rt, "producer"), rapid.Bool().Draw(rt, "commit")
	if rapid.Bool().Draw(rt, "rising epoch") {
		m.epoch[id]++
	}
	at := m.log.EndOffset()
	endTxn(rt, m.log, id, m.epoch[id], Marker{Commit: commit})
	for i := range m.records {
		if r := &m.records[i]; r.producer == id && r.decided == math.MaxInt64 {
			r.decided, r.aborted = at, !commit
		}
	}
	delete(m.open, id)
}

// stable is the last stable offset.
func (m *compactedTxns) stable() int64 {
	for _, r := range m.records {
		if r.producer >= 0 && r.decided == math.MaxInt64 {
			return max(r.offset, m.log.StartOffset())
		}
	}
	return m.log.EndOffset()
}

func (m *compactedTxns) compact(rt *rapid.T) {
	m.now += rapid.Int64Range(0, 500).Draw(rt, "later")
	c := Compaction{
		Now: m.now, Limit: m.stable(), SegmentBytes: m.cfg.SegmentBytes, Batchwise: rapid.Bool().Draw(rt, "batchwise"),
		DeleteRetention: time.Duration(rapid.IntRange(0, 500).Draw(rt, "delete retention")) * time.Millisecond,
		KeyBytes:        rapid.SampledFrom([]int{0, 0, 1}).Draw(rt, "key bytes"),
	}
	if rapid.Bool().Draw(rt, "keep") {
		c.Keep = m.log.LastBatches()
	}
	d, err := m.log.DirtyRange(c)
	require.NoError(rt, err)
	compactAll(rt, m.log, c)
	m.clean = max(m.clean, d.To)
	last := map[string]int64{}
	for _, r := range m.records {
		if r.offset < m.clean && !r.aborted {
			last[r.key] = r.offset
		}
	}
	m.records = slices.DeleteFunc(m.records, func(r txnRecord) bool {
		if r.offset >= m.clean {
			return false
		}
		return r.aborted || last[r.key] != r.offset || r.horizon > 0 && m.now >= r.horizon
	})
	for i := range m.records {
		if r := &m.records[i]; r.offset < m.clean && r.tombstone && r.horizon == 0 {
			r.horizon = m.now + c.DeleteRetention.Milliseconds()
		}
	}
	after, err := m.log.DirtyRange(c)
	require.NoError(rt, err)
	if c.DeleteRetention > 0 {
		require.Greater(rt, after.Horizon, m.now, "what has passed its horizon is gone, or it would be compacted for ever")
	}
}

func (m *compactedTxns) reopen(rt *rapid.T) {
	l, found, err := Open(m.cfg)
	require.NoError(rt, err)
	require.Empty(rt, found.Damage)
	m.log = l
	for id := range m.epoch { // a producer whose traces are gone begins again
		if p := l.Producer(id); p == nil {
			delete(m.epoch, id)
		}
	}
}

func (m *compactedTxns) check(rt *rapid.T) {
	require.Equal(rt, m.stable(), m.log.StableOffset(m.log.EndOffset()))
	var all, committed []int64
	for _, r := range m.records {
		all = append(all, r.offset)
		if r.offset < m.stable() && !r.aborted {
			committed = append(committed, r.offset)
		}
	}
	require.Equal(rt, committed, committedIn(rt, m.log))
	var there []int64
	for _, b := range batchesOf(rt, m.log) {
		if !b.Control() {
			for _, r := range recordsOf(rt, b, m.log.StartOffset()) {
				there = append(there, r.offset)
			}
		}
	}
	require.Equal(rt, all, there)
	for _, p := range m.log.OpenTransactions() {
		require.True(rt, m.open[p.ID], "the transaction of producer %d has ended", p.ID)
	}
}

// TestCompactedTransactions holds compaction of transactions against a list of records, through
// deletion, restarts, crashes and the loss of everything that is derived.
func TestCompactedTransactions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &compactedTxns{t: rt, cfg: memoryConfig(), now: 1_000_000, open: map[int64]bool{}, epoch: map[int64]int16{}}
		m.cfg.Codec = testCodec
		m.cfg.SegmentBytes = rapid.Int64Range(100, 3_000).Draw(rt, "segment.bytes")
		m.cfg.TailBytes = rapid.SampledFrom([]int{-1, 1_000}).Draw(rt, "tail")
		m.reopen(rt)
		defer func() { _ = m.log.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"data":    m.data,
			"data 2":  m.data,
			"marker":  m.marker,
			"compact": m.compact,
			"retention": func(rt *rapid.T) { // of whole segments, or DeleteRecords
				start := rapid.Int64Range(m.log.StartOffset(), m.stable()).Draw(rt, "start")
				require.NoError(rt, m.log.SetStart(start))
				m.records = slices.DeleteFunc(m.records, func(r txnRecord) bool { return r.offset < start })
			},
			"reopen": func(rt *rapid.T) {
				require.NoError(rt, m.log.Close())
				m.reopen(rt)
			},
			"kill": func(rt *rapid.T) {
				m.copies++
				killed := copyDir(rt, m.cfg, fmt.Sprint("killed-", m.copies))
				require.NoError(rt, m.log.Close())
				m.cfg = killed
				m.reopen(rt)
			},
			"lose all that is derived": func(rt *rapid.T) {
				start := m.log.StartOffset()
				require.NoError(rt, m.log.Close())
				names, err := m.cfg.FS.ReadDir(m.cfg.Dir)
				require.NoError(rt, err)
				for _, e := range names {
					if _, ok := parseName(e.Name, logSuffix); !ok {
						require.NoError(rt, m.cfg.FS.Remove(m.cfg.Dir+"/"+e.Name))
					}
				}
				m.reopen(rt)
				require.NoError(rt, m.log.SetStart(start))
				m.clean = m.log.dirtyFrom()
			},
		})
	})
}

// TestPowerLossWhileTransactionsAreCompacted takes the power away before each operation on the
// disk, and what is left has each record that must be there, shows no aborted one, and has no
// transaction open that was decided.
func TestPowerLossWhileTransactionsAreCompacted(t *testing.T) {
	for seed := range uint64(unlessRaced(8, 1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { powerLossWithTransactions(t, seed) })
	}
}

func powerLossWithTransactions(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	disk := vfs.NewCrashable()
	fsys := &failing{FS: disk, fail: nothingFails}
	cfg := Config{FS: fsys, Dir: "data/orders-3", Topic: "orders", Partition: 3, Codec: testCodec, SegmentBytes: 200 + rng.Int64N(600), TailBytes: -1}
	l, _ := open(t, cfg)
	last, epoch := map[string]int64{}, map[int64]int16{}
	var aborted []int64
	for range 30 {
		id, commit := 1+rng.Int64N(3), rng.IntN(2) == 0
		for n := range int32(1 + rng.IntN(3)) {
			at, key := l.EndOffset(), fmt.Sprint("k", rng.IntN(6))
			inTxn(t, l, id, epoch[id], n, key)
			if commit {
				last[key] = at
			} else {
				aborted = append(aborted, at)
			}
		}
		epoch[id]++
		endTxn(t, l, id, epoch[id], Marker{Commit: commit})
	}
	require.NoError(t, l.Sync())
	require.NoError(t, l.Roll())
	appendN(t, l, 1, 1, 10)
	require.NoError(t, l.Sync())
	end := l.EndOffset()
	check := func(l *Log) {
		got := committedIn(t, l)
		for key, at := range last {
			require.Contains(t, got, at, "the last record of %s", key)
		}
		for _, at := range aborted {
			require.NotContains(t, got, at, "an aborted record")
		}
		require.Equal(t, end, l.StableOffset(l.EndOffset()))
		for id, e := range epoch {
			require.Equal(t, e, l.Producer(id).Epoch)
		}
	}
	c := Compaction{Limit: end - 1, DeleteRetention: time.Millisecond, SegmentBytes: 1 << 10}
	crashes, markers := 0, 0
	for c.Now = range int64(4) {
		c.Keep = l.LastBatches()
		fsys.fail = func(op, path string) error {
			if op == "read" {
				return nil
			}
			crashes++
			cfg := cfg
			cfg.FS = disk.After(vfs.RandomLoss(rng.Uint64()))
			l, r, err := Open(cfg)
			require.NoError(t, err, "%s %s", op, path)
			require.Empty(t, r.Damage)
			check(l)
			if rng.IntN(4) == 0 {
				c := c
				c.Keep = l.LastBatches()
				compactAll(t, l, c)
				check(l)
			}
			require.NoError(t, l.Close())
			return nil
		}
		compactAll(t, l, c)
		fsys.fail = nothingFails
		check(l)
	}
	for _, b := range batchesOf(t, l) {
		if _, ok := MarkerOf(b); ok {
			markers++
		}
	}
	require.Greater(t, crashes, 20)
	require.Less(t, markers, 15, "of 30")
}

// TestReadersDuringTheSwapSeeNothingAborted replaces segments between a reader's two steps, its
// bytes and the transactions that were aborted.
func TestReadersDuringTheSwapSeeNothingAborted(t *testing.T) {
	fsys := &failing{FS: vfs.NewMemory(), fail: nothingFails}
	cfg := memoryConfig()
	cfg.FS, cfg.TailBytes = fsys, -1
	l, _ := open(t, cfg)
	inTxn(t, l, 7, 0, 0, "a")
	endTxn(t, l, 7, 1, Marker{})
	inTxn(t, l, 7, 1, 0, "a")
	endTxn(t, l, 7, 2, Marker{Commit: true})
	require.NoError(t, l.Roll())
	replaced := false
	fsys.fail = func(op, _ string) error {
		if op == "read" && !replaced {
			replaced = true
			compactAll(t, l, Compaction{Limit: 4, DeleteRetention: -1, Keep: l.LastBatches()})
			in, err := l.Aborted(0, 4)
			require.NoError(t, err)
			require.Empty(t, in)
		}
		return nil
	}
	s, aborted, err := l.ReadCommitted(0, 4, 1<<20, nil)
	require.NoError(t, err)
	require.True(t, replaced)
	b, err := record.Parse(s.Bytes)
	require.NoError(t, err)
	require.True(t, b.Count == 0 || aborted.Has(7, 0), "the aborted record")
}
