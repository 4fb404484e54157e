package log

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

// TestPowerLoss takes the power away between any two operations on the file
// system while a log appends, syncs, rolls, truncates, drops old records, closes
// and opens. Whatever part of what was not synced survives, opening what is left
// works, and finds everything that was durable and nothing that never was.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(unlessRaced(200, 10)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := newPowerLoss(t, seed)
			for range 60 {
				p.step()
			}
			require.NoError(t, p.log.Close())
		})
	}
}

type powerLoss struct {
	t    *testing.T
	rng  *rand.Rand
	disk *vfs.Crashable
	cfg  Config
	log  *Log

	// What a log may have that is opened after a crash now.
	durable, end      int64 // durable <= EndOffset() <= end
	start, laterStart int64 // start <= StartOffset() <= laterStart
	epoch             int32
}

func newPowerLoss(t *testing.T, seed uint64) *powerLoss {
	p := &powerLoss{t: t, rng: rand.New(rand.NewPCG(seed, 0)), disk: vfs.NewCrashable()}
	require.NoError(t, p.disk.MkdirAll("data")) // a data directory is durable before its logs
	require.NoError(t, p.disk.SyncDir("."))
	p.cfg = Config{
		Dir: "data/orders-3", Topic: "orders", Partition: 3,
		SegmentBytes: 1 + p.rng.Int64N(4_000), IndexInterval: 1 + p.rng.IntN(600), TailBytes: -1,
	}
	p.open()
	return p
}

// watched returns cfg on disk, every operation of which is a moment at which the
// power may fail.
func (p *powerLoss) watched() Config {
	cfg := p.cfg
	cfg.FS = &failing{FS: p.disk, fail: func(string, string) error {
		if p.rng.IntN(12) == 0 {
			p.check(p.disk.After(vfs.RandomLoss(p.rng.Uint64())))
		}
		return nil
	}}
	return cfg
}

func (p *powerLoss) open() {
	l, r, err := Open(p.watched())
	require.NoError(p.t, err)
	require.Empty(p.t, r.Damage)
	p.log = l
}

func (p *powerLoss) step() {
	l := p.log
	switch p.rng.IntN(12) {
	default:
		var all []byte
		next := l.EndOffset()
		if p.rng.IntN(10) == 0 {
			p.epoch++
		}
		for range 1 + p.rng.IntN(3) {
			b := batchOf(next, p.epoch, 1+p.rng.IntN(8), 1+p.rng.IntN(200))
			next += offsetsIn(b)
			all = append(all, b...)
		}
		p.end = next
		require.NoError(p.t, l.Append(all, nil))
	case 0, 1, 2:
		require.NoError(p.t, l.Sync())
		p.durable = l.EndOffset()
	case 3:
		p.laterStart = l.StartOffset() + p.rng.Int64N(l.EndOffset()-l.StartOffset()+1)
		require.NoError(p.t, l.SetStart(p.laterStart))
		p.start = p.laterStart
	case 4:
		to := l.StartOffset() + p.rng.Int64N(l.EndOffset()-l.StartOffset()+1)
		p.durable = min(p.durable, max(0, to-8)) // a batch has eight records at most
		p.start = min(p.start, max(0, to-8))
		require.NoError(p.t, l.Truncate(to))
		p.durable, p.end = min(l.EndOffset(), l.SyncedOffset()), l.EndOffset()
		p.start, p.laterStart = l.StartOffset(), l.StartOffset()
	case 5:
		require.NoError(p.t, l.Close())
		p.durable = p.end
		p.open()
		require.Equal(p.t, p.end, p.log.EndOffset())
	case 6:
		p.disk = p.disk.Crash(vfs.RandomLoss(p.rng.Uint64()))
		_ = l.Close()
		p.open()
		p.durable, p.end = p.log.EndOffset(), p.log.EndOffset()
		p.start, p.laterStart = p.log.StartOffset(), p.log.StartOffset()
		p.epoch = max(p.epoch, latestEpoch(p.log.Epochs()))
	}
}

// check opens what a crash left, reads it, and opens it once more.
func (p *powerLoss) check(disk *vfs.Crashable) {
	p.t.Helper()
	cfg := p.cfg
	cfg.FS = disk
	before := inspected(p.t, cfg)
	require.NotEqual(p.t, Damage, before.Worst(), "%v", before.Findings)
	l, r, err := Open(cfg)
	require.NoError(p.t, err)
	require.Empty(p.t, r.Damage)
	require.GreaterOrEqual(p.t, l.EndOffset(), p.durable)
	require.LessOrEqual(p.t, l.EndOffset(), p.end)
	require.GreaterOrEqual(p.t, l.StartOffset(), p.start)
	require.LessOrEqual(p.t, l.StartOffset(), p.laterStart)
	readAll(p.t, l, l.StartOffset())
	end := l.EndOffset()
	require.NoError(p.t, l.Append(batchOf(end, 1<<20, 1, 10), nil))
	require.NoError(p.t, l.Sync())
	require.NoError(p.t, l.Close())

	closed := inspected(p.t, cfg)
	for _, f := range closed.Findings {
		require.False(p.t, f.Grade == Recoverable && f.Expected != "no segment of this name" && filepath.Ext(f.File) == timeIndexSuffix, "%v", f) // it would hide records from a search by time
	}
	cfg.FS = disk.Crash(vfs.Loss{Kept: vfs.KeepNone})
	l, r, err = Open(cfg)
	require.NoError(p.t, err)
	require.True(p.t, r.Clean)
	require.Equal(p.t, end+1, l.EndOffset())
	require.NoError(p.t, l.Close())
}

// TestNamesAreDurable loses the power, with all that was not synced, behind each
// of what makes, replaces and removes files: the same files are there.
func TestNamesAreDurable(t *testing.T) {
	disk := vfs.NewCrashable()
	cfg := Config{FS: disk, Dir: "data/orders-3", Topic: "orders", Partition: 3, SegmentBytes: 1_000, TailBytes: -1}
	names := func(fsys vfs.FS) (names []string) {
		entries, err := fsys.ReadDir(cfg.Dir)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name)
		}
		return names
	}
	same := func(what string) {
		t.Helper()
		require.Equal(t, names(disk), names(disk.After(vfs.Loss{Kept: vfs.KeepNone})), what)
	}
	l, _ := open(t, cfg)
	require.NoError(t, disk.SyncDir("data"))
	for range 10 {
		appendN(t, l, 1, 5, 100)
		require.NoError(t, l.Sync())
		same("append")
	}
	require.Greater(t, l.Segments(), 3)
	require.NoError(t, l.Append(batchOf(l.EndOffset(), 1, 5, 100), nil))
	require.NoError(t, l.writeCheckpoint(false)) // with a new epoch
	same("epoch")
	require.NoError(t, l.SetStart(17))
	require.Equal(t, "00000000000000000015.index", names(disk)[0])
	same("start")
	require.NoError(t, l.Truncate(31))
	same("truncation")
	require.NoError(t, l.Close())

	// What a deletion left that was interrupted.
	for _, name := range []string{"00000000000000000000.index", "00000000000000000005.timeindex"} {
		writeFile(t, disk, cfg.Dir+"/"+name, nil)
	}
	require.NoError(t, disk.SyncDir(cfg.Dir))
	l, r := open(t, cfg)
	require.True(t, r.Clean)
	require.NotContains(t, names(disk), "00000000000000000000.index")
	same("orphans")
	require.NoError(t, l.Close())
}
