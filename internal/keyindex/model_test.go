package keyindex_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/internal/keyindex"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

const dir = "orders-3"

// model holds an index against what its log has.
type model struct {
	t         *rapid.T
	fs        *vfs.Crashable
	cfg       log.Config
	log       *log.Log
	index     *keyindex.Index // nil until it is used
	entries   int
	compacted bool
	epoch     int32
}

// TestModel holds an index against a scan of its log under any sequence of operations,
// also where the log is cut, compacted, deleted from and crashes, and where files of the
// index are damaged.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, fs: vfs.NewCrashable()}
		m.cfg = log.Config{FS: m.fs, Dir: dir, Topic: "orders", Partition: 3, Codec: record.NewCodec(0)}
		m.cfg.SegmentBytes = rapid.Int64Range(500, 20_000).Draw(rt, "segment.bytes")
		m.cfg.TailBytes = rapid.SampledFrom([]int{-1, 1000, 0}).Draw(rt, "tail")
		m.entries = rapid.IntRange(1, 60).Draw(rt, "entries")
		m.compacted = rapid.Bool().Draw(rt, "compacted")
		m.open()
		defer func() {
			m.drop(false)
			_ = m.log.Close()
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"append":   m.append,
			"follow":   func(*rapid.T) { m.follow() },
			"check":    func(*rapid.T) { m.check() },
			"roll":     func(*rapid.T) { require.NoError(m.t, m.log.Roll()) },
			"truncate": m.truncate,
			"start":    m.setStart,
			"compact":  m.compact,
			"reopen":   m.reopen,
			"crash":    m.crash,
			"damage":   m.damage,
		})
		m.check()
	})
}

// open opens the log as a partition does: what the index has on disk fits it before
// anything is appended.
func (m *model) open() {
	l, found, err := log.Open(m.cfg)
	require.NoError(m.t, err)
	m.log = l
	if !found.Clean && len(l.Epochs()) > 0 {
		m.epoch = l.Epochs()[len(l.Epochs())-1].Epoch + 1
	} else if len(l.Epochs()) == 0 {
		m.epoch = 0 // as after a crash that left nothing
	}
	require.NoError(m.t, keyindex.Sweep(m.config(), false))
}

func (m *model) config() keyindex.Config {
	return keyindex.Config{
		FS: m.fs, Dir: dir, Topic: "orders", Partition: 3, Log: m.log, Codec: m.cfg.Codec, Entries: m.entries,
		Compacted: func() bool { return m.compacted },
	}
}

// drop closes the index, if there is one.
func (m *model) drop(clean bool) {
	if m.index == nil {
		return
	}
	if clean {
		require.NoError(m.t, m.index.Close())
	} else {
		m.index.Abandon()
	}
	m.index = nil
}

func (m *model) append(rt *rapid.T) {
	var all []byte
	next := m.log.EndOffset()
	for range rapid.IntRange(1, 6).Draw(rt, "batches") {
		b := record.NewBuilder(1 << 20)
		n := rapid.IntRange(1, 12).Draw(rt, "records")
		for range n {
			var key, value []byte
			if k := rapid.IntRange(-1, 8).Draw(rt, "key"); k >= 0 || m.compacted {
				key = fmt.Append(nil, "key ", max(k, 0))
			}
			if rapid.IntRange(0, 5).Draw(rt, "tombstone") > 0 {
				value = []byte("some value")
			}
			b.Add(1000, key, value, nil)
		}
		compression := rapid.SampledFrom([]record.Compression{record.None, record.LZ4}).Draw(rt, "compression")
		batch, err := b.Batch(m.cfg.Codec, compression, 0)
		require.NoError(m.t, err)
		raw := append([]byte(nil), batch.Bytes...)
		record.Stamp(raw, next, m.epoch)
		all, next = append(all, raw...), next+int64(n)
	}
	require.NoError(m.t, m.log.Append(all, nil))
	if rapid.Bool().Draw(rt, "sync") {
		require.NoError(m.t, m.log.Sync())
	}
}

func (m *model) follow() {
	if m.index == nil {
		var err error
		m.index, err = keyindex.Open(m.config())
		require.NoError(m.t, err)
	}
	require.NoError(m.t, m.index.Follow(context.Background()))
	require.Zero(m.t, m.index.Behind())
}

