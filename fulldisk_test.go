package runnel

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// openFull opens a broker on a disk.
func openFull(fsys vfs.FS) (*Broker, error) {
	return open(defaults(topic.Fsync), home{fsys: fsys, dir: "/srv/data", disk: true})
}

// fillDirectory makes topics with several segments each, and a group, until the
// disk of so many bytes is full. It returns how many records each topic got.
func fillDirectory(t *testing.T, f *vfs.Faulty, space int64) (*Broker, map[string]int) {
	t.Helper()
	b, err := openFull(f)
	require.NoError(t, err)
	old := topic.Config{SegmentBytes: 32 << 10, Retention: time.Hour}
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "old", Config: old}, topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 32 << 10}}))
	require.NoError(t, b.SetGroupOffsets(t.Context(), "g", map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 1}}))
	p, err := producer.New(b)
	require.NoError(t, err)
	f.SetFree(space)
	sent := map[string]int{}
	for full := 0; full < 2; {
		for _, name := range []string{"old", "orders"} {
			_, err := p.Send(t.Context(), record.Record{Topic: name, Timestamp: time.Now().Add(-2 * time.Hour), Value: fmt.Appendf(nil, "%05000d", sent[name])})
			if err != nil {
				require.ErrorIs(t, err, fault.DiskFull)
				full++
				continue
			}
			sent[name]++
		}
	}
	require.NoError(t, p.Close())
	return b, sent
}

// readFull reads a topic's records.
func readFull(t *testing.T, b *Broker, name string, n int) {
	t.Helper()
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: name}))
	require.NoError(t, err)
	defer c.Close()
	for next := 0; next < n; {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			require.Equal(t, fmt.Sprintf("%05000d", next), string(r.Value))
			next++
		}
	}
}

// A disk without a free byte is opened, closed or crashed before, filled by the
// broker or by others; all that is there is read; and each way of deleting makes
// room for what comes next.
func TestFullDisk(t *testing.T) {
	ways := map[string]func(t *testing.T, b *Broker){
		"DeleteTopics": func(t *testing.T, b *Broker) { require.NoError(t, b.DeleteTopics(t.Context(), "old")) },
		"DeleteRecords": func(t *testing.T, b *Broker) {
			starts, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{{Topic: "old"}: -1})
			require.NoError(t, err)
			require.Positive(t, starts[record.TopicPartition{Topic: "old"}])
		},
		"retention": func(t *testing.T, b *Broker) {
			did, err := b.Cleanup(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, did)
		},
	}
	for name, free := range ways {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, closed %v", name, closed), func(t *testing.T) {
				// Wherever in the sequence of writes the space ends.
				for space := int64(300_000); space < 310_000; space += 2477 {
					disk := vfs.NewCrashable()
					f := vfs.NewFaulty(disk)
					b, sent := fillDirectory(t, f, space)
					if closed {
						f.SetFree(-1) // what closing writes there may be room for, or not
						require.NoError(t, b.Close())
					} else {
						f = vfs.NewFaulty(disk.After(vfs.Loss{Kept: vfs.KeepNone}))
						_ = b.Close()
					}
					f.SetFree(0)
					full := f.Add(vfs.Rule{On: vfs.OpWrite, Err: syscall.ENOSPC}) // though what recovery cuts off makes room
					b, err := openFull(f)
					require.NoError(t, err)
					full()
					f.SetFree(0)
					for _, p := range b.Recovery().Partitions {
						require.NoError(t, p.Err)
					}
					for name, n := range sent {
						readFull(t, b, name, n)
					}
					offsets, err := b.GroupOffsets(t.Context(), "g")
					require.NoError(t, err)
					require.EqualValues(t, 1, offsets[record.TopicPartition{Topic: "orders"}].Offset)
					p, err := producer.New(b)
					require.NoError(t, err)
					r := record.Record{Topic: "orders", Value: fmt.Appendf(nil, "%05000d", sent["orders"])}
					_, err = p.Send(t.Context(), r)
					require.ErrorIs(t, err, fault.DiskFull)

					// On some file systems writing over what is there takes space, too.
					full = f.Add(vfs.Rule{On: vfs.OpWrite, Match: vfs.Named("old-0/runnel-checkpoint"), Times: 2, Err: syscall.ENOSPC})
					free(t, b)
					full()
					_, err = p.Send(t.Context(), r)
					require.NoError(t, err, "there is room now")
					require.NoError(t, p.Close())
					require.NoError(t, b.Close())

					b, err = openFull(f)
					require.NoError(t, err)
					require.True(t, b.Recovery().Clean)
					readFull(t, b, "orders", sent["orders"]+1)
					require.NoError(t, b.Close())
				}
			})
		}
	}
}

// What was in reserve is taken again as soon as there is room, and only then.
func TestReserve(t *testing.T) {
	disk := vfs.NewMemory()
	f := vfs.NewFaulty(disk)
	b, err := openFull(f)
	require.NoError(t, err)
	path := filepath.Join(b.dir, layout.ReserveFile)
	size := func() int64 {
		t.Helper()
		e, err := disk.Stat(path)
		require.NoError(t, err)
		return e.Size
	}
	require.EqualValues(t, layout.ReserveBytes, size())
	for n := range 3 {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: strings.Repeat("t", n+1)}))
	}
	require.NoError(t, b.Close()) // so that the catalogue's log has no zeros to write over
	b, err = openFull(f)
	require.NoError(t, err)
	f.SetFree(0)
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "new", Partitions: 1000}), fault.DiskFull, "what takes room gets none")
	require.EqualValues(t, layout.ReserveBytes, size())
	require.NoError(t, b.DeleteTopics(t.Context(), "t", "tt"))
	require.Less(t, size(), int64(layout.ReserveBytes))
	require.Positive(t, size())
	f.SetFree(1 << 20)
	require.NoError(t, b.DeleteTopics(t.Context(), "ttt"))
	require.EqualValues(t, layout.ReserveBytes, size())
	require.NoError(t, b.Close())
	require.EqualValues(t, layout.ReserveBytes, size(), "others may fill the disk meanwhile")
}

// Groups are looked at on a full disk, though their members of the killed process
// have to be seen off.
func TestGroupsOnAFullDisk(t *testing.T) {
	disk := vfs.NewCrashable()
	b, err := openFull(disk)
	require.NoError(t, err)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
	require.NoError(t, err)
	tp := record.TopicPartition{Topic: "orders"}
	p, err := producer.New(b)
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("v")})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	_, err = c.Poll(t.Context())
	require.NoError(t, err)
	f := vfs.NewFaulty(disk.After(vfs.Loss{Kept: vfs.KeepAll}))
	require.NoError(t, c.Close())
	require.NoError(t, b.Close())

	b, err = openFull(f) // as the killed process left it
	require.NoError(t, err)
	f.SetFree(0)
	ds, err := b.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Empty(t, ds[0].Members)
	require.ErrorIs(t, b.SetGroupOffsets(t.Context(), "g", map[record.TopicPartition]consumer.Offset{tp: {Metadata: strings.Repeat("m", 4000)}}), fault.DiskFull)
	require.NoError(t, b.Close())
}
