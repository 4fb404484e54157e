package runnel_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

func TestRepair(t *testing.T) {
	remove := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	for _, test := range []struct {
		name    string
		plant   func(t *testing.T, dir string)
		says    string // the first step
		refused bool   // without accepting loss
		never   bool   // even with it
		records int    // in orders-1 afterwards
	}{
		{"a record", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "orders-1", firstLog), 65) }, "keep it as", false, false, 2},
		{"a replica's record", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, "orders-1", firstLog), 65)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "orders-1", "runnel-replica"), []byte("?"), 0o600))
		}, "it is one of several replicas", true, true, 0},
		{"a replica of the catalogue", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, "__cluster_metadata-0", firstLog), 65)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "__cluster_metadata-0", "runnel-replica"), []byte("?"), 0o600))
		}, "it is one of several replicas", true, true, 0},
		{"a segment", remove("orders-1/" + firstLog), "the log's end is lost", true, false, 0},
		{"the topic's ID", remove("orders-1/partition.metadata"), "write the topic's ID", false, false, 3},
		{"what the topic's ID says", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "orders-1", "partition.metadata"), []byte("?"), 0o644))
		}, "keep it as partition.metadata.damaged-", false, false, 3},
		{"another topic's directory", func(t *testing.T, dir string) {
			remove("orders-1")(t, dir)
			require.NoError(t, os.Rename(filepath.Join(dir, "visits-0"), filepath.Join(dir, "orders-1")))
			require.NoError(t, os.CopyFS(filepath.Join(dir, "visits-0"), os.DirFS(filepath.Join(dir, "orders-1"))))
		}, "it belongs to another topic", true, true, 0},
		{"a directory", remove("orders-1"), "the partition is gone", true, false, 0},
		{
			"the catalogue", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "__cluster_metadata-0", firstLog), 65) },
			"the catalogue is damaged", true, true, 0,
		},
		{"the catalogue's directory", remove("__cluster_metadata-0"), "the catalogue is gone", true, false, 3},
		{"a partition's files", func(t *testing.T, dir string) {
			remove("orders-1")(t, dir)
			require.NoError(t, os.Mkdir(filepath.Join(dir, "orders-1"), 0o700))
		}, "the partition is gone", true, false, 0},
		{"partitions that changed places", func(t *testing.T, dir string) { exchange(t, dir, "orders-0", "orders-1") }, "it is another partition's: give it its name back, orders-1", true, true, 0},
		{"a group's offsets", func(t *testing.T, dir string) { // those of group g are in partition 3
			flip(t, filepath.Join(dir, "__consumer_offsets-3", firstLog), 65)
		}, "keep it as", false, false, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := someDir(t)
			test.plant(t, dir)
			steps, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{DryRun: true})
			require.NoError(t, err)
			require.NotEmpty(t, steps)
			require.Contains(t, steps[0].What, test.says)
			require.Equal(t, test.refused, steps[0].Refused)

			steps, err = datadir.Repair(t.Context(), dir, datadir.RepairOptions{AcceptLoss: true})
			require.NoError(t, err)
			found, err := datadir.Inspect(t.Context(), dir, nil)
			require.NoError(t, err)
			if test.never {
				require.True(t, steps[0].Refused)
				require.Equal(t, log.Damage, found.Worst())
				return
			}
			require.Equal(t, log.Note, found.Worst(), "%v", found)
			b := openDir(t, dir)
			require.Empty(t, b.Recovery().Missing)
			tp := record.TopicPartition{Topic: "orders", Partition: 1}
			write(t, b, tp, "after") // so that the last offset has a record to wait for
			require.Len(t, valuesOf(t, b, tp), test.records+1)
			require.NoError(t, b.Verify(t.Context()))
		})
	}
}

func TestRepairWhileOpen(t *testing.T) {
	dir := t.TempDir()
	openDir(t, dir)
	for _, dry := range []bool{true, false} {
		_, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{DryRun: dry})
		require.ErrorIs(t, err, fault.Locked)
	}
	_, err := datadir.Repair(t.Context(), filepath.Join(dir, "nowhere"), datadir.RepairOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
}
