package runnel

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// everyFlip makes TestVerifyEverywhere go through many more flips.
var everyFlip = flag.Bool("every", false, "invert many more bits")

// everyKind makes a directory with every kind of file, closed.
func everyKind(t *testing.T) vfs.FS {
	fsys := vfs.NewMemory()
	b := snapshotted(t, fsys)
	ctx := t.Context()
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 16 << 10}}))
	p, err := producer.New(b)
	require.NoError(t, err)
	for n := range 30 {
		_, err := p.Send(ctx, record.Record{Topic: "orders", Key: fmt.Append(nil, n%5), Value: make([]byte, 1000)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	require.NoError(t, b.SetGroupOffsets(ctx, "g", map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 2}}))
	require.NoError(t, b.Close())
	return fsys
}

// copied copies a directory to a file system of its own.
func copied(t *testing.T, from vfs.FS) vfs.FS {
	to := vfs.NewMemory()
	for _, path := range allFiles(t, from, "/srv/data") {
		require.NoError(t, to.MkdirAll(filepath.Dir(path)))
		b, err := vfs.ReadFile(from, path, 1<<30)
		require.NoError(t, err)
		require.NoError(t, vfs.WriteFile(to, path, b))
	}
	return to
}

func allFiles(t *testing.T, fsys vfs.FS, dir string) (paths []string) {
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name); e.Dir {
			paths = append(paths, allFiles(t, fsys, path)...)
		} else {
			paths = append(paths, path)
		}
	}
	return paths
}

// invert inverts a bit of a file.
func invert(t *testing.T, fsys vfs.FS, path string, bit int64) {
	f, err := fsys.OpenFile(path, os.O_RDWR)
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], bit/8)
	require.NoError(t, err)
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b[:], bit/8)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestVerifyEverywhere inverts a bit in each kind of file. What is called damage is
// so whether or not a program has the directory open, and a repair ends it, unless
// no other copy shows what was there.
func TestVerifyEverywhere(t *testing.T) {
	original := everyKind(t)
	tries := 2
	if *everyFlip {
		tries = 600
	}
	kinds := map[string]int{}
	for _, path := range allFiles(t, original, "/srv/data") {
		e, err := original.Stat(path)
		require.NoError(t, err)
		kind := filepath.Ext(path)
		if strings.Contains(path, "__cluster_metadata") {
			kind = "catalogue's " + kind
		} else if kind == "" {
			kind = filepath.Base(path)
		}
		if e.Size == 0 || kinds[kind] >= 2 && !*everyFlip {
			continue
		}
		kinds[kind]++
		for range tries {
			bit := rand.Int64N(8 * e.Size)
			if filepath.Base(path) == "runnel-checkpoint" {
				bit = rand.Int64N(2)*8*4096 + rand.Int64N(8*128)
			}
			verifyFlip(t, original, path, bit, kind)
		}
	}
	catalogue := "/srv/data/__cluster_metadata-0/00000000000000000000.log"
	for _, pos := range leaderEpochs(t, original, catalogue) {
		verifyFlip(t, original, catalogue, 8*(pos+3), "catalogue's .log")
	}
	for _, kind := range strings.Fields(".index .timeindex .log .snapshot .metadata leader-epoch-checkpoint runnel-checkpoint") {
		require.Positive(t, kinds[kind], kind)
	}
	require.EqualValues(t, 2, kinds["catalogue's .checkpoint"])
	require.Positive(t, kinds["catalogue's .log"])
}

// leaderEpochs returns where the leader epochs of some batches of a file stand, the
// first one's and the last one's among them. No checksum covers them.
func leaderEpochs(t *testing.T, fsys vfs.FS, path string) (some []int64) {
	raw, err := vfs.ReadFile(fsys, path, 1<<30)
	require.NoError(t, err)
	var all []int64
	for pos := 0; pos+record.HeaderLen <= len(raw); {
		h, err := record.ParseHeader(raw[pos:])
		require.NoError(t, err)
		all = append(all, int64(pos)+12)
		pos += int(h.Size())
	}
	step := 5
	if *everyFlip {
		step = 1
	}
	for n := 0; n < len(all); n += step {
		some = append(some, all[n])
	}
	return append(some, all[len(all)-1])
}

