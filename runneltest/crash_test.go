package runneltest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// values returns what a topic's first partition holds.
func values(t *testing.T, b *runneltest.Broker, name string) []string {
	t.Helper()
	d, err := b.DescribeTopics(t.Context(), name)
	require.NoError(t, err)
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: name}))
	require.NoError(t, err)
	defer c.Close()
	all := []string{}
	for int64(len(all)) < d[0].Partitions[0].HighWatermark-d[0].Partitions[0].StartOffset {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			all = append(all, string(r.Value))
		}
	}
	return all
}

func sendAll(t *testing.T, b *runneltest.Broker, name string, values ...string) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	for _, v := range values {
		_, err = p.Send(t.Context(), record.Record{Topic: name, Value: []byte(v)})
		require.NoError(t, err)
	}
}

func TestAcknowledgedSurvivesEveryLoss(t *testing.T) {
	for _, loss := range []runneltest.Loss{
		runneltest.LoseAll, runneltest.LoseTail, runneltest.LoseSome, runneltest.LoseAny, runneltest.LoseNothing,
	} {
		b := runneltest.New(t)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint(i))
			sendAll(t, b, "orders", want[i])
			b = b.Crash(loss)
			require.False(t, b.Recovery().Clean)
			require.Equal(t, want, values(t, b, "orders"))
		}
	}
}

func TestCrashTakesWhatIsNotSynced(t *testing.T) {
	b := runneltest.New(t, runnel.DefaultDurability(topic.OS))
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	sendAll(t, b, "orders", "a", "b")
	b = b.Crash(runneltest.LoseNothing)
	require.Equal(t, []string{"a", "b"}, values(t, b, "orders"))
	sendAll(t, b, "orders", "c")
	b = b.Crash()
	require.Equal(t, []string{"a", "b"}, values(t, b, "orders"), "what opening found, it synced")
}

// Where a topic's durability is changed, what was acknowledged before is as safe
// as it was then, until the next record is: that one takes it along. A topic in
// memory is, on a directory, one that the operating system keeps.
func TestChangedDurability(t *testing.T) {
	for _, before := range []topic.Durability{topic.OS, topic.Memory} {
		b := runneltest.New(t)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{Durability: before}}))
		sendAll(t, b, "orders", "a")
		b = b.Crash(runneltest.LoseNothing)
		require.Equal(t, []string{"a"}, values(t, b, "orders"), "the process died, the machine did not")
		sendAll(t, b, "orders", "b")
		require.NoError(t, b.ConfigureTopic(t.Context(), "orders", topic.Config{Durability: topic.Fsync}))
		sendAll(t, b, "orders", "c")
		b = b.Crash()
		require.Equal(t, []string{"a", "b", "c"}, values(t, b, "orders"))
		require.NoError(t, b.ConfigureTopic(t.Context(), "orders", topic.Config{Durability: before}))
		sendAll(t, b, "orders", "d")
		b = b.Crash()
		require.Equal(t, []string{"a", "b", "c"}, values(t, b, "orders"))
	}
}

// What a crash ends is like what a dead process had: of no use, and no trouble.
func TestCrashEndsSessions(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	p, err := producer.New(b)
	require.NoError(t, err)
	c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
	require.NoError(t, err)
	after := b.Crash()
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
	require.ErrorIs(t, err, fault.Closed)
	_, err = c.Poll(t.Context())
	require.ErrorIs(t, err, fault.Closed)
	_, err = b.Topics(t.Context())
	require.ErrorIs(t, err, fault.Closed)
	require.Empty(t, values(t, after, "orders"))
}

// TestCrashUnderLoad crashes while many send. Whatever was acknowledged is
// there, once.
func TestCrashUnderLoad(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	acked := map[string]bool{}
	for round := range 5 {
		var mu sync.Mutex
		var senders sync.WaitGroup
		var sent atomic.Int64
		begun := make(chan struct{})
		p, err := producer.New(b)
		require.NoError(t, err)
		for s := range 8 {
			senders.Go(func() {
				for i := 0; ; i++ {
					v := fmt.Sprintf("%d/%d/%d", round, s, i)
					if _, err := p.Send(context.Background(), record.Record{Topic: "orders", Value: []byte(v)}); err != nil {
						return
					}
					mu.Lock()
					acked[v] = true
					mu.Unlock()
					if sent.Add(1) == 100 {
						close(begun)
					}
				}
			})
		}
		<-begun
		b = b.Crash(runneltest.LoseAny)
		senders.Wait()
		got := map[string]int{}
		for _, v := range values(t, b, "orders") {
			got[v]++
			require.Equal(t, 1, got[v], v)
		}
		for v := range acked {
			require.Equal(t, 1, got[v], v)
		}
	}
}