// check compares what the index finds with what the log has.
func (m *model) check() {
	m.follow()
	all := map[string][]record.Record{}
	for offset := m.log.StartOffset(); offset < m.log.EndOffset(); {
		s, err := m.log.Read(offset, m.log.EndOffset(), 1<<20, nil)
		require.NoError(m.t, err)
		for rest := s.Bytes; len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			require.NoError(m.t, err)
			it, err := record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]}.Records(m.cfg.Codec)
			require.NoError(m.t, err)
			for r := (record.Record{}); it.Next(&r); {
				if r.Key != nil && r.Offset >= m.log.StartOffset() {
					all[string(r.Key)] = append(all[string(r.Key)], r.Clone())
				}
			}
			rest, offset = rest[h.Size():], h.NextOffset()
		}
	}
	for k := range 10 { // the last one is of no record
		key := fmt.Append(nil, "key ", k)
		records := all[string(key)]
		last, ok, err := m.index.Last(key)
		if errors.Is(err, keyindex.ErrAgain) {
			m.follow()
			last, ok, err = m.index.Last(key)
		}
		require.NoError(m.t, err)
		require.Equal(m.t, len(records) > 0, ok, "%s", key)
		if ok {
			r := records[len(records)-1]
			require.Equal(m.t, keyindex.Last{Offset: r.Offset, Epoch: r.LeaderEpoch, Tombstone: r.Value == nil}, last, "%s", key)
		}
		m.checkOffsets(key, records)
	}
}

// checkOffsets holds the offsets of a key, which may be too many, against its records.
func (m *model) checkOffsets(key []byte, records []record.Record) {
	var offsets []int64
	for from := int64(0); ; {
		some, err := m.index.Offsets(key, from, 3)
		if errors.Is(err, keyindex.ErrAgain) {
			m.follow()
			some, err = m.index.Offsets(key, from, 3)
		}
		require.NoError(m.t, err)
		require.LessOrEqual(m.t, len(some), 3)
		if len(some) == 0 {
			break
		}
		offsets = append(offsets, some...)
		from = some[len(some)-1] + 1
	}
	require.IsIncreasing(m.t, append([]int64{-2, -1}, offsets...))
	for _, r := range records {
		require.Contains(m.t, offsets, r.Offset)
	}
}

func (m *model) truncate(rt *rapid.T) {
	start, end := m.log.StartOffset(), m.log.EndOffset()
	if start == end {
		return
	}
	require.NoError(m.t, m.log.Truncate(rapid.Int64Range(start, end-1).Draw(rt, "to")))
	m.epoch++ // of the leader whose records replace them
}

func (m *model) setStart(rt *rapid.T) {
	require.NoError(m.t, m.log.SetStart(rapid.Int64Range(m.log.StartOffset(), m.log.EndOffset()).Draw(rt, "start")))
}

func (m *model) compact(*rapid.T) {
	if !m.compacted {
		return
	}
	_, err := m.log.Compact(context.Background(), log.Compaction{Now: 1 << 50, Limit: m.log.EndOffset()}, m.log.Swap)
	require.NoError(m.t, err)
}

func (m *model) reopen(rt *rapid.T) {
	m.drop(rapid.Bool().Draw(rt, "flush"))
	require.NoError(m.t, m.log.Close())
	m.open()
}

// crash ends the process, or the power.
func (m *model) crash(rt *rapid.T) {
	fs := m.fs.Crash(vfs.RandomLoss(rapid.Uint64().Draw(rt, "loss")))
	m.drop(false)
	_ = m.log.Close()
	m.fs, m.cfg.FS = fs, fs
	m.open()
}

// damage changes a byte of one of the index's files, or its length.
func (m *model) damage(rt *rapid.T) {
	if m.index != nil {
		m.index.AwaitMerges() // which removes files
	}
	entries, err := m.fs.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	require.NoError(m.t, err)
	var names []string
	for _, e := range entries {
		if keyindex.IsName(e.Name) && e.Size > 0 {
			names = append(names, e.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	f, err := m.fs.OpenFile(filepath.Join(dir, rapid.SampledFrom(names).Draw(rt, "file")), os.O_RDWR)
	require.NoError(m.t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(m.t, err)
	at := rapid.Int64Range(0, size-1).Draw(rt, "at")
	if rapid.IntRange(0, 4).Draw(rt, "cut") == 0 {
		require.NoError(m.t, f.Truncate(at))
		return
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(m.t, err)
	b[0] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
	_, err = f.WriteAt(b, at)
	require.NoError(m.t, err)
}