func verifyFlip(t *testing.T, original vfs.FS, path string, bit int64, kind string) {
	what := fmt.Sprintf("bit %d of byte %d of %s", bit%8, bit/8, path)
	closed := copied(t, original)
	invert(t, closed, path, bit)
	found, err := inspect(t.Context(), closed, "/srv/data", false, nil)
	if fault.CodeOf(err) == fault.UnsupportedFormat {
		return // a newer version's
	}
	require.NoError(t, err, what)

	running := copied(t, original)
	b, err := openFixture(running)
	require.NoError(t, err, what)
	require.NoError(t, b.Verify(t.Context()), what)
	invert(t, running, path, bit)
	verified := b.Verify(t.Context())
	live, err := inspect(t.Context(), running, "/srv/data", true, nil)
	require.NoError(t, err, what)
	require.Equal(t, found.Worst() == log.Damage, live.Worst() == log.Damage || verified != nil,
		"%s: closed %v, open %v and %v", what, all(found), all(live), verified)
	_ = b.Close()

	steps, err := repair(t.Context(), closed, "/srv/data", datadir.RepairOptions{})
	require.NoError(t, err, what)
	for _, s := range steps {
		if s.Refused {
			require.Equal(t, "catalogue's .log", kind, "%s: %v", what, steps)
			return
		}
	}
	after, err := inspect(t.Context(), closed, "/srv/data", false, nil)
	require.NoError(t, err, what)
	require.Equal(t, log.Note, after.Worst(), "%s: %v after %v", what, all(after), steps)
	again, err := openFixture(closed)
	require.NoError(t, err, what)
	require.NoError(t, again.Verify(t.Context()), what)
	require.Len(t, again.metadata.Catalogue.Names(), 12, what)
	require.NoError(t, again.Close(), what)
}

// all are the findings that count.
func all(i datadir.Inspection) (lines []string) {
	list := i.Findings
	for _, p := range i.Partitions {
		list = append(list, p.Findings...)
	}
	for _, f := range list {
		if f.Grade > log.Note {
			lines = append(lines, fmt.Sprint(f.Grade, ": ", f.Error()))
		}
	}
	return lines
}

// A flip below the newest snapshot of the catalogue, where its log is not read any
// more, and one in that snapshot, each are repaired; both together take the
// catalogue, and are refused.
func TestRepairOfTheCatalogue(t *testing.T) {
	original := everyKind(t)
	n, err := inspect(t.Context(), original, "/srv/data", false, nil)
	require.NoError(t, err)
	snapshots := metadata.Snapshots{FS: original, Dir: "/srv/data"}
	ids, err := snapshots.List()
	require.NoError(t, err)
	start, next := n.Partitions[0].Start, ids[0].Offset
	require.Less(t, start, next)
	newest := snapshots.Path(ids[0])
	old := filepath.Join("/srv/data", "__cluster_metadata-0", "00000000000000000000.log")
	_, err = original.Stat(old)
	require.NoError(t, err)
	raw, err := vfs.ReadFile(original, old, 1<<30)
	require.NoError(t, err)
	unread := int64(-1) // a byte of a record between the two snapshots
	for pos := int64(0); pos+61 < int64(len(raw)); {
		h, err := record.ParseHeader(raw[pos:])
		require.NoError(t, err)
		if h.BaseOffset >= start && h.LastOffset() < next {
			unread = pos + 70
		}
		pos += int64(h.Size())
	}
	require.Positive(t, unread)
	for name, spoil := range map[string]struct {
		log, snapshot, refused bool
	}{
		"the log where a snapshot has all": {log: true},
		"the newest snapshot":              {snapshot: true},
		"both":                             {log: true, snapshot: true, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := copied(t, original)
			if spoil.log {
				invert(t, fsys, old, 8*unread)
			}
			if spoil.snapshot {
				invert(t, fsys, newest, 8*30)
			}
			found, err := inspect(t.Context(), fsys, "/srv/data", false, nil)
			require.NoError(t, err)
			require.Equal(t, log.Damage, found.Worst())
			steps, err := repair(t.Context(), fsys, "/srv/data", datadir.RepairOptions{DryRun: true})
			require.NoError(t, err)
			require.NotEmpty(t, steps)
			require.Equal(t, spoil.refused, steps[0].Refused, "%v", steps)
			steps, err = repair(t.Context(), fsys, "/srv/data", datadir.RepairOptions{})
			require.NoError(t, err)
			require.Equal(t, spoil.refused, steps[0].Refused, "%v", steps)
			found, err = inspect(t.Context(), fsys, "/srv/data", false, nil)
			require.NoError(t, err)
			if spoil.refused {
				require.Equal(t, log.Damage, found.Worst())
				return
			}
			require.Equal(t, log.Note, found.Worst(), "%v", all(found))
			b, err := openFixture(fsys)
			require.NoError(t, err)
			require.Len(t, b.metadata.Catalogue.Names(), 12)
			require.GreaterOrEqual(t, b.metadata.Partition().StartOffset(), map[bool]int64{true: next, false: start}[spoil.log], "no older snapshot needs what was given up")
			require.NoError(t, b.Close())
		})
	}
}

// What a program has in its memory is compared with what the disk has of it.
func TestVerifyReadsTheFiles(t *testing.T) {
	fsys := vfs.NewMemory()
	b, err := openFixture(fsys)
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	p, err := producer.New(b)
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("value")})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, b.Verify(t.Context()))
	invert(t, fsys, "/srv/data/orders-0/00000000000000000000.log", 8*63)
	require.ErrorIs(t, b.Verify(t.Context()), fault.CorruptMessage)
	require.NoError(t, b.Close())
}
