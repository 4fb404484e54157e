package replicatest

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A node comes back with the segments of a partition damaged, cut, emptied or gone, those
// of the catalogue, too. Its broker opens, has everything that was acknowledged, and takes
// part again.
func TestDamagedSegments(t *testing.T) {
	harms := map[string]func(rng *rand.Rand, fs vfs.FS, path string) error{
		"flipped": func(rng *rand.Rand, fs vfs.FS, path string) error {
			b, err := vfs.ReadFile(fs, path, 1<<20)
			if err != nil || len(b) == 0 {
				return err
			}
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			return vfs.WriteFile(fs, path, b)
		},
		"cut": func(rng *rand.Rand, fs vfs.FS, path string) error {
			b, err := vfs.ReadFile(fs, path, 1<<20)
			if err != nil || len(b) == 0 {
				return err
			}
			return vfs.WriteFile(fs, path, b[:rng.IntN(len(b))])
		},
		"emptied": func(_ *rand.Rand, fs vfs.FS, path string) error { return vfs.WriteFile(fs, path, nil) },
		"gone":    func(_ *rand.Rand, fs vfs.FS, path string) error { return fs.Remove(path) },
	}
	for name, harm := range harms {
		for _, partition := range []string{"orders-0", "__cluster_metadata-0"} {
			for seed := range uint64(3) {
				t.Run(fmt.Sprint(name, " ", partition, " ", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						rng := rand.New(rand.NewPCG(seed, 3))
						comesBack(t, partition, func(fs vfs.FS, path string) error { return harm(rng, fs, path) })
					})
				})
			}
		}
	}
}

func comesBack(t *testing.T, partition string, harm func(fs vfs.FS, path string) error) {
	c := Cluster(t, 3)
	orders := record.TopicPartition{Topic: "orders"}
	require.Eventually(t, func() bool {
		err := c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1})
		require.True(t, err == nil || fault.Retriable(err), "%v", err)
		return err == nil
	}, time.Minute, 50*time.Millisecond)
	sent := 0
	send := func(by int) {
		p, err := producer.New(c.Broker(by))
		require.NoError(t, err)
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: fmt.Append(nil, sent)})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		sent++
	}
	c.AwaitLeader(orders)
	for range 10 {
		send(1)
	}
	time.Sleep(time.Second) // node 2 has it, too
	d := c.of(2)
	disk := d.disk.After(vfs.Loss{Kept: vfs.KeepAll}) // as SIGKILL leaves it
	c.Crash(2)
	d.disk = disk
	entries, err := disk.ReadDir(filepath.Join(dir, partition))
	require.NoError(t, err)
	harmed := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".log") {
			require.NoError(t, harm(disk, filepath.Join(dir, partition, e.Name)))
			harmed++
		}
	}
	require.Positive(t, harmed)
	send(1)
	c.Restart(2)
	require.Eventually(t, func() bool { // until then it knows the catalogue up to what is committed for certain
		_, err := c.Broker(2).DescribeTopics(t.Context(), "orders")
		return err == nil
	}, time.Minute, 50*time.Millisecond)
	send(2)
	c.MoveLeader(orders, 2)
	send(3)
	for _, id := range c.Running() {
		r, err := consumer.New(c.Broker(id), consumer.Assign(orders))
		require.NoError(t, err)
		var got []string
		for len(got) < sent {
			batch, err := r.Poll(t.Context())
			require.NoError(t, err)
			for _, rec := range batch {
				got = append(got, string(rec.Value))
			}
		}
		require.NoError(t, r.Close())
		for i, v := range got {
			require.Equal(t, fmt.Sprint(i), v, "node %d", id)
		}
	}
}
