package runnel_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A damaged length in the header of one batch is named with the offset at which
// reading goes on; a consumer that seeks there misses nothing else, in this process
// and in another one. A repair gives the record back.
func TestReadingAroundADamagedHeader(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	tp := record.TopicPartition{Topic: "orders"}
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 1}))
	p, err := producer.New(b)
	require.NoError(t, err)
	for n := range 5 {
		_, err := p.Send(ctx, record.Record{Topic: "orders", Value: fmt.Appendf(nil, "v%d", n)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	require.NoError(t, b.Close())

	path := filepath.Join(dir, "orders-0", firstLog)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	h, err := record.ParseHeader(raw)
	require.NoError(t, err)
	raw[2*h.Size()+10] ^= 1 // the length of the third batch
	require.NoError(t, os.WriteFile(path, raw, 0o644))

	b = openDir(t, dir)
	remote, err := runnel.Attach(dir)
	require.NoError(t, err)
	for name, backend := range map[string]consumer.Backend{"here": b, "attached": remote} {
		c, err := consumer.New(backend, consumer.Assign(tp), consumer.FromStart())
		require.NoError(t, err, name)
		var got []string
		take := func(want int) (failed error) {
			for len(got) < want && failed == nil {
				var batch []record.Record
				batch, failed = c.Poll(ctx)
				for _, r := range batch {
					got = append(got, string(r.Value))
				}
			}
			return failed
		}
		require.NoError(t, take(2), name)
		err = take(3)
		isDamage(t, err, tp)
		var damage *fault.Corruption
		require.ErrorAs(t, err, &damage)
		require.EqualValues(t, 2, damage.Offset, name)
		require.EqualValues(t, 3, damage.Next, name)
		require.NoError(t, c.Seek(ctx, tp, damage.Next), name)
		require.NoError(t, take(4), name)
		require.Equal(t, []string{"v0", "v1", "v3", "v4"}, got, name)
		require.NoError(t, c.Close(), name)
	}
	require.Error(t, b.Verify(ctx))
	require.NoError(t, remote.Close())
	require.NoError(t, b.Close())

	steps, err := datadir.Repair(context.Background(), dir, datadir.RepairOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, steps)
	b = openDir(t, dir)
	require.NoError(t, b.Verify(ctx))
	require.Equal(t, []string{"v0", "v1", "v2", "v3", "v4"}, valuesOf(t, b, tp))
}
