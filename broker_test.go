package runnel_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, open := range []func(...runnel.Option) (*runnel.Broker, error){
		runnel.OpenMemory,
		func(opts ...runnel.Option) (*runnel.Broker, error) { return runnel.Open(t.TempDir(), opts...) },
	} {
		_, err := open(runnel.DefaultPartitions(0), runnel.DefaultDurability(7), runnel.ProducerExpiration(-1))
		require.ErrorIs(t, err, fault.InvalidConfig)
		require.ErrorContains(t, err, "DefaultPartitions(0)")
		require.ErrorContains(t, err, "ProducerExpiration(-1ns)")
		require.ErrorContains(t, err, "DefaultDurability(7)")
	}
}

func TestDefaults(t *testing.T) {
	b, err := runnel.OpenMemory(runnel.DefaultPartitions(4))
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	require.Len(t, describe(t, b, "orders").Partitions, 4)
}

func TestReopen(t *testing.T) {
	for _, durability := range []topic.Durability{topic.Memory, topic.OS, topic.Fsync} {
		t.Run(durability.String(), func(t *testing.T) {
			dir := t.TempDir()
			tp := record.TopicPartition{Topic: "orders", Partition: 1}
			b := openDir(t, dir, runnel.DefaultDurability(durability))
			require.True(t, b.Recovery().Clean, "a new directory")
			cfg := topic.Config{Retention: time.Hour, Cleanup: topic.Compact}
			require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}, topic.Spec{Name: "gone"}))
			require.NoError(t, b.ConfigureTopic(t.Context(), "orders", cfg))
			require.NoError(t, b.AddPartitions(t.Context(), "orders", 3))
			require.NoError(t, b.DeleteTopics(t.Context(), "gone"))
			start := write(t, b, tp, "a", "b", "c")
			_, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{tp: 1})
			require.NoError(t, err)
			before := describe(t, b, "orders")
			require.NoError(t, b.Close())

			b = openDir(t, dir)
			r := b.Recovery()
			require.True(t, r.Clean)
			require.Empty(t, r.Missing)
			require.Empty(t, r.Orphans)
			require.Empty(t, r.Removed)
			names, err := b.Topics(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"orders"}, names)
			after := describe(t, b, "orders")
			for i := range before.Partitions {
				before.Partitions[i].DurableOffset = after.Partitions[i].DurableOffset
			}
			require.Equal(t, before, after)
			offsets, err := b.ListOffsets(t.Context(), topic.AtTime(start.Add(time.Second)), tp)
			require.NoError(t, err)
			require.EqualValues(t, 1, offsets[tp].Offset)
		})
	}
}

func TestDirectoryBelongsToOneBroker(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	_, err := runnel.Open(dir)
	require.ErrorIs(t, err, fault.Locked)
	require.ErrorContains(t, err, "this process ("+strconv.Itoa(os.Getpid())+")")
	require.ErrorContains(t, err, dir)
	require.NoError(t, b.Close())
	again := openDir(t, dir)
	require.NoError(t, again.Close())

	// The file of a process that is gone is no lock.
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".lock"), []byte("1\n"), 0o644))
	openDir(t, dir)
}

// Another process that holds the directory is named, and when it ends, even by
// kill -9, the directory is free.
func TestDirectoryBelongsToOneProcess(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, io.Closer) error{
		"closed": func(c *exec.Cmd, stdin io.Closer) error { return errors.Join(stdin.Close(), c.Wait()) },
		"killed": func(c *exec.Cmd, _ io.Closer) error {
			err := c.Process.Kill()
			_ = c.Wait() // which says that it was killed
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			other := exec.CommandContext(t.Context(), os.Args[0])
			other.Env = append(os.Environ(), holdVariable+"="+dir)
			stdin, err := other.StdinPipe()
			require.NoError(t, err)
			stdout, err := other.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, other.Start())
			said, err := bufio.NewReader(stdout).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "holding\n", said)

			_, err = runnel.Open(dir)
			require.ErrorIs(t, err, fault.Locked)
			require.ErrorContains(t, err, "process "+strconv.Itoa(other.Process.Pid)+" holds "+filepath.Join(dir, ".lock"))

			require.NoError(t, end(other, stdin))
			b := openDir(t, dir)
			require.Equal(t, name == "closed", b.Recovery().Clean)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o644))
	_, err := runnel.Open(file)
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorContains(t, err, file)
}

