package runnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/record"
)

func TestEveryGroupReadsEverything(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	b.send("a", 0, "1", "2", "3")
	for _, name := range []string{"one", "two"} {
		c := b.consumer(consumer.Group(name), consumer.Topics("a"))
		require.Equal(t, []string{"1", "2", "3"}, b.poll(c, 3))
	}
}

func TestMembersShareAndTakeOver(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 4)
	one := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(one)
	require.Equal(t, tps("a", 0, 1, 2, 3), one.Assignment())
	two := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(two)
	require.Empty(t, two.Assignment())
	b.poke(one)
	b.poke(two)
	require.Len(t, one.Assignment(), 2)
	require.Len(t, two.Assignment(), 2)
	require.ElementsMatch(t, tps("a", 0, 1, 2, 3), slices.Concat(one.Assignment(), two.Assignment()))

	for n := range int32(4) {
		b.send("a", n, fmt.Sprint(n))
	}
	got := slices.Concat(b.poll(one, 2), b.poll(two, 2))
	require.ElementsMatch(t, numbered(0, 4), got)

	require.NoError(t, one.Commit(t.Context()))
	require.NoError(t, one.Close())
	b.poke(two)
	require.Equal(t, tps("a", 0, 1, 2, 3), two.Assignment())
	require.Empty(t, b.poke(two), "what was committed does not come again")
}

func TestCommittedOffsetsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir)
	b := newTestBroker(t, first, err)
	b.create("a", 1)
	b.send("a", 0, numbered(0, 10)...)
	c := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.MaxRecords(4), consumer.ManualCommit())
	require.Equal(t, numbered(0, 4), b.poll(c, 4))
	at := record.TopicPartition{Topic: "a"}
	require.NoError(t, c.CommitOffsets(t.Context(), map[record.TopicPartition]consumer.Offset{at: {Offset: 3, Metadata: "half way"}}))
	require.NoError(t, c.Close())
	require.NoError(t, b.Close())

	second, err := Open(dir)
	b = newTestBroker(t, second, err)
	offsets, err := b.GroupOffsets(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, map[record.TopicPartition]consumer.Offset{at: {Offset: 3, Metadata: "half way"}}, offsets)
	c = b.consumer(consumer.Group("g"), consumer.Topics("a"))
	require.Equal(t, numbered(3, 10), b.poll(c, 7))
	groups, err := b.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, groups[0].Members, 1, "the members of before have left")
}

func TestStaticMemberKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 2)
		open := func(instance string) *consumer.Consumer {
			return b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.InstanceID(instance), consumer.SessionTimeout(10*time.Second))
		}
		one, two := open("one"), open("two")
		for range 2 {
			b.poke(one)
			b.poke(two)
		}
		place := one.Assignment()
		require.Len(t, place, 1)
		require.NoError(t, one.Close())
		b.poke(two)
		require.Len(t, two.Assignment(), 1)
		one = open("one")
		b.poke(one)
		require.Equal(t, place, one.Assignment())

		require.NoError(t, one.Close())
		time.Sleep(11 * time.Second)
		b.poke(two)
		require.Len(t, two.Assignment(), 2)
	})
}

func TestMemberThatDoesNotPollIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, "1")
		var told []string
		lazy := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Minute),
			consumer.OnLost(func(p []record.TopicPartition) { told = append(told, fmt.Sprint("lost ", p)) }))
		require.Equal(t, []string{"1"}, b.poll(lazy, 1))
		busy := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Hour))
		b.poke(busy)
		time.Sleep(59 * time.Second)
		b.poke(busy)
		require.Empty(t, busy.Assignment())
		time.Sleep(2 * time.Second)
		b.poke(busy)
		require.Equal(t, tps("a", 0), busy.Assignment())
		b.poke(lazy)
		require.Equal(t, []string{"lost [a-0]"}, told)
	})
}

// A member that its group went on without has lost its partitions, and finds out at
// Close at the latest.
func TestAnExpelledMemberHasLostItsPartitionsAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		var told []string
		lazy := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Minute),
			consumer.OnRevoked(func(p []record.TopicPartition) { told = append(told, fmt.Sprint("revoked ", p)) }),
			consumer.OnLost(func(p []record.TopicPartition) { told = append(told, fmt.Sprint("lost ", p)) }))
		b.poke(lazy)
		time.Sleep(2 * time.Minute)
		require.NoError(t, lazy.Close())
		require.Equal(t, []string{"lost [a-0]"}, told)
	})
}

