package log

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// keyed is a record as the tests of compaction know it. A key of "" is null.
type keyed struct {
	offset, ms int64
	key        string
	tombstone  bool
	value      string
	horizon    int64 // from when a tombstone may go, once compaction has met it
}

// encodeKeyed encodes records of consecutive offsets as one batch.
func encodeKeyed(records []keyed, epoch int32, c record.Compression) []byte {
	b := record.NewBuilder(1 << 30)
	for _, r := range records {
		var key, value []byte
		if r.key != "" {
			key = []byte(r.key)
		}
		if !r.tombstone {
			value = []byte(r.value)
		}
		b.Add(r.ms, key, value, []record.Header{{Key: "n", Value: []byte(r.value)}})
	}
	batch, err := b.Batch(testCodec, c, 0)
	if err != nil {
		panic(err)
	}
	raw := append([]byte(nil), batch.Bytes...)
	record.Stamp(raw, records[0].offset, epoch)
	return raw
}

var testCodec = record.NewCodec(0)

// readKeyed reads a log from its start to its end: every offset must be covered
// by one batch.
func readKeyed(t tb, l *Log) (all []keyed) {
	t.Helper()
	next := l.StartOffset()
	buf := make([]byte, 4<<10)
	for next < l.EndOffset() {
		s, err := l.Read(next, l.EndOffset(), len(buf), buf)
		require.NoError(t, err)
		require.NotEmpty(t, s.Bytes)
		for b := s.Bytes; len(b) > 0; {
			batch, err := record.Parse(b)
			require.NoError(t, err)
			if next > l.StartOffset() {
				require.Equal(t, next, batch.BaseOffset)
			}
			all = append(all, recordsOf(t, batch, l.StartOffset())...)
			next = batch.NextOffset()
			b = b[batch.Size():]
		}
		s.Release()
	}
	require.Equal(t, l.EndOffset(), next)
	return all
}

func recordsOf(t tb, batch record.Batch, start int64) (all []keyed) {
	it, err := batch.Records(testCodec)
	require.NoError(t, err)
	latest := int64(math.MinInt64)
	var r record.Record
	for it.Next(&r) {
		latest = max(latest, r.Timestamp.UnixMilli())
		if r.Offset < start {
			continue
		}
		require.Len(t, r.Headers, 1)
		value := string(r.Headers[0].Value)
		if r.Value != nil {
			require.Equal(t, value, string(r.Value))
		}
		all = append(all, keyed{offset: r.Offset, ms: r.Timestamp.UnixMilli(), key: string(r.Key), tombstone: r.Value == nil, value: value})
	}
	require.NoError(t, it.Err())
	if batch.Count > 0 {
		require.Equal(t, batch.MaxTimestamp, latest)
	} else {
		require.Equal(t, record.HeaderLen, batch.Size())
		require.EqualValues(t, record.NoTimestamp, batch.MaxTimestamp)
	}
	return all
}

// withoutHorizons is what readKeyed can see of records.
func withoutHorizons(records []keyed) []keyed {
	var out []keyed
	for _, r := range records {
		r.horizon = 0
		out = append(out, r)
	}
	return out
}

// compacted returns what compaction leaves of records when it goes over all
// before end, and notes the horizons of tombstones.
func compacted(records []keyed, end, now, retention int64) (left []keyed) {
	last := map[string]int64{}
	for _, r := range records {
		if r.offset < end {
			last[r.key] = r.offset
		}
	}
	for _, r := range records {
		if r.offset < end {
			if r.key == "" || last[r.key] != r.offset || r.horizon > 0 && now >= r.horizon {
				continue
			}
			if r.tombstone && r.horizon == 0 {
				r.horizon = now + retention
			}
		}
		left = append(left, r)
	}
	return left
}

// compactAll compacts until the keys of all records were seen.
func compactAll(t tb, l *Log, c Compaction) {
	t.Helper()
	for {
		done, err := l.Compact(context.Background(), c, l.Swap)
		require.NoError(t, err)
		if !done.More {
			return
		}
	}
}

// TestCompactModel holds compaction against a list of records, under any
// sequence of operations and any settings.
func TestCompactModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &compactModel{t: rt, cfg: memoryConfig(), now: 1_000_000}
		m.cfg.Codec = testCodec
		m.cfg.SegmentBytes = rapid.Int64Range(200, 5_000).Draw(rt, "segment.bytes")
		m.cfg.IndexInterval = rapid.IntRange(1, 1_000).Draw(rt, "index.interval.bytes")
		m.cfg.TailBytes = rapid.SampledFrom([]int{-1, 1, 1_000}).Draw(rt, "tail")
		m.open()
		defer func() { _ = m.log.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"append":   m.append,
			"compact":  m.compact,
			"start":    m.setStart,
			"truncate": m.truncate,
			"reopen":   m.reopen,
			"kill":     m.kill,
			"time":     m.time,
			"":         m.check,
		})
	})
}

