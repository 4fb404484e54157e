package runnel

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// settleSnapshot waits for a snapshot that is being written.
func settleSnapshot(b *Broker) {
	b.writer <- struct{}{}
	<-b.writer
}

// snapshotted opens a broker, and lets it write snapshots of topics that come and
// go, so many that there have been several.
func snapshotted(t *testing.T, fsys vfs.FS) *Broker {
	t.Helper()
	b, err := openFixture(fsys)
	require.NoError(t, err)
	for n := range 10 {
		name := fmt.Sprint("short-lived-", n)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: fmt.Sprint("topic-", n)}, topic.Spec{Name: name, Partitions: 3}))
		require.NoError(t, b.DeleteTopics(t.Context(), name))
		settleSnapshot(b)
	}
	return b
}

// filesOf returns the paths of the catalogue's snapshots, the newest first.
func filesOf(t *testing.T, b *Broker) (paths []string) {
	ids, err := b.metadata.List()
	require.NoError(t, err)
	for _, id := range ids {
		paths = append(paths, b.metadata.Path(id))
	}
	return paths
}

// The log begins where the older of two snapshots ends, and a broker that opens on
// them is the one that was closed.
func TestSnapshotsTakeTheLogsPlace(t *testing.T) {
	fsys := vfs.NewMemory()
	b := snapshotted(t, fsys)
	ids, err := b.metadata.List()
	require.NoError(t, err)
	require.Len(t, ids, 2)
	require.Equal(t, b.metadata.Newest(), ids[0])
	require.Equal(t, ids[1].Offset, b.metadata.Partition().StartOffset())
	require.NotContains(t, b.metadata.Catalogue.RemovedNames(), "short-lived-0", "what is gone from the disk is forgotten")
	require.NoError(t, b.Close())

	again, err := openFixture(fsys)
	require.NoError(t, err)
	require.Equal(t, b.metadata.Catalogue, again.metadata.Catalogue)
	require.Equal(t, b.metadata.Newest(), again.metadata.Newest())
	require.Equal(t, b.metadata.Time(), again.metadata.Time())
	require.Empty(t, again.Recovery().Partitions[0].Damage)
	require.NoError(t, again.Close())
}

// A broker in memory writes them, too: its catalogue's log does not grow for ever.
func TestCatalogueInMemoryIsBounded(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	for n := range 40 {
		name := fmt.Sprint("topic-", n)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: 1000}))
		require.NoError(t, b.DeleteTopics(t.Context(), name))
	}
	settleSnapshot(b)
	require.Less(t, b.metadata.Partition().Size(), int64(2<<20))
	require.Greater(t, b.metadata.Partition().EndOffset(), int64(40_000))
	require.NoError(t, b.Close())
}

// A directory without snapshots gets its first one when it is opened.
func TestFirstSnapshotAtOpening(t *testing.T) {
	fsys := vfs.NewMemory()
	c, err := configure(defaults(topic.Fsync), nil)
	require.NoError(t, err)
	b, err := open(c, home{fsys: fsys, dir: "/srv/data", disk: true})
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 30}))
	require.Empty(t, filesOf(t, b))
	require.NoError(t, b.Close())

	b, err = openFixture(fsys)
	require.NoError(t, err)
	settleSnapshot(b)
	require.Len(t, filesOf(t, b), 1)
	require.Zero(t, b.metadata.Partition().StartOffset(), "the log alone is the other copy")
	require.NoError(t, b.Close())
}

// spoil adds to a byte in the middle of a file.
func spoil(t *testing.T, fsys vfs.FS, path string, by byte) {
	f, err := fsys.OpenFile(path, os.O_RDWR)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], size/2)
	require.NoError(t, err)
	b[0] += by
	_, err = f.WriteAt(b[:], size/2)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestDamagedSnapshots: no damage to one file takes the catalogue, and damage to
