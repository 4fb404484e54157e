package runnel

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/cleaner"
	"github.com/runnel-go/runnel/internal/coordinator"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// fill sends records to partition 0 of a topic, one batch each.
func fill(t *testing.T, b *Broker, name string, keys, count, size int) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	for n := range count {
		_, err := p.Send(t.Context(), record.Record{Topic: name, Key: fmt.Appendf(nil, "k%d", n%keys), Value: make([]byte, size)})
		require.NoError(t, err)
	}
}

// TestRetentionOfUnusedTopics: what is due is not forgotten when the broker is
// closed, though the topic is not used, and is not opened before that.
func TestRetentionOfUnusedTopics(t *testing.T) {
	for _, segment := range []int64{0, 500} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewCrashable()
			b, err := openFixture(disk)
			require.NoError(t, err)
			require.NoError(t, b.CreateTopics(t.Context(),
				topic.Spec{Name: "orders", Config: topic.Config{Retention: 3 * time.Hour, SegmentBytes: segment}},
				topic.Spec{Name: "kept", Config: topic.Config{Retention: topic.Forever}},
				topic.Spec{Name: "empty"}))
			fill(t, b, "orders", 3, 10, 100)
			fill(t, b, "kept", 3, 10, 100)
			require.NoError(t, b.Close())

			b, err = openFixture(disk)
			require.NoError(t, err)
			opened := func(name string) bool {
				topic, _ := b.host.Lookup(name)
				return topic.IsOpen()
			}
			time.Sleep(2 * time.Hour)
			require.False(t, opened("orders"))
			time.Sleep(2 * time.Hour)
			require.True(t, opened("orders"))
			require.False(t, opened("kept"))
			require.False(t, opened("empty"))
			p, err := b.host.Partition(record.TopicPartition{Topic: "orders"})
			require.NoError(t, err)
			require.EqualValues(t, 10, p.StartOffset())
			require.NoError(t, b.Close())
		})
	}
}

// TestCleanerIsIdle: where nothing will be due there is no goroutine, no timer and
// nothing left of topics that are gone.
func TestCleanerIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(),
			topic.Spec{Name: "orders", Config: topic.Config{Retention: time.Hour}},
			topic.Spec{Name: "kept", Config: topic.Config{Retention: topic.Forever}}))
		fill(t, b, "orders", 1, 10, 10)
		fill(t, b, "kept", 1, 10, 10)
		synctest.Wait()
		require.Equal(t, cleaner.Pending{Known: 2, Due: 1}, b.cleaner.Pending(), "the end of the grace")
		require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
		require.Equal(t, cleaner.Pending{Known: 1}, b.cleaner.Pending())
		began := time.Now()
		time.Sleep(1000 * time.Hour)
		require.Equal(t, 1000*time.Hour, time.Since(began))
		require.Equal(t, cleaner.Pending{Known: 1}, b.cleaner.Pending())
	})
}

// TestCloseWhileCleaning closes, deletes and configures while the cleaner is at
// work; nothing hangs, leaks or fails for another reason.
func TestCloseWhileCleaning(t *testing.T) {
	for range 20 {
		b, err := OpenMemory()
		require.NoError(t, err)
		cfg := topic.Config{Cleanup: topic.Compact, SegmentBytes: 300, MinCleanableRatio: 0.01}
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: cfg}, topic.Spec{Name: "visits", Config: cfg}))
		fill(t, b, "orders", 5, 100, 50)
		fill(t, b, "visits", 5, 100, 50)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := b.Cleanup(ctx)
			ended <- err
		}()
		require.NoError(t, b.DeleteTopics(t.Context(), "visits"))
		require.NoError(t, b.Close())
		if err := <-ended; err != nil {
			require.ErrorIs(t, err, fault.Closed)
		}
		cancel()
		_, err = b.Cleanup(t.Context())
		require.ErrorIs(t, err, fault.Closed)
	}
}