type compactModel struct {
	t   *rapid.T
	cfg Config
	log *Log

	records []keyed
	end     int64
	clean   int64 // compaction went over everything before
	now     int64
	epoch   int32
	copies  int
}

func (m *compactModel) open() {
	l, r, err := Open(m.cfg)
	require.NoError(m.t, err)
	require.Empty(m.t, r.Damage)
	m.log = l
}

func (m *compactModel) append(rt *rapid.T) {
	if rapid.IntRange(0, 5).Draw(rt, "new epoch") == 0 {
		m.epoch++
	}
	for range rapid.IntRange(1, 6).Draw(rt, "batches") {
		var batch []keyed
		for range rapid.IntRange(1, 8).Draw(rt, "records") {
			r := keyed{offset: m.end, ms: m.now - rapid.Int64Range(0, 50).Draw(rt, "age")}
			if k := rapid.IntRange(-1, 8).Draw(rt, "key"); k > 0 {
				r.key = fmt.Sprintf("k%d", k)
			} else if k == 0 {
				r.key = fmt.Sprintf("once-%d", m.end)
			}
			r.tombstone = rapid.IntRange(0, 3).Draw(rt, "tombstone") == 0
			r.value = fmt.Sprintf("%d%s", m.end, string(make([]byte, rapid.IntRange(0, 60).Draw(rt, "size"))))
			batch = append(batch, r)
			m.end++
		}
		m.records = append(m.records, batch...)
		c := record.Compression(rapid.IntRange(0, 4).Draw(rt, "compression"))
		require.NoError(m.t, m.log.Append(encodeKeyed(batch, m.epoch, c), nil))
	}
	m.now += rapid.Int64Range(0, 100).Draw(rt, "later")
}

func (m *compactModel) compact(rt *rapid.T) {
	m.now += rapid.Int64Range(0, 1_000).Draw(rt, "later")
	c := Compaction{
		Now:             m.now,
		Limit:           rapid.Int64Range(max(m.clean, m.log.StartOffset()), m.end).Draw(rt, "limit"), // a high watermark never falls
		MinLag:          time.Duration(rapid.SampledFrom([]int{0, 0, 1, 50, 1_000}).Draw(rt, "min lag")) * time.Millisecond,
		DeleteRetention: time.Duration(rapid.IntRange(1, 1_000).Draw(rt, "delete retention")) * time.Millisecond,
		SegmentBytes:    m.cfg.SegmentBytes,
		KeyBytes:        rapid.SampledFrom([]int{0, 1, 16 * keySlotLen}).Draw(rt, "key bytes"),
	}
	d, err := m.log.DirtyRange(c)
	require.NoError(m.t, err)
	require.LessOrEqual(m.t, d.To, max(c.Limit, d.From))
	m.clean = max(m.clean, d.To)
	compactAll(m.t, m.log, c)
	m.records = compacted(m.records, d.To, c.Now, c.DeleteRetention.Milliseconds())
	after, err := m.log.DirtyRange(c)
	require.NoError(m.t, err)
	require.Equal(m.t, after.From, after.To)
	for _, r := range m.records {
		if r.tombstone && r.offset < d.To && r.offset >= m.log.StartOffset() {
			require.LessOrEqual(m.t, after.Horizon, r.horizon)
		}
	}
}

func (m *compactModel) setStart(rt *rapid.T) {
	m.dropBefore(rapid.Int64Range(m.log.StartOffset(), m.end).Draw(rt, "start"))
}

func (m *compactModel) dropBefore(start int64) {
	require.NoError(m.t, m.log.SetStart(start))
	for len(m.records) > 0 && m.records[0].offset < start {
		m.records = m.records[1:]
	}
}

// truncate drops what compaction has not seen, as a follower does above the high
// watermark.
func (m *compactModel) truncate(rt *rapid.T) {
	from := max(m.clean+8, m.log.StartOffset()+8) // a batch has eight records at most
	if from >= m.end {
		return
	}
	require.NoError(m.t, m.log.Truncate(rapid.Int64Range(from, m.end).Draw(rt, "to")))
	m.end = m.log.EndOffset()
	for len(m.records) > 0 && m.records[len(m.records)-1].offset >= m.end {
		m.records = m.records[:len(m.records)-1]
	}
}

func (m *compactModel) reopen(*rapid.T) {
	before := *m.log.mark.Load()
	require.NoError(m.t, m.log.Close())
	m.open()
	after := *m.log.mark.Load()
	require.Equal(m.t, before.clean, after.clean)
	if before.horizon == math.MaxInt64 {
		require.Equal(m.t, before, after)
	} else {
		require.InDelta(m.t, before.horizon, after.horizon, 999)
		require.GreaterOrEqual(m.t, after.horizon, before.horizon)
	}
}