// both is reported with their names, and changes nothing.
func TestDamagedSnapshots(t *testing.T) {
	flip := func(t *testing.T, fsys vfs.FS, path string) { spoil(t, fsys, path, 1) }
	remove := func(t *testing.T, fsys vfs.FS, path string) { require.NoError(t, fsys.Remove(path)) }
	cut := func(t *testing.T, fsys vfs.FS, path string) {
		f, err := fsys.OpenFile(path, os.O_RDWR)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(100))
		require.NoError(t, f.Close())
	}
	empty := func(t *testing.T, fsys vfs.FS, path string) {
		f, err := fsys.OpenFile(path, os.O_RDWR|os.O_TRUNC)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for name, harm := range map[string]func(*testing.T, vfs.FS, string){"a byte": flip, "cut": cut, "empty": empty, "removed": remove} {
		t.Run(name, func(t *testing.T) {
			damage := 1
			if name == "removed" {
				damage = 0 // the damage went unnoticed
			}
			fsys := vfs.NewMemory()
			b := snapshotted(t, fsys)
			files := filesOf(t, b)
			want := b.metadata.Catalogue
			require.NoError(t, b.Close())

			harm(t, fsys, files[0])
			b, err := openFixture(fsys)
			require.NoError(t, err)
			require.Len(t, b.Recovery().Partitions[0].Damage, damage)
			for _, err := range b.Recovery().Partitions[0].Damage {
				require.ErrorIs(t, err, fault.CorruptMessage)
				require.ErrorContains(t, err, files[0])
			}
			require.Equal(t, want.Names(), b.metadata.Catalogue.Names())
			for _, name := range want.Names() {
				require.Equal(t, want.Topic(name), b.metadata.Catalogue.Topic(name))
			}
			require.NoError(t, b.Close())

			for _, file := range filesOf(t, b) {
				harm(t, fsys, file)
			}
			_, err = openFixture(fsys)
			require.ErrorIs(t, err, fault.CorruptMessage)
			var c *fault.Corruption
			require.ErrorAs(t, err, &c)
			require.Equal(t, topic.ClusterMetadata, c.Topic)
			require.Contains(t, c.File, topic.ClusterMetadata)
			require.NotEmpty(t, c.Hint)
		})
	}
}

// A snapshot written after the damage makes up for it.
func TestSnapshotAfterDamage(t *testing.T) {
	fsys := vfs.NewMemory()
	b := snapshotted(t, fsys)
	files := filesOf(t, b)
	require.NoError(t, b.Close())
	spoil(t, fsys, files[0], 1)
	for range 2 { // the first lets the damaged one be: the log reaches back to the one before
		b, err := openFixture(fsys)
		require.NoError(t, err)
		b.writer <- struct{}{}
		b.metadata.Request()
		b.release()
		settleSnapshot(b)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: fmt.Sprint("new-", b.metadata.Partition().EndOffset()), Partitions: 20}))
		settleSnapshot(b)
		files = filesOf(t, b)
		require.NoError(t, b.Close())
	}
	require.Len(t, files, 2)
	for range 2 {
		spoil(t, fsys, files[0], 1)
		b, err := openFixture(fsys)
		require.NoError(t, err)
		require.Len(t, b.metadata.Catalogue.Names(), 12)
		require.NoError(t, b.Close())
		spoil(t, fsys, files[0], 255) // whole again
		slices.Reverse(files)
	}
}

// Verify finds a snapshot that is damaged, before it is needed.
func TestVerifyReadsSnapshots(t *testing.T) {
	fsys := vfs.NewMemory()
	b := snapshotted(t, fsys)
	require.NoError(t, b.Verify(t.Context()))
	for _, file := range filesOf(t, b) {
		spoil(t, fsys, file, 1)
		err := b.Verify(t.Context())
		require.ErrorIs(t, err, fault.CorruptMessage)
		require.ErrorContains(t, err, file)
		spoil(t, fsys, file, 255)
	}
	require.NoError(t, b.Close())
}

// The log has lost what a snapshot was made of: nothing is opened that lacks
// topics which were acknowledged.
func TestLogShorterThanItsSnapshot(t *testing.T) {
	fsys := vfs.NewMemory()
	b := snapshotted(t, fsys)
	beyond := catalogue.SnapshotID{Offset: b.metadata.Partition().EndOffset() + 1}
	require.NoError(t, vfs.WriteFile(fsys, b.metadata.Path(beyond), []byte("anything")))
	require.NoError(t, b.Close())
	_, err := openFixture(fsys)
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.ErrorContains(t, err, fmt.Sprintf("expected a log that reaches to offset %d", beyond.Offset))
}

func TestUnreadableSnapshot(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMemory())
	b := snapshotted(t, fsys)
	require.NoError(t, b.Close())
	end := fsys.Add(vfs.Rule{On: vfs.OpRead, Match: vfs.Named("-0000000000.checkpoint"), Err: syscall.EIO})
	_, err := openFixture(fsys)
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorIs(t, err, syscall.EIO)
	end()
	b, err = openFixture(fsys)
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

