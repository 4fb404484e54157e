package runnel_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// exchange gives two directories each other's names.
func exchange(t *testing.T, dir, a, b string) {
	t.Helper()
	a, b = filepath.Join(dir, a), filepath.Join(dir, b)
	require.NoError(t, os.Rename(a, a+".moved"))
	require.NoError(t, os.Rename(b, a))
	require.NoError(t, os.Rename(a+".moved", b))
}

// empty removes what is in a directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Mkdir(dir, 0o700))
}

var metadata = record.TopicPartition{Topic: topic.ClusterMetadata}

// Without its catalogue a directory is damaged, and not empty: it is refused, and
// stays as it is, until the catalogue is back.
func TestLostCatalogue(t *testing.T) {
	crashed := func(t *testing.T, dir string) {
		require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")))
	}
	for name, lose := range map[string]func(t *testing.T, dir, catalogue string){
		"removed": func(t *testing.T, _, catalogue string) { require.NoError(t, os.RemoveAll(catalogue)) },
		"emptied": func(t *testing.T, _, catalogue string) { empty(t, catalogue) },
		"without a log": func(t *testing.T, _, catalogue string) {
			require.NoError(t, os.Remove(filepath.Join(catalogue, firstLog)))
		},
		"after a crash": func(t *testing.T, dir, catalogue string) {
			crashed(t, dir)
			require.NoError(t, os.RemoveAll(catalogue))
		},
		"emptied, crash": func(t *testing.T, dir, catalogue string) { crashed(t, dir); empty(t, catalogue) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := threeDir(t)
			catalogue, copied := filepath.Join(dir, "__cluster_metadata-0"), filepath.Join(t.TempDir(), "copy")
			require.NoError(t, os.CopyFS(copied, os.DirFS(catalogue)))
			lose(t, dir, catalogue)
			for range 2 {
				_, err := runnel.Open(dir)
				isDamage(t, err, metadata)
				require.ErrorContains(t, err, "repair --accept-loss")
			}
			found, err := datadir.Inspect(t.Context(), dir, nil)
			require.NoError(t, err)
			require.Equal(t, log.Damage, found.Worst())
			steps, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{})
			require.NoError(t, err)
			require.True(t, steps[0].Refused)

			require.NoError(t, os.RemoveAll(catalogue))
			require.NoError(t, os.Rename(copied, catalogue))
			b := openDir(t, dir)
			for n, v := range []string{"a", "b", "c"} {
				require.Equal(t, []string{v}, readPartition(t, b, record.TopicPartition{Topic: "orders", Partition: int32(n)}))
			}
		})
	}
}

// A catalogue can be made of the partitions' directories: topics keep their IDs and
// records, which do not go by age before retention is set again, and producers get
// IDs that no partition knows.
func TestCatalogueAnew(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	spec := topic.Spec{Name: "orders", Partitions: 3, Config: topic.Config{Cleanup: topic.Compact}}
	require.NoError(t, b.CreateTopics(t.Context(), spec, topic.Spec{Name: "visits"}))
	before := describe(t, b, "orders")
	for _, v := range []string{"a", "b", "c"} { // each by a producer of another process
		send(t, b, "visits", "k", v)
		require.NoError(t, b.Close())
		b = openDir(t, dir)
	}
	require.NoError(t, b.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "__cluster_metadata-0")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "photos-2024"), 0o700)) // anybody's

	steps, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{AcceptLoss: true, DryRun: true})
	require.NoError(t, err)
	require.Contains(t, steps[0].What, "2 topics")
	_, err = runnel.Open(dir)
	isDamage(t, err, metadata)
	_, err = datadir.Repair(t.Context(), dir, datadir.RepairOptions{AcceptLoss: true})
	require.NoError(t, err)

	b = openDir(t, dir)
	names, err := b.Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"orders", "visits"}, names)
	after := describe(t, b, "orders")
	require.Equal(t, before.ID, after.ID)
	require.Len(t, after.Partitions, 3)
	require.Equal(t, topic.Forever, after.Config.Retention)
	for _, v := range []string{"d", "e", "f"} {
		send(t, b, "visits", "k", v)
		require.NoError(t, b.Close())
		b = openDir(t, dir)
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e", "f"}, readPartition(t, b, record.TopicPartition{Topic: "visits"}))
}

// A directory that merely looks like a partition's does not make a new data
// directory a damaged one.
func TestNewDirectoryBesideOthers(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "photos-2024"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "photos-2024", "a.log"), nil, 0o600))
	b := openDir(t, dir)
	require.True(t, b.Recovery().Clean)
	require.Len(t, b.Recovery().Orphans, 1)
}

// A partition's directory that lost its files is as one that is gone.
func TestEmptiedPartition(t *testing.T) {
	dir := threeDir(t)
	orders := record.TopicPartition{Topic: "orders", Partition: 1}
	path, copied := filepath.Join(dir, "orders-1"), filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(path)))
	empty(t, path)
	for range 2 {
		b := openDir(t, dir)
		require.True(t, b.Recovery().Clean)
		_, err := b.ListOffsets(t.Context(), topic.Latest(), orders)
		isDamage(t, err, orders)
		require.Equal(t, []string{"a"}, readPartition(t, b, record.TopicPartition{Topic: "orders"}))
		require.NoError(t, b.Close())
	}
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Equal(t, log.Damage, found.Worst())

	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.Rename(copied, path))
	require.Equal(t, []string{"b"}, readPartition(t, openDir(t, dir), orders))
}

// Directories of two partitions that changed places are refused, closed or crashed,
// and used again once each has its name back.
func TestExchangedPartitions(t *testing.T) {
	for _, names := range [][2]string{{"orders-0", "orders-1"}, {"orders-2", "visits-0"}} {
		for _, closed := range []bool{true, false} {
			dir := threeDir(t)
			b := openDir(t, dir)
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}))
			require.NoError(t, b.Close())
			if !closed {
				require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")))
			}
			exchange(t, dir, names[0], names[1])
			b = openDir(t, dir)
			_, err := b.DescribeTopics(t.Context(), "orders", "visits")
			require.NoError(t, err)
			broken := 0
			for _, p := range b.Recovery().Partitions {
				if p.Err != nil {
					broken++
					require.ErrorIs(t, p.Err, fault.Storage)
				}
			}
			require.Equal(t, 2, broken)
			require.NoError(t, b.Close())
			found, err := datadir.Inspect(t.Context(), dir, nil)
			require.NoError(t, err)
			require.Equal(t, log.Damage, found.Worst())

			exchange(t, dir, names[0], names[1])
			b = openDir(t, dir)
			for n, v := range []string{"a", "b", "c"} {
				require.Equal(t, []string{v}, readPartition(t, b, record.TopicPartition{Topic: "orders", Partition: int32(n)}))
			}
			require.NoError(t, b.Close())
		}
	}
}
