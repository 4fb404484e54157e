package runnel

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// groupMoment is a disk as a power loss leaves it while members come and go, with what was
// acknowledged before.
type groupMoment struct {
	name    string
	disk    *vfs.Crashable
	commits map[record.TopicPartition]int64
	place   []record.TopicPartition // of the static member, if it has one and is to keep it
}

// TestPowerLossWithinRebalances loses power at every change that a group makes on the disk:
// members join, get partitions, commit, give them up, leave and expire. Members that join later
// get all partitions, each once, and find what was committed; a static member finds its
// place.
func TestPowerLossWithinRebalances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashable()
		fsys := vfs.NewFaulty(disk)
		inner, err := openFixture(fsys)
		require.NoError(t, err)
		b := &testBroker{t: t, Broker: inner}
		b.p, err = producer.New(b.Broker, producer.Partitioner(topic.ManualPartitioner))
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "a", Partitions: 4}, topic.Spec{Name: "b", Partitions: 2}))
		fill := func(all ...record.TopicPartition) {
			for _, tp := range all {
				b.send(tp.Topic, tp.Partition, numbered(0, 10)...)
			}
		}
		fill(append(tps("a", 0, 1, 2, 3), tps("b", 0, 1)...)...)
		var mu sync.Mutex
		now := groupMoment{commits: map[record.TopicPartition]int64{}}
		var moments []groupMoment
		changes := 0
		remove := fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
			mu.Lock()
			defer mu.Unlock()
			changes++
			for _, loss := range []vfs.Loss{{Kept: vfs.KeepNone}, {Kept: vfs.KeepAll}, vfs.RandomLoss(uint64(2 * changes)), vfs.RandomLoss(uint64(2*changes + 1))} {
				m := groupMoment{fmt.Sprintf("change %d, %+v", changes, loss), disk.After(loss), map[record.TopicPartition]int64{}, now.place}
				for tp, offset := range now.commits {
					m.commits[tp] = offset
				}
				moments = append(moments, m)
			}
		}})
		join := func(opts ...consumer.Option) *consumer.Consumer {
			c, err := consumer.New(b.Broker, append(opts, consumer.Group("g"), consumer.Topics("a", "b"), consumer.ManualCommit(), consumer.SessionTimeout(10*time.Second))...)
			require.NoError(t, err)
			return c
		}
		commit := func(c *consumer.Consumer, offset int64) {
			offsets := map[record.TopicPartition]consumer.Offset{}
			for _, tp := range c.Assignment() {
				offsets[tp] = consumer.Offset{Offset: offset}
			}
			require.NoError(t, c.CommitOffsets(t.Context(), offsets))
			mu.Lock()
			defer mu.Unlock()
			for tp := range offsets {
				now.commits[tp] = offset
			}
		}
		settle := func(all ...*consumer.Consumer) {
			for range 4 {
				for _, c := range all {
					b.poke(c)
				}
			}
		}
		keep := func(place []record.TopicPartition) {
			mu.Lock()
			defer mu.Unlock()
			now.place = place
		}
		static := join(consumer.InstanceID("one"))
		settle(static)
		commit(static, 1)
		two := join()
		settle(static, two)
		keep(static.Assignment())
		commit(two, 2)
		commit(static, 3)
		require.NoError(t, static.Close()) // away
		settle(two)
		static = join(consumer.InstanceID("one"))
		settle(static, two)
		commit(static, 4)
		keep(nil)
		three := join()
		settle(static, two, three)
		commit(three, 5)
		require.NoError(t, two.Close())
		settle(static, three)
		require.NoError(t, b.AddPartitions(t.Context(), "b", 3))
		fill(tps("b", 2)...)
		settle(static, three)
		commit(static, 6)
		commit(three, 7)
		require.NoError(t, static.Close())
		time.Sleep(11 * time.Second) // its session is over
		settle(three)
		require.Len(t, three.Assignment(), 7)
		require.NoError(t, three.Close())
		remove()
		require.NoError(t, b.p.Close())
		require.NoError(t, b.Broker.Close())
		require.Greater(t, changes, 50)
		for _, m := range moments {
			m.check(t)
		}
	})
}

func (m groupMoment) check(t *testing.T) {
	inner, err := openFixture(m.disk)
	require.NoError(t, err, m.name)
	b := &testBroker{t: t, Broker: inner}
	described, err := b.DescribeTopics(t.Context(), "b")
	require.NoError(t, err, m.name)
	all := append(tps("a", 0, 1, 2, 3), tps("b", 0, 1, 2)[:len(described[0].Partitions)]...)
	offsets, err := b.GroupOffsets(t.Context(), "g")
	require.True(t, err == nil || len(m.commits) == 0, "%s: %v", m.name, err)
	for tp, offset := range m.commits {
		require.GreaterOrEqual(t, offsets[tp].Offset, offset, "%s: committed of %v", m.name, tp)
	}
	open := func(opts ...consumer.Option) *consumer.Consumer {
		c, err := consumer.New(b.Broker, append(opts, consumer.Group("g"), consumer.Topics("a", "b"), consumer.ManualCommit())...)
		require.NoError(t, err, m.name)
		return c
	}
	static := open(consumer.InstanceID("one"))
	b.poke(static)
	if m.place != nil {
		require.Subset(t, static.Assignment(), m.place, "%s: the place of a static member", m.name)
	}
	two := open()
	for range 4 {
		b.poke(static)
		b.poke(two)
	}
	owned := slices.Concat(static.Assignment(), two.Assignment())
	require.ElementsMatch(t, all, owned, m.name)
	for _, c := range []*consumer.Consumer{static, two} {
		committed, err := c.Committed(t.Context(), c.Assignment()...)
		require.NoError(t, err, m.name)
		for _, tp := range c.Assignment() {
			require.GreaterOrEqual(t, committed[tp].Offset, m.commits[tp], "%s: committed of %v", m.name, tp)
		}
		require.NoError(t, c.Close(), m.name)
	}
	require.NoError(t, b.Broker.Close(), m.name)
}