// A group without members goes with its offsets, a week after its last commit, and
// leaves tombstones; one with a member stays however silent it is.
func TestGroupsWithoutMembersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, "1")
		at := record.TopicPartition{Topic: "a"}
		require.NoError(t, b.SetGroupOffsets(t.Context(), "by hand", map[record.TopicPartition]consumer.Offset{at: {Offset: 1}}))
		member := b.consumer(consumer.Group("member"), consumer.Topics("a"), consumer.RebalanceTimeout(1000*time.Hour))
		b.poll(member, 1)
		require.NoError(t, member.Commit(t.Context()))
		names := func() (names []string) {
			groups, err := b.Groups(t.Context())
			require.NoError(t, err)
			for _, g := range groups {
				names = append(names, g.Name)
			}
			return names
		}
		time.Sleep(7*24*time.Hour - time.Minute)
		require.Equal(t, []string{"by hand", "member"}, names())
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"member"}, names())
		_, live := b.groupRecords("by hand")
		require.Zero(t, live, "every record of the group has its tombstone")

		time.Sleep(8 * 24 * time.Hour)
		require.NoError(t, member.Close())
		time.Sleep(7*24*time.Hour - time.Minute)
		require.Equal(t, []string{"member"}, names(), "it is counted from when its member left")
		time.Sleep(2 * time.Minute)
		require.Empty(t, names())
		_, live = b.groupRecords("member")
		require.Zero(t, live)
	})
	synctest.Test(t, func(t *testing.T) {
		first, err := OpenMemory(OffsetRetention(0))
		b := newTestBroker(t, first, err)
		b.create("a", 1)
		require.NoError(t, b.SetGroupOffsets(t.Context(), "g", map[record.TopicPartition]consumer.Offset{{Topic: "a"}: {Offset: 0}}))
		time.Sleep(1000 * 24 * time.Hour)
		groups, err := b.Groups(t.Context())
		require.NoError(t, err)
		require.Len(t, groups, 1)
	})
	_, err := OpenMemory(OffsetRetention(-1))
	require.ErrorIs(t, err, fault.InvalidConfig)
}

// A program that comes back after longer than that finds its group, if it does not
// let it wait again.
func TestAGroupThatIsOverdueWaitsForItsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := group.New(group.Limits{Retention: time.Hour, ExpireFrom: time.Now().Add(10 * time.Minute)})
		c.SetTopics(group.NewTopics([]group.Topic{{Name: "a", Partitions: 1}}))
		_, err := c.Commit("g", "", map[record.TopicPartition]consumer.Offset{{Topic: "a"}: {Offset: 1}}, time.Now().Add(-24*time.Hour))
		require.NoError(t, err)
		expire := func() time.Time {
			_, next, err := c.Expire(time.Now(), nil)
			require.NoError(t, err)
			return next
		}
		require.Equal(t, time.Now().Add(10*time.Minute), expire())
		time.Sleep(10*time.Minute - time.Second)
		expire()
		require.True(t, c.Has("g"))
		time.Sleep(time.Second)
		require.Zero(t, expire())
		require.False(t, c.Has("g"))
	})
}

// Offsets of a topic that was deleted go from the log too: compaction would keep them
// for ever.
func TestOffsetsOfADeletedTopicGetTombstones(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 2)
	b.create("b", 1)
	require.NoError(t, b.SetGroupOffsets(t.Context(), "g", map[record.TopicPartition]consumer.Offset{
		{Topic: "a"}: {Offset: 0}, {Topic: "a", Partition: 1}: {Offset: 0}, {Topic: "b"}: {Offset: 0},
	}))
	all, live := b.groupRecords("g")
	require.Equal(t, 3, all)
	require.Equal(t, 3, live)
	require.NoError(t, b.DeleteTopics(t.Context(), "a"))
	offsets, err := b.GroupOffsets(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, offsets, 1)
	all, live = b.groupRecords("g")
	require.Equal(t, 5, all)
	require.Equal(t, 1, live)
}

// groupRecords counts what the log holds of a group, and how much of it would stay
// after a compaction.
func (b *testBroker) groupRecords(name string) (all, live int) {
	b.t.Helper()
	shard, err := b.groups.Shard(b.t.Context(), name, true)
	require.NoError(b.t, err)
	last := map[string]bool{}
	require.NoError(b.t, shard.Partition().Scan(func(_ *record.Batch, r *record.Record) error {
		if bytes.Contains(r.Key, []byte(name)) {
			all++
			last[string(r.Key)] = r.Value != nil
		}
		return nil
	}))
	for _, kept := range last {
		if kept {
			live++
		}
	}
	return all, live
}