func TestSeedIsPrintedOnFailure(t *testing.T) {
	t.Setenv(runneltest.SeedVariable, "42")
	r := &recorder{TB: t}
	b := runneltest.New(r)
	b = b.Crash(runneltest.LoseAny)
	r.Errorf("the test failed")
	r.end()
	require.Len(t, r.logs, 2)
	require.Contains(t, r.logs[0], "recovered a directory that was not closed")
	require.Contains(t, r.logs[1], "RUNNEL_SEED=42")
	_, err := b.Topics(t.Context())
	require.ErrorIs(t, err, fault.Closed)

	t.Setenv(runneltest.SeedVariable, "many")
	r = &recorder{TB: t}
	require.Panics(t, func() { runneltest.New(r) })
}

func TestFaults(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "orders-2"}))
	end := b.Inject(runneltest.Fault{On: runneltest.Write | runneltest.Sync, Topic: "orders", File: ".log", Err: syscall.ENOSPC})
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
	require.ErrorIs(t, err, fault.DiskFull)
	sendAll(t, b, "orders-2", "another topic's files are sound")
	end()
	sendAll(t, b, "orders", "y")
	require.Equal(t, []string{"y"}, values(t, b, "orders"))

	b.LimitSpace(0)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 8<<10)}) // more than there are zeros
	require.ErrorIs(t, err, fault.DiskFull)
	b.LimitSpace(-1)
	sendAll(t, b, "orders", "z")

	b.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders", Times: 1})
	for range 2 {
		_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
		require.ErrorIs(t, err, fault.Storage)
		require.ErrorIs(t, err, syscall.EIO)
	}
	sendAll(t, b, "orders-2", "sound still")
	require.NoError(t, p.Close())
	b = b.Crash()
	sendAll(t, b, "orders", "sound again")
	require.Equal(t, []string{"y", "z", "sound again"}, values(t, b, "orders"))
}

func TestFlippedBitIsNoticed(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	sendAll(t, b, "orders", "read-only")
	b = b.Crash() // so that records are read from the file
	b.Inject(runneltest.Fault{On: runneltest.Read, File: ".log", Times: 1, FlipBit: 8 * 65})
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Poll(t.Context())
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.Equal(t, []string{"read-only"}, values(t, b, "orders"))
}

func TestSlowDiskInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := runneltest.New(t)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		b.Inject(runneltest.Fault{On: runneltest.Sync, File: ".log", Delay: 5 * time.Second})
		began := time.Now()
		sendAll(t, b, "orders", "a")
		require.Equal(t, 5*time.Second, time.Since(began))
		b = b.Crash()
		require.Equal(t, []string{"a"}, values(t, b, "orders"))
	})
}

// TestFullDisk fills the disk under everything that writes, and makes room
// again: nothing is reopened, and everything continues.
func TestFullDisk(t *testing.T) {
	for free := range int64(12) {
		b := runneltest.New(t)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 1 << 10}}))
		p, err := producer.New(b)
		require.NoError(t, err)
		c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("orders"))
		require.NoError(t, err)
		var want []string
		send := func() error {
			v := fmt.Sprintf("%d %0300d", len(want), 0)
			_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(v)})
			if err == nil {
				want = append(want, v)
			}
			return err
		}
		require.NoError(t, send())
		_, err = c.Poll(t.Context())
		require.NoError(t, err)

		b.LimitSpace(free * 200)
		for range 10 {
			if err := send(); err != nil {
				require.ErrorIs(t, err, fault.DiskFull)
				require.True(t, fault.Retriable(err))
			}
		}
		if err := b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}); err != nil {
			require.ErrorIs(t, err, fault.DiskFull)
		}
		if err := c.Commit(t.Context()); err != nil {
			require.ErrorIs(t, err, fault.DiskFull)
		}
		require.Equal(t, want, values(t, b, "orders"), "reading goes on")

		b.LimitSpace(-1)
		require.NoError(t, send())
		require.NoError(t, c.Commit(t.Context()))
		if err := b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}); err != nil {
			require.ErrorIs(t, err, fault.TopicExists)
		}
		sendAll(t, b, "visits", "a")
		require.NoError(t, p.Close())
		require.NoError(t, c.Close())
		b = b.Crash(runneltest.LoseAny)
		require.Equal(t, want, values(t, b, "orders"))
		require.Equal(t, []string{"a"}, values(t, b, "visits"))
		offsets, err := b.GroupOffsets(t.Context(), "g")
		require.NoError(t, err)
		require.EqualValues(t, 1, offsets[record.TopicPartition{Topic: "orders"}].Offset)
	}
}

// TestFailedSync: what waits for it is not acknowledged, nor is anything later,
// and reading goes on.
func TestFailedSync(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	defer p.Close()
	send := func(partition int32, v string) error {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: partition, Value: []byte(v)})
		return err
	}
	require.NoError(t, send(0, "a"))
	b.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders", File: ".log", Times: 1})
	for range 3 {
		err := send(0, "b")
		require.ErrorIs(t, err, fault.Storage)
		require.ErrorIs(t, err, syscall.EIO)
		require.ErrorContains(t, err, "accepts no more appends")
		require.False(t, fault.Retriable(err))
	}
	require.NoError(t, send(1, "the other partition is sound"))
	require.Equal(t, []string{"a"}, values(t, b, "orders"))
}
