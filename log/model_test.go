package log

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// TestModel holds a log against a list of batches under any sequence of
// operations, on the memory file system.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, cfg: memoryConfig(), sequences: map[int64]Producer{}}
		m.cfg.SegmentBytes = rapid.Int64Range(500, 20_000).Draw(rt, "segment.bytes")
		m.cfg.SegmentAge = time.Duration(rapid.IntRange(20, 2_000).Draw(rt, "segment.ms")) * time.Second
		m.cfg.IndexInterval = rapid.IntRange(1, 2_000).Draw(rt, "index.interval.bytes")
		m.cfg.TailBytes = rapid.SampledFrom([]int{-1, 1, 1_000, 10_000, 0}).Draw(rt, "tail")
		var err error
		m.log, _, err = Open(m.cfg)
		require.NoError(rt, err)
		defer func() { _ = m.log.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"append":   m.append,
			"read":     m.read,
			"time":     m.time,
			"sync":     m.sync,
			"truncate": m.truncate,
			"start":    m.setStart,
			"reopen":   m.reopen,
			"kill":     m.kill,
			"power":    m.powerLoss,
			"":         m.check,
		})
	})
}

type modelBatch struct {
	base, next int64
	epoch      int32
	size       int
	header     record.BatchHeader // as it was appended
}

type model struct {
	t   *rapid.T
	cfg Config
	log *Log

	batches    []modelBatch // also those before start, which are gone
	start, end int64
	synced     int64 // a lower bound
	epoch      int32
	copies     int

	sequences map[int64]Producer // what each producer sends next: Epoch, and Next
}

func (m *model) append(rt *rapid.T) {
	if rapid.IntRange(0, 9).Draw(rt, "new epoch") == 0 {
		m.epoch += int32(rapid.IntRange(1, 3).Draw(rt, "by"))
	}
	var all []byte
	for range rapid.IntRange(1, 5).Draw(rt, "batches") {
		b := batchOf(m.end, m.epoch, rapid.IntRange(1, 20).Draw(rt, "records"), rapid.IntRange(1, 300).Draw(rt, "size"))
		next := m.end + offsetsIn(b)
		m.produce(rt, b)
		m.batches = append(m.batches, modelBatch{m.end, next, m.epoch, len(b), headerOf(b)})
		m.end = next
		all = append(all, b...)
	}
	require.NoError(m.t, m.log.Append(all, nil))
}

// produce makes a batch one of an idempotent producer, perhaps.
func (m *model) produce(rt *rapid.T, b []byte) {
	id := rapid.Int64Range(-1, 4).Draw(rt, "producer")
	if id < 0 {
		return
	}
	p := m.sequences[id]
	next := int32(0)
	switch {
	case p.n == 0 && rapid.Bool().Draw(rt, "about to wrap"):
		next = math.MaxInt32 - 5
	case p.n > 0 && rapid.IntRange(0, 9).Draw(rt, "new producer epoch") == 0:
		p.Epoch++
	case p.n > 0:
		next = p.Next()
	}
	record.StampProducer(b, id, p.Epoch, next)
	h := headerOf(b)
	p.add(&h)
	m.sequences[id] = p
}

// checkProducers holds the log's producers against a fold of the batches. One
// whose batches are all gone may be forgotten.
func (m *model) checkProducers() {
	want := producers{}
	for _, b := range m.batches {
		want.fold(&b.header, nil)
	}
	for id, p := range m.log.producers {
		require.Contains(m.t, want, id)
		w := want[id]
		require.Equal(m.t, w.Epoch, p.Epoch)
		require.Equal(m.t, w.Timestamp, p.Timestamp)
		require.Equal(m.t, w.recent[w.n-p.n:w.n], p.recent[:p.n]) // perhaps not all of the last ones
	}
	for id, w := range want {
		if w.Last().LastOffset >= m.start {
			require.Contains(m.t, m.log.producers, id)
		}
	}
}

func (m *model) read(rt *rapid.T) {
	if m.start == m.end {
		return
	}
	from := rapid.Int64Range(m.start, m.end-1).Draw(rt, "from")
	i := slices.IndexFunc(m.batches, func(b modelBatch) bool { return b.next > from })
	limit := m.batches[rapid.IntRange(i, len(m.batches)-1).Draw(rt, "limit")].next
	maxBytes := rapid.IntRange(0, 5_000).Draw(rt, "max")
	buf := make([]byte, rapid.IntRange(0, 5_000).Draw(rt, "buf"))
	s, err := m.log.Read(from, limit, maxBytes, buf)
	require.NoError(m.t, err)
	got := offsetsOf(m.t, s.Bytes)
	require.Equal(m.t, m.batches[i].base, got[0])
	n := 0
	for n < len(s.Bytes) {
		require.Equal(m.t, m.batches[i].size, sizeOf(s.Bytes[n:]))
		n += m.batches[i].size
		i++
	}
	last := m.batches[i-1]
	require.Equal(m.t, last.next-1, got[len(got)-1])
	require.LessOrEqual(m.t, last.next, limit)
	require.True(m.t, n <= maxBytes || n == last.size, "%d bytes of at most %d", n, maxBytes)
	s.Release()
}