func TestEverythingFailsWhenClosed(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders"}))
		require.NoError(t, b.Close())
		require.NoError(t, b.Close(), "closing twice is closing once")
		tp := record.TopicPartition{Topic: "orders"}
		for name, do := range map[string]func() error{
			"create":         func() error { return b.CreateTopics(ctx, topic.Spec{Name: "new"}) },
			"delete":         func() error { return b.DeleteTopics(ctx, "orders") },
			"add partitions": func() error { return b.AddPartitions(ctx, "orders", 2) },
			"configure":      func() error { return b.ConfigureTopic(ctx, "orders", topic.Config{}) },
			"topics":         func() error { _, err := b.Topics(ctx); return err },
			"describe":       func() error { _, err := b.DescribeTopics(ctx, "orders"); return err },
			"describe all":   func() error { _, err := b.DescribeTopics(ctx); return err },
			"list offsets":   func() error { _, err := b.ListOffsets(ctx, topic.Latest(), tp); return err },
			"delete records": func() error {
				_, err := b.DeleteRecords(ctx, map[record.TopicPartition]int64{tp: 0})
				return err
			},
			"verify":  func() error { return b.Verify(ctx) },
			"consume": func() error { _, err := consumer.New(b, consumer.Topics("orders"), consumer.Group("g")); return err },
			"groups":  func() error { _, err := b.Groups(ctx); return err },
			"produce": func() error { _, err := producer.New(b); return err },
		} {
			require.ErrorIs(t, do(), fault.Closed, name)
		}
	})
}

// Close may come at any moment: whatever is going on ends, with a result or
// with fault.Closed.
func TestCloseDuringCalls(t *testing.T) {
	onBoth(t, func(t *testing.T, b *runnel.Broker) {
		ctx := t.Context()
		require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 2}))
		calls := []func(i int) error{
			func(i int) error { return b.CreateTopics(ctx, topic.Spec{Name: "t" + strconv.Itoa(i)}) },
			func(i int) error { return b.AddPartitions(ctx, "orders", i+3) },
			func(int) error { _, err := b.DescribeTopics(ctx); return err },
			func(i int) error {
				return b.ConfigureTopic(ctx, "orders", topic.Config{Retention: time.Duration(i+1) * time.Second})
			},
			func(int) error { return b.Verify(ctx) },
		}
		var wg sync.WaitGroup
		started := make(chan struct{}, len(calls))
		for _, call := range calls {
			wg.Go(func() {
				for i := range 40 {
					if err := call(i); err != nil {
						require.ErrorIs(t, err, fault.Closed)
						return
					}
					if i == 2 {
						started <- struct{}{}
					}
				}
			})
		}
		for range calls {
			<-started
		}
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() { require.NoError(t, b.Close()) })
		}
		closers.Wait()
		wg.Wait()
	})
}

// A broker in memory needs no time but what package time gives, so a test can
// give it any.
func TestMemoryBrokerRunsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b, err := runnel.OpenMemory()
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 3}))
		write(t, b, record.TopicPartition{Topic: "orders", Partition: 2}, "a", "b")
		require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
		require.NoError(t, b.Close())
		require.Zero(t, time.Since(began))
	})
}

func TestVerifyFindsWhatADiskDid(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	write(t, b, record.TopicPartition{Topic: "orders"}, "first", "second")
	require.NoError(t, b.Close())

	segment := filepath.Join(dir, "orders-0", "00000000000000000000.log")
	bytes, err := os.ReadFile(segment)
	require.NoError(t, err)
	at := slices.Index(bytes, 'f')
	bytes[at] ^= 1
	require.NoError(t, os.WriteFile(segment, bytes, 0o644))

	b = openDir(t, dir)
	err = b.Verify(t.Context())
	var damage *fault.Corruption
	require.True(t, errors.As(err, &damage))
	require.Equal(t, segment, damage.File)
}

func TestVerifyObeysItsContext(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	write(t, b, record.TopicPartition{Topic: "orders"}, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Verify(ctx), context.Canceled)
}

// ls lists a data directory's partitions.
func ls(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "__") {
			names = append(names, e.Name())
		}
	}
	return names
}