// TestGroupsSurviveCompaction compacts __consumer_offsets: reading it gives the
// groups as they are.
func TestGroupsSurviveCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := OpenMemory()
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
		fill(t, b, "orders", 50, 40, 10)
		commit := func(name string, rounds int) {
			c, err := consumer.New(b, consumer.Group(name), consumer.Topics("orders"), consumer.MaxRecords(2))
			require.NoError(t, err)
			for range rounds {
				_, err := c.Poll(t.Context())
				require.NoError(t, err)
				require.NoError(t, c.Commit(t.Context()))
			}
			require.NoError(t, c.Close())
		}
		commit("stays", 4)
		offsets, err := b.host.Topic(topic.ConsumerOffsets)
		require.NoError(t, err)
		offsets.SetConfig(topic.Config{Cleanup: topic.Compact, DeleteRetention: time.Hour, MinCleanableRatio: 0.01})
		for _, p := range offsets.Partitions() {
			p.SetSegments(500, 0)
		}
		for i := range 5 {
			commit("stays", 2)
			commit(fmt.Sprintf("goes-%d", i), 3)
			require.NoError(t, b.DeleteGroups(t.Context(), fmt.Sprintf("goes-%d", i)))
		}
		time.Sleep(3 * time.Hour)
		commit("stays", 1)
		before, err := b.GroupOffsets(t.Context(), "stays")
		require.NoError(t, err)
		require.Len(t, before, 2)

		shards, err := b.groups.All(t.Context(), false)
		require.NoError(t, err)
		removed := false
		for _, s := range shards {
			left := 0
			p := s.Partition()
			require.NoError(t, p.Scan(func(*record.Batch, *record.Record) error { left++; return nil }))
			removed = removed || int64(left) < p.HighWatermark()-p.StartOffset()
			replayed := group.New(group.Limits{})
			require.NoError(t, p.Scan(func(_ *record.Batch, r *record.Record) error { return replayed.Apply(r.Key, r.Value) }))
			require.NoError(t, s.View(t.Context(), func(c *group.Coordinator) error {
				require.Equal(t, c.Groups(), replayed.Groups())
				return nil
			}))
		}
		b.groups = coordinator.NewGroups(coordinator.GroupsConfig{ // which reads everything again
			Host: b.host, Ensure: b.internalTopic, Reserve: b.reserve, Gone: b.logGone,
		})
		require.True(t, removed)
		after, err := b.GroupOffsets(t.Context(), "stays")
		require.NoError(t, err)
		require.Equal(t, before, after)
		all, err := b.Groups(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, "stays", all[0].Name)
	})
}

// TestCreateOnFullDisk: a topic whose files find no room is there, the error says so,
// and who uses it later has them made.
func TestCreateOnFullDisk(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewCrashable())
	b, err := openFixture(disk)
	require.NoError(t, err)
	defer b.Close()
	room := disk.Add(vfs.Rule{
		On: vfs.OpWrite, Match: func(path string) bool { return strings.Contains(path, "orders-0") }, Err: syscall.ENOSPC,
	})
	err = b.CreateTopics(t.Context(), topic.Spec{Name: "orders"})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "the topic exists")
	require.False(t, fault.Retriable(err))
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}), fault.TopicExists)
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("v")})
	require.ErrorIs(t, err, fault.DiskFull)
	room()
	fill(t, b, "orders", 1, 1, 10)
}

// TestRetentionOfUnusedTopicsAhead: a time that is not yet is no reason to leave a
// topic unopened until then.
func TestRetentionOfUnusedTopicsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashable()
		b, err := openFixture(disk)
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Retention: time.Hour, SegmentAge: time.Hour}}))
		p, err := producer.New(b)
		require.NoError(t, err)
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Timestamp: time.Now().Add(1000 * time.Hour)})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		require.NoError(t, b.Close())

		b, err = openFixture(disk)
		require.NoError(t, err)
		time.Sleep(3 * time.Hour)
		orders, _ := b.host.Lookup("orders")
		require.True(t, orders.IsOpen(), "nobody used it, and the cleaner has opened it")
		require.EqualValues(t, 1, orders.Partitions()[0].StartOffset())
		require.NoError(t, b.Close())
	})
}
