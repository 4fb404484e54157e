package runnel

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// inOrders0 matches the files of orders-0.
func inOrders0(path string) bool { return filepath.Base(filepath.Dir(path)) == "orders-0" }

// A partition that the disk refuses to open opens once the disk is sound: nothing
// need be reopened, and meanwhile the others of its topic are used.
func TestUnreadablePartitionOpensLater(t *testing.T) {
	for name, clean := range map[string]bool{"closed": true, "crashed": false} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewFaulty(vfs.NewMemory())
			opened, err := openFixture(disk)
			b := newTestBroker(t, opened, err)
			b.create("orders", 2)
			b.send("orders", 0, "a")
			b.send("orders", 1, "b")
			if clean {
				require.NoError(t, b.Close())
			}

			end := disk.Add(vfs.Rule{On: vfs.OpOpen | vfs.OpRead | vfs.OpWrite, Match: inOrders0, Err: syscall.EIO})
			opened, err = openFixture(disk)
			b = newTestBroker(t, opened, err)
			_, err = b.p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
			require.ErrorIs(t, err, fault.Storage)
			require.ErrorIs(t, err, syscall.EIO)
			b.send("orders", 1, "c")
			c := b.consumer(consumer.Assign(tps("orders", 0, 1)...), consumer.FromStart())
			var got []string
			for len(got) < 2 {
				records, err := c.Poll(t.Context())
				if err != nil {
					require.ErrorIs(t, err, syscall.EIO)
				}
				for _, r := range records {
					got = append(got, string(r.Value))
				}
			}
			require.Equal(t, []string{"b", "c"}, got)

			end()
			require.Equal(t, []string{"a"}, b.poll(c, 1), "the consumer has tried again")
			b.send("orders", 0, "d")
			require.Equal(t, []string{"d"}, b.poll(c, 1))
			for _, p := range b.Recovery().Partitions {
				require.NoError(t, p.Err, "it did open")
			}
		})
	}
}

// What could not be created on a full disk is not lost after a clean close: it is
// created by the next opening.
func TestUnfinishedCreationIsNotLost(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMemory())
	b, err := openFixture(disk)
	require.NoError(t, err)
	end := disk.Add(vfs.Rule{On: vfs.OpMkdir, Err: syscall.ENOSPC})
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}), fault.DiskFull)
	require.NoError(t, b.Close())
	end()

	b, err = openFixture(disk)
	require.NoError(t, err)
	require.Equal(t, tps("orders", 0), b.Recovery().Missing)
	_, err = b.ListOffsets(t.Context(), topic.Latest(), tps("orders", 0)...)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	b, err = openFixture(disk)
	require.NoError(t, err)
	require.True(t, b.Recovery().Clean)
	require.NoError(t, b.Close())
}

// A partition whose name could not be made durable is not used, and the next use
// makes it durable.
func TestNameOfAPartitionIsSyncedLater(t *testing.T) {
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	b, err := openFixture(fsys)
	require.NoError(t, err)
	end := fsys.Add(vfs.Rule{On: vfs.OpSyncDir, Match: func(path string) bool { return path == b.dir }, Err: syscall.EIO})
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}), syscall.EIO)
	end()
	_, err = b.ListOffsets(t.Context(), topic.Latest(), tps("orders", 0)...)
	require.NoError(t, err)
	left := disk.After(vfs.Loss{Kept: vfs.KeepNone})
	require.NoError(t, b.Close())
	b, err = openFixture(left)
	require.NoError(t, err)
	require.Empty(t, b.Recovery().Missing)
	require.NoError(t, b.Close())
}