// A snapshot that cannot be written is no command's failure. Those that come
// later are tried again, and what a crash has left of one is removed.
func TestSnapshotOnAFullDisk(t *testing.T) {
	for _, on := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename} {
		fsys := vfs.NewFaulty(vfs.NewMemory())
		b, err := openFixture(fsys)
		require.NoError(t, err)
		end := fsys.Add(vfs.Rule{On: on, Match: func(path string) bool {
			return strings.HasSuffix(path, ".checkpoint.tmp") && strings.Contains(path, "-0000")
		}, Err: syscall.ENOSPC})
		for n := range 5 {
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: fmt.Sprint("topic-", n), Partitions: 4}))
		}
		settleSnapshot(b)
		require.Empty(t, filesOf(t, b))
		require.Zero(t, b.metadata.Partition().StartOffset())
		end()
		for n := range 10 {
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: fmt.Sprint("again-", n), Partitions: 4}))
		}
		settleSnapshot(b)
		require.Len(t, filesOf(t, b), 2)
		entries, err := fsys.ReadDir(b.host.Path(layout.Catalogue))
		require.NoError(t, err)
		for _, e := range entries {
			require.False(t, strings.HasSuffix(e.Name, ".tmp"), e.Name)
		}
		require.NoError(t, b.Close())
	}
}

// TestUnfinishedRemovalIsRemembered: while the directory of a deleted topic is
// still there under its own name, snapshots keep what says whose it was.
func TestUnfinishedRemovalIsRemembered(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMemory())
	b := snapshotted(t, fsys)
	tp := record.TopicPartition{Topic: "topic-3"}
	end := fsys.Add(vfs.Rule{On: vfs.OpRename | vfs.OpRemove, Match: func(path string) bool { return path == b.host.Path(tp) }, Err: syscall.EIO})
	require.ErrorIs(t, b.DeleteTopics(t.Context(), tp.Topic), syscall.EIO)
	end()
	grow := func(partitions int) {
		for range 3 {
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: fmt.Sprint("later-", b.metadata.Partition().EndOffset()), Partitions: partitions}))
			settleSnapshot(b)
		}
	}
	grow(60)
	require.Equal(t, map[string]bool{tp.Topic: true}, b.metadata.Catalogue.RemovedNames())
	require.NoError(t, b.Close())

	b, err := openFixture(fsys)
	require.NoError(t, err)
	require.Equal(t, []string{b.host.Path(tp)}, b.Recovery().Removed)
	require.Empty(t, b.Recovery().Orphans)
	grow(300)
	require.Empty(t, b.metadata.Catalogue.RemovedNames())
	require.NoError(t, b.Close())
}

// TestSnapshotEqualsReplay closes, kills and opens a broker between any commands:
// what it knows is always the same.
func TestSnapshotEqualsReplay(t *testing.T) {
	names := []string{"a", "b", "a.b", "c-0"}
	rapid.Check(t, func(rt *rapid.T) {
		disk := vfs.NewCrashable()
		b, err := openFixture(disk)
		require.NoError(rt, err)
		name := rapid.SampledFrom(names)
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				_ = b.CreateTopics(t.Context(), topic.Spec{Name: name.Draw(rt, "name"), Partitions: rapid.IntRange(1, 3).Draw(rt, "partitions")})
			},
			"delete": func(rt *rapid.T) { _ = b.DeleteTopics(t.Context(), name.Draw(rt, "name")) },
			"add":    func(rt *rapid.T) { _ = b.AddPartitions(t.Context(), name.Draw(rt, "name"), 4) },
			"close": func(rt *rapid.T) {
				require.NoError(rt, b.Close())
				was := b.metadata.Catalogue
				b, err = openFixture(disk)
				require.NoError(rt, err)
				require.Equal(rt, was, b.metadata.Catalogue)
			},
			"crash": func(rt *rapid.T) {
				disk = disk.Crash(vfs.RandomLoss(rapid.Uint64().Draw(rt, "loss")))
				was := b.metadata.Catalogue
				_ = b.Close()
				b, err = openFixture(disk)
				require.NoError(rt, err)
				require.Equal(rt, was.Names(), b.metadata.Catalogue.Names())
			},
		})
		require.NoError(rt, b.Close())
	})
}