func (m *model) time(rt *rapid.T) {
	offset := rapid.Int64Range(0, m.end+2).Draw(rt, "offset")
	early := rapid.Int64Range(0, 999).Draw(rt, "early")
	got, timestamp, ok, err := m.log.OffsetForTime(offset*1000 - early)
	require.NoError(m.t, err)
	want := max(offset, m.start)
	require.Equal(m.t, want < m.end, ok)
	if ok {
		require.Equal(m.t, want, got)
		require.Equal(m.t, want*1000, timestamp)
	}
}

func (m *model) sync(*rapid.T) {
	require.NoError(m.t, m.log.Sync())
	m.synced = m.end
}

func (m *model) truncate(rt *rapid.T) {
	to := rapid.Int64Range(m.start, m.end+1).Draw(rt, "to")
	require.NoError(m.t, m.log.Truncate(to))
	m.drop(to)
	if to < m.synced {
		m.synced = m.end
	}
}

// drop is what Truncate does.
func (m *model) drop(to int64) {
	for len(m.batches) > 0 && m.batches[len(m.batches)-1].next > to {
		m.end = m.batches[len(m.batches)-1].base
		m.batches = m.batches[:len(m.batches)-1]
	}
	m.start = min(m.start, m.end)
	m.synced = min(m.synced, m.end)
}

func (m *model) setStart(rt *rapid.T) {
	to := rapid.Int64Range(m.start, m.end).Draw(rt, "start")
	require.NoError(m.t, m.log.SetStart(to))
	m.start = to
	m.synced = max(m.synced, to)
}

func (m *model) reopen(*rapid.T) {
	require.NoError(m.t, m.log.Close())
	l, r, err := Open(m.cfg)
	require.NoError(m.t, err)
	require.True(m.t, r.Clean, "%+v", r)
	require.Zero(m.t, r.Batches)
	m.log, m.synced = l, m.end
}

// kill leaves the log as it is, and opens a copy of its files.
func (m *model) kill(*rapid.T) {
	m.copies++
	cfg := copyDir(m.t, m.cfg, fmt.Sprintf("copy-%d", m.copies))
	require.NoError(m.t, m.log.Close())
	l, r, err := Open(cfg)
	require.NoError(m.t, err)
	require.Zero(m.t, r.Cut)
	require.Empty(m.t, r.Damage)
	m.cfg, m.log, m.synced = cfg, l, m.end
}

// powerLoss opens a copy that lacks some of the bytes that were not synced.
func (m *model) powerLoss(rt *rapid.T) {
	active := m.log.active
	if active == nil {
		return
	}
	size := rapid.Int64Range(m.log.syncedPos, active.size.Load()).Draw(rt, "left")
	m.copies++
	cfg := copyDir(m.t, m.cfg, fmt.Sprintf("copy-%d", m.copies))
	path := filepath.Join(cfg.Dir, filepath.Base(active.logPath()))
	before := readFile(m.t, cfg.FS, path)
	garbage := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "garbage")
	zeros := rapid.IntRange(0, 5000).Draw(rt, "zeros")
	b := slices.Concat(before[:size], garbage, make([]byte, zeros))
	writeFile(m.t, cfg.FS, path, b)
	require.NoError(m.t, m.log.Close())

	whole, end := int64(0), active.base
	for _, x := range m.batches {
		next := whole + int64(x.size)
		if x.base >= active.base && x.base == end && bytes.HasPrefix(b[whole:], before[whole:next]) { // zeros may have been lost, and be there again
			whole, end = next, x.next
		}
	}
	l, r, err := Open(cfg)
	require.NoError(m.t, err)
	require.Empty(m.t, r.Damage)
	m.cfg, m.log = cfg, l
	require.GreaterOrEqual(m.t, l.EndOffset(), m.synced)
	require.Equal(m.t, end, l.EndOffset())
	require.Equal(m.t, torn(b[whole:]), r.Cut)
	m.drop(end)
	m.synced = m.end
}

func (m *model) check(*rapid.T) {
	m.checkProducers()
	require.Equal(m.t, m.start, m.log.StartOffset())
	require.Equal(m.t, m.end, m.log.EndOffset())
	require.GreaterOrEqual(m.t, m.log.SyncedOffset(), m.synced)
	require.LessOrEqual(m.t, m.log.SyncedOffset(), m.end)
	var epochs []EpochEntry
	for _, b := range m.batches {
		if b.next <= m.start {
			continue
		}
		if b.epoch > latestEpoch(epochs) {
			epochs = append(epochs, EpochEntry{b.epoch, max(b.base, m.start)})
		}
	}
	if m.start < m.end {
		require.Equal(m.t, epochs, m.log.Epochs())
	}
	_, err := m.log.Read(m.start-1, m.end, 10, nil)
	require.ErrorIs(m.t, err, fault.OffsetOutOfRange)
	_, err = m.log.Read(m.end+1, m.end+10, 10, nil)
	require.ErrorIs(m.t, err, fault.OffsetOutOfRange)
	s, err := m.log.Read(m.end, m.end, 10, nil)
	require.NoError(m.t, err)
	require.Empty(m.t, s.Bytes)
}

func offsetsIn(b []byte) int64 {
	h := headerOf(b)
	return h.NextOffset() - h.BaseOffset
}

func sizeOf(b []byte) int {
	h := headerOf(b)
	return h.Size()
}