func (m *compactModel) kill(*rapid.T) {
	m.copies++
	cfg := copyDir(m.t, m.cfg, fmt.Sprintf("copy-%d", m.copies))
	require.NoError(m.t, m.log.Close())
	m.cfg = cfg
	m.open()
}

func (m *compactModel) time(rt *rapid.T) {
	ms := m.now - rapid.Int64Range(-10, 2_000).Draw(rt, "ago")
	offset, timestamp, ok, err := m.log.OffsetForTime(ms)
	require.NoError(m.t, err)
	for _, r := range m.records {
		if r.ms >= ms {
			require.True(m.t, ok)
			require.Equal(m.t, r.offset, offset)
			require.Equal(m.t, r.ms, timestamp)
			return
		}
	}
	require.False(m.t, ok)
}

func (m *compactModel) check(*rapid.T) {
	require.Equal(m.t, m.end, m.log.EndOffset())
	require.Equal(m.t, withoutHorizons(m.records), withoutHorizons(readKeyed(m.t, m.log)))
	noLeftovers(m.t, m.cfg)
}

// fillKeyed appends random batches, which roll often.
func fillKeyed(t tb, l *Log, rng *rand.Rand, batches int) (all []keyed) {
	t.Helper()
	for range batches {
		var batch []keyed
		next := l.EndOffset()
		for range 1 + rng.IntN(6) {
			batch = append(batch, keyed{
				offset: next, ms: next * 10, key: fmt.Sprintf("k%d", rng.IntN(8)),
				tombstone: rng.IntN(4) == 0, value: fmt.Sprintf("%d-%0*d", next, rng.IntN(80), 0),
			})
			next++
		}
		all = append(all, batch...)
		require.NoError(t, l.Append(encodeKeyed(batch, 0, record.Compression(rng.IntN(5))), nil))
	}
	return all
}

// subset checks that got has only records of all, in their order, and all of
// must.
func subset(t tb, got, all, must []keyed) {
	t.Helper()
	i := 0
	at := map[int64]bool{}
	for _, r := range got {
		for i < len(all) && all[i].offset < r.offset {
			i++
		}
		require.Less(t, i, len(all), "an invented record")
		require.Equal(t, all[i], r)
		at[r.offset] = true
	}
	for _, r := range must {
		require.True(t, at[r.offset], "the record at %d is missing", r.offset)
	}
}

// TestPowerLossInCompaction takes the power away before each operation of
// compactions on the file system, in several ways. Opening works, every record
// that compaction leaves is there, and going on finds the same as without.
func TestPowerLossInCompaction(t *testing.T) {
	for seed := range uint64(unlessRaced(8, 1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { powerLossInCompaction(t, seed) })
	}
}

func powerLossInCompaction(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	disk := vfs.NewCrashable()
	fsys := &failing{FS: disk, fail: nothingFails}
	cfg := Config{
		FS: fsys, Dir: "data/orders-3", Topic: "orders", Partition: 3, Codec: testCodec,
		SegmentBytes: 300 + rng.Int64N(2_000), IndexInterval: 1 + rng.IntN(600), TailBytes: -1,
	}
	l, _ := open(t, cfg)
	all := fillKeyed(t, l, rng, 40)
	require.NoError(t, l.Sync())
	c := Compaction{Now: 1, Limit: l.EndOffset(), DeleteRetention: time.Millisecond, SegmentBytes: cfg.SegmentBytes, KeyBytes: rng.IntN(2)}
	for round := range 3 { // the second one removes tombstones
		d, err := l.DirtyRange(c)
		require.NoError(t, err)
		left := compacted(all, d.To, c.Now, 1)
		active := l.active.size.Load()
		fsys.fail = func(op, path string) error {
			if op == "read" {
				return nil
			}
			after := disk.After(vfs.RandomLoss(rng.Uint64()))
			cfg := cfg
			cfg.FS = after
			l, r, err := Open(cfg)
			require.NoError(t, err, "%s %s", op, path)
			require.Empty(t, r.Damage)
			subset(t, readKeyed(t, l), withoutHorizons(all), left)
			require.LessOrEqual(t, r.Bytes, active, "of the other segments, nothing is verified")
			if rng.IntN(4) == 0 {
				compactAll(t, l, c)
				require.Equal(t, withoutHorizons(left), readKeyed(t, l))
			}
			require.NoError(t, l.Close())
			return nil
		}
		compactAll(t, l, c)
		fsys.fail = nothingFails
		require.Equal(t, withoutHorizons(left), readKeyed(t, l))
		all = left
		c.Now += int64(1 + round)
		if round == 1 {
			all = append(all, fillKeyed(t, l, rng, 20)...)
			require.NoError(t, l.Sync())
			c.Limit = l.EndOffset()
		}
	}
}