// A slow loop over Records keeps its place between the records of one batch.
func TestSlowLoopKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, numbered(0, 10)...)
		c := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.RebalanceTimeout(time.Minute),
			consumer.OnLost(func([]record.TopicPartition) { t.Error("lost its place") }))
		var got []string
		for r, err := range c.Records(t.Context()) {
			require.NoError(t, err)
			got = append(got, string(r.Value))
			time.Sleep(30 * time.Second)
			if len(got) == 10 {
				break
			}
		}
		require.Equal(t, numbered(0, 10), got)
	})
}

// What is done is committed in the background while the consumer waits.
func TestCommitInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		b.send("a", 0, "1", "2")
		c := b.consumer(consumer.Group("g"), consumer.Topics("a"))
		require.Equal(t, []string{"1", "2"}, b.poll(c, 2))
		at := record.TopicPartition{Topic: "a"}
		committed := func() map[record.TopicPartition]consumer.Offset {
			offsets, err := c.Committed(t.Context(), at)
			require.NoError(t, err)
			return offsets
		}
		time.Sleep(6 * time.Second)
		require.Equal(t, int64(0), committed()[at].Offset, "the batch at hand is not done; where it began is the group's")
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		_, err := c.Poll(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, int64(2), committed()[at].Offset)
	})
}

func TestCallbacks(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 2)
	var told []string
	note := func(what string) func([]record.TopicPartition) {
		return func(p []record.TopicPartition) { told = append(told, fmt.Sprint(what, " ", p)) } // unguarded: the caller's goroutine
	}
	var c *consumer.Consumer
	open := func() *consumer.Consumer {
		return b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.ManualCommit(),
			consumer.OnAssigned(note("assigned")),
			consumer.OnRevoked(func(p []record.TopicPartition) {
				note("revoked")(p)
				require.NoError(t, c.Commit(t.Context()))
			}), consumer.OnLost(note("lost")))
	}
	c = open()
	b.poke(c)
	require.Equal(t, []string{"assigned [a-0 a-1]"}, told)
	b.send("a", 0, "1")
	b.send("a", 1, "2")
	b.poll(c, 2)
	other := b.consumer(consumer.Group("g"), consumer.Topics("a"))
	b.poke(other)
	told = nil
	b.poke(c)
	require.Equal(t, []string{"revoked [a-1]"}, told)
	require.Empty(t, b.poke(other), "what was committed while it was revoked does not come again")
	require.Equal(t, tps("a", 1), other.Assignment())
	told = nil
	require.NoError(t, c.Close())
	require.Equal(t, []string{"revoked [a-0]"}, told)
	require.NoError(t, b.DeleteTopics(t.Context(), "a"))
}

// Members come and go while records are written: with commits in OnRevoked
// nothing is lost and nothing comes twice.
func TestNothingLostOrDoubledAcrossRebalances(t *testing.T) {
	const records, partitions = 4000, 6
	b := memoryBroker(t)
	b.create("a", partitions)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	run := func(ctx context.Context) error {
		c, err := consumer.New(b, consumer.Group("g"), consumer.Topics("a"), consumer.MaxRecords(7))
		if err != nil {
			return err
		}
		for r, err := range c.Records(ctx) {
			if err != nil {
				return errors.Join(err, c.Close())
			}
			mu.Lock()
			seen[string(r.Value)]++
			if len(seen) == records {
				close(all)
			}
			mu.Unlock()
		}
		return c.Close()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range records {
			b.send("a", int32(i%partitions), strconv.Itoa(i))
		}
	})
	wg.Go(func() { require.NoError(t, run(ctx)) })
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				member, leave := context.WithTimeout(ctx, 3*time.Millisecond)
				require.NoError(t, run(member))
				leave()
			}
		})
	}
	select {
	case <-all:
	case <-time.After(5 * time.Minute):
		t.Error("records are missing")
	}
	cancel()
	wg.Wait()
	require.Len(t, seen, records)
	for v, n := range seen {
		require.Equal(t, 1, n, "record %s", v)
	}
}

func TestGroupsFromOutside(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 2)
	ctx := t.Context()
	groups, err := b.Groups(ctx)
	require.NoError(t, err)
	require.Empty(t, groups)
	_, err = b.DescribeGroups(ctx, "g")
	require.ErrorIs(t, err, fault.GroupNotFound)
	_, err = b.GroupOffsets(ctx, "g")
	require.ErrorIs(t, err, fault.GroupNotFound)
	require.ErrorIs(t, b.DeleteGroups(ctx, "g"), fault.GroupNotFound)

	set := map[record.TopicPartition]consumer.Offset{{Topic: "a", Partition: 1}: {Offset: 1, LeaderEpoch: -1}}
	require.NoError(t, b.SetGroupOffsets(ctx, "g", set))
	b.send("a", 1, "0", "1")
	c := b.consumer(consumer.Group("g"), consumer.Topics("a"), consumer.ClientID("me"))
	require.Equal(t, []string{"1"}, b.poll(c, 1))
	require.ErrorIs(t, b.SetGroupOffsets(ctx, "g", set), fault.NonEmptyGroup)
	require.ErrorIs(t, b.DeleteGroups(ctx, "g"), fault.NonEmptyGroup)
	d, err := b.DescribeGroups(ctx, "g")
	require.NoError(t, err)
	require.Equal(t, consumer.GroupStable, d[0].State)
	require.Equal(t, "uniform", d[0].Assignor)
	m := d[0].Members[0]
	require.Equal(t, "me", m.ClientID)
	require.Equal(t, tps("a", 0, 1), m.Assigned)
	require.Equal(t, m.Assigned, m.Target)
	require.NoError(t, c.Close())
	require.NoError(t, b.DeleteGroups(ctx, "g"))
	names := b.consumer(consumer.Group("h"), consumer.Topics("a"))
	b.poke(names)
	listed, err := b.Topics(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, listed, "the groups' own topic is internal")
}

func TestCommitsWithoutMembership(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	b.send("a", 0, "0", "1", "2")
	c := b.consumer(consumer.Group("g"), consumer.Assign(tps("a", 0)...), consumer.MaxRecords(1))
	require.Equal(t, []string{"0"}, b.poll(c, 1))
	require.NoError(t, c.Commit(t.Context()))
	c = b.consumer(consumer.Group("g"), consumer.Assign(tps("a", 0)...))
	require.Equal(t, []string{"1", "2"}, b.poll(c, 2))
	alone := b.consumer(consumer.Assign(tps("a", 0)...))
	require.ErrorIs(t, alone.Commit(t.Context()), fault.InvalidGroup)
	require.NoError(t, alone.Assign(t.Context()))
	require.Empty(t, alone.Assignment())
}

// A group that begins at the end reads from its first record what was added since
// it subscribed, also where the member to read it has joined later: a group
// remembers as long as it has members.
func TestAGroupRemembersSinceWhenItIsSubscribed(t *testing.T) {
	for name, subscribed := range map[string]consumer.Option{
		"by name": consumer.Topics("a", "b"), "by pattern": consumer.TopicsMatching("a|b"),
	} {
		t.Run(name, func(t *testing.T) {
			b := memoryBroker(t)
			b.create("a", 1)
			b.send("a", 0, "before")
			join := func() (c *consumer.Consumer, brought []string) {
				c = b.consumer(consumer.Group("g"), subscribed, consumer.FromEnd(), consumer.ManualCommit())
				return c, b.poke(c)
			}
			one, brought := join()
			require.Empty(t, brought)
			require.Equal(t, tps("a", 0), one.Assignment())
			require.NoError(t, b.AddPartitions(t.Context(), "a", 2))
			b.send("a", 1, "first")
			two, brought := join()
			require.Equal(t, tps("a", 1), two.Assignment())
			require.Equal(t, []string{"first"}, brought)

			require.NoError(t, one.Close())
			b.create("b", 1) // which two remembers not to have been there
			b.send("b", 0, "of a new topic")
			three, brought := join()
			require.NoError(t, two.Close())
			brought = append(brought, b.poke(three)...)
			brought = append(brought, b.poke(three)...)
			require.Equal(t, append(tps("a", 0, 1), tps("b", 0)...), three.Assignment())
			require.ElementsMatch(t, []string{"first", "of a new topic"}, brought, "nothing was committed")

			require.NoError(t, three.Close())
			four, brought := join() // and there is no one left to remember
			require.Empty(t, append(brought, b.poke(four)...))
			b.send("b", 0, "now")
			require.Equal(t, []string{"now"}, b.poll(four, 1))
		})
	}
}
